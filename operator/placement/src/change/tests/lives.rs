//! Random lives of a pool: disks come, die, return and are evicted, agents answer late or not at all,
//! the operator forgets everything it didn't write. A model keeps what each disk really holds.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const BUCKETS: usize = 6;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A disk stops, or is given up, or serves again.
    Health(usize, Health),
    /// A person evicts a disk, or takes that back.
    Evict(usize, bool),
    /// A disk is cordoned, or no longer.
    Takes(usize, bool),
    /// A blank disk joins.
    Join,
    /// Everything that is listed gets a write, as far as all that are listed serve.
    Write,
    /// Agents say what they have to say of a bucket, or refuse.
    Hear(usize, bool),
    /// An answer of long ago is heard again.
    Echo(usize),
    /// The pool asks for another number of replicas.
    Replicas(u32),
    /// The operator looks.
    Look,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let disk = 0..7_usize;
    let health = prop_oneof![
        4 => Just(Health::Serves),
        2 => Just(Health::Down),
        1 => Just(Health::Out),
        1 => Just(Health::Unknown),
    ];
    let event = prop_oneof![
        4 => (disk.clone(), health).prop_map(|(d, h)| Event::Health(d, h)),
        1 => (disk.clone(), any::<bool>()).prop_map(|(d, e)| Event::Evict(d, e)),
        1 => (disk, any::<bool>()).prop_map(|(d, t)| Event::Takes(d, t)),
        1 => Just(Event::Join),
        6 => Just(Event::Write),
        8 => (0..BUCKETS, prop::bool::weighted(0.2)).prop_map(|(b, r)| Event::Hear(b, r)),
        2 => (0..64_usize).prop_map(Event::Echo),
        1 => (1..=3_u32).prop_map(Event::Replicas),
        10 => Just(Event::Look),
    ];
    prop::collection::vec(event, 1..120)
}

/// The world outside of the operator.
struct World {
    views: Vec<View>,
    rules: Rules,
    map: Map,
    /// Which disks hold every acknowledged write of a bucket, and since which listing.
    whole: Vec<BTreeSet<Place>>,
    /// All answers that were ever given.
    said: Vec<Answer>,
    heard: Vec<Answer>,
}

impl World {
    fn new() -> Self {
        let views = serving(3);
        let map = first(u32::try_from(BUCKETS).unwrap(), &views, RULES).unwrap();
        let disks = |bucket: &Bucket| bucket.replicas.iter().map(|r| r.disk).collect();
        Self {
            whole: map.buckets.iter().map(disks).collect(),
            views,
            rules: RULES,
            map,
            said: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn serves(&self, disk: Place) -> bool {
        // A disk that nobody can tell of does serve, as far as data goes.
        let health = self.views[disk as usize].health;
        matches!(health, Health::Serves | Health::Unknown)
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Health(disk, health) => {
                if let Some(view) = self.views.get_mut(disk) {
                    view.health = health;
                }
            }
            Event::Evict(disk, evicted) => {
                if let Some(view) = self.views.get_mut(disk) {
                    view.disk.weight = if evicted { 0 } else { 1 << 30 };
                }
            }
            Event::Takes(disk, takes) => {
                if let Some(view) = self.views.get_mut(disk) {
                    view.disk.takes = takes;
                }
            }
            Event::Join if self.views.len() < 7 => {
                let domain = u32::try_from(self.views.len()).unwrap();
                self.views.push(view(domain, Health::Serves));
            }
            Event::Join => {}
            Event::Write => self.write(),
            Event::Hear(bucket, refuses) => self.answer(bucket, refuses),
            Event::Echo(which) => {
                if !self.said.is_empty() {
                    self.heard.push(self.said[which % self.said.len()]);
                }
            }
            Event::Replicas(replicas) => self.rules.replicas = replicas,
            Event::Look => self.look(),
        }
    }

    /// A write is acknowledged when all that are listed have it (design.md, section 5); who isn't
    /// listed lacks it from then on.
    fn write(&mut self) {
        for (number, bucket) in self.map.buckets.iter().enumerate() {
            if bucket.replicas.iter().all(|r| self.serves(r.disk)) {
                self.whole[number].retain(|&disk| bucket.on(disk).is_some());
            }
        }
    }

    fn answer(&mut self, number: usize, refuses: bool) {
        let bucket = &self.map.buckets[number];
        let id = u32::try_from(number).unwrap();
        let mut said = Vec::new();
        if let Some(moving) = bucket.moving
            && moving.stage == Stage::Offered
            && self.serves(moving.to)
        {
            said.push((
                moving.to,
                moving.since,
                if refuses {
                    Said::Refused
                } else {
                    Said::Accepted
                },
            ));
        }
        let source = bucket.in_sync().any(|replica| self.serves(replica.disk));
        for replica in &bucket.replicas {
            if !replica.in_sync && self.serves(replica.disk) && source {
                self.whole[number].insert(replica.disk);
                said.push((replica.disk, replica.since, Said::Synced));
            }
        }
        for (disk, since, said) in said {
            let answer = Answer {
                disk,
                bucket: id,
                since,
                said,
            };
            self.said.push(answer);
            self.heard.push(answer);
        }
    }

    fn look(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        let next = advance(&self.map, &self.views, &heard, self.rules).unwrap();
        if let Some(map) = next.map {
            self.check_change(&map);
            self.map = map;
        }
        self.check();
    }

    fn check_change(&self, next: &Map) {
        assert!(next.epoch > self.map.epoch);
        for (old, new) in self.map.buckets.iter().zip(&next.buckets) {
            assert_eq!(old.replicas != new.replicas, new.epoch == next.epoch);
            for replica in &new.replicas {
                match old.on(replica.disk) {
                    Some(before) => {
                        assert_eq!(before.since, replica.since, "listed without a break");
                    }
                    None => assert_eq!((replica.in_sync, replica.since), (false, next.epoch)),
                }
            }
            let serving = |bucket: &Bucket| {
                let serves = |disk: Place| self.views[disk as usize].health == Health::Serves;
                bucket.in_sync().filter(|r| serves(r.disk)).count()
            };
            let wanted = usize::try_from(self.rules.replicas).unwrap();
            assert!(
                serving(new) >= serving(old).min(wanted),
                "copies that serve were given up: {old:?} to {new:?}"
            );
        }
    }

    fn check(&self) {
        let (mut moves, mut recoveries) = (0, 0);
        for (number, bucket) in self.map.buckets.iter().enumerate() {
            for replica in bucket.in_sync() {
                assert!(
                    self.whole[number].contains(&replica.disk),
                    "I2: bucket {number} lists disk {} in sync, which lacks a write: {bucket:?}",
                    replica.disk
                );
            }
            assert!(bucket.in_sync().count() > 0, "I3");
            let disks: BTreeSet<Place> = bucket.destined().collect();
            assert_eq!(
                disks.len(),
                bucket.destined().count(),
                "a disk twice: {bucket:?}"
            );
            match bucket.moving {
                Some(Move { from: Some(_), .. }) => moves += 1,
                Some(Move { from: None, .. }) => recoveries += 1,
                None => {}
            }
        }
        // A move whose source is lost becomes a recovery.
        assert!(moves <= RULES.moves_max && recoveries <= RULES.recoveries_max + RULES.moves_max);
    }

    /// All disks that are there serve and answer: the pool comes to rest, whole and in balance.
    fn rest(&mut self) {
        for view in &mut self.views {
            view.health = Health::Serves;
            view.disk.weight = 1 << 30;
            view.disk.takes = true;
        }
        self.rules.replicas = 2;
        for _ in 0..400 {
            (0..BUCKETS).for_each(|bucket| self.answer(bucket, false));
            let before = self.map.clone();
            self.look();
            if before == self.map {
                break;
            }
        }
        let mut counts: BTreeMap<Place, usize> = (0..u32::try_from(self.views.len()).unwrap())
            .map(|disk| (disk, 0))
            .collect();
        for bucket in &self.map.buckets {
            assert_eq!(bucket.replicas.len(), 2, "{bucket:?}");
            assert_eq!(bucket.in_sync().count(), 2, "{bucket:?}");
            assert_eq!((bucket.moving, bucket.away.len()), (None, 0));
            for replica in &bucket.replicas {
                *counts.entry(replica.disk).or_default() += 1;
            }
        }
        let (least, most) = (
            counts.values().min().unwrap(),
            counts.values().max().unwrap(),
        );
        assert!(most - least <= 1, "{counts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_replica_in_sync_ever_lacks_a_write_and_the_pool_comes_to_rest(events in events()) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        world.rest();
    }
}

//! What is begun: the first map, and the first of the plan's steps that the limits allow.

use super::bucket::Round;
use super::{Health, Rules, View};
use crate::map::{Bucket, Map, Move, Place, Replica, Stage};
use crate::{Disk, Held, HeldError, Layout, Plan, Step, Why, plan};

pub(super) fn first(buckets: u32, views: &[View], rules: Rules) -> Option<Map> {
    let disks: Vec<Disk> = views.iter().map(planned).collect();
    let number = usize::try_from(buckets).ok()?;
    let held = Held::empty(buckets);
    let plan = plan(&Layout {
        disks: &disks,
        replicas: rules.replicas,
        held: &held,
    });
    if !plan.short.is_empty() {
        return None;
    }
    let mut map = Map {
        epoch: 1,
        buckets: vec![Bucket::default(); number],
    };
    for step in plan.steps {
        let bucket = usize::try_from(step.bucket).ok()?;
        let bucket = map.buckets.get_mut(bucket)?;
        bucket.epoch = 1;
        bucket.replicas.push(Replica {
            disk: step.to?,
            in_sync: true,
            since: 1,
        });
    }
    let wanted = usize::try_from(rules.replicas).ok()?;
    let whole = |bucket: &Bucket| bucket.replicas.len() == wanted;
    map.buckets.iter().all(whole).then_some(map)
}

/// A disk as the plan is to see it: one that doesn't serve takes nothing, and one that isn't awaited
/// has nothing any more.
fn planned(view: &View) -> Disk {
    let mut disk = view.disk;
    disk.takes &= view.health == Health::Serves;
    if view.health == Health::Out {
        disk.weight = 0;
    }
    disk
}

/// What is under way.
#[derive(Default)]
struct Busy {
    recoveries: u32,
    moves: u32,
    /// Whether some bucket lacks a replica, for whatever reason.
    lacking: bool,
}

impl Busy {
    fn of(map: &Map, rules: Rules) -> Self {
        let mut busy = Self::default();
        let wanted = usize::try_from(rules.replicas).unwrap_or(usize::MAX);
        for bucket in &map.buckets {
            match bucket.moving {
                Some(Move { from: Some(_), .. }) => busy.moves += 1,
                Some(Move { from: None, .. }) => busy.recoveries += 1,
                None => {}
            }
            busy.lacking |= bucket.in_sync().count() < wanted;
        }
        busy
    }
}

/// Begins what the plan says, as far as the limits allow. What is left of the plan.
pub(super) fn start(map: &mut Map, round: &Round<'_>) -> Result<Plan, HeldError> {
    let disks: Vec<Disk> = round.views.iter().map(planned).collect();
    let held = Held::new(map.buckets.iter().map(Bucket::destined))?;
    let mut plan = plan(&Layout {
        disks: &disks,
        replicas: round.rules.replicas,
        held: &held,
    });
    let mut busy = Busy::of(map, round.rules);
    plan.steps
        .retain(|step| !begin(map, round, &mut busy, *step));
    Ok(plan)
}

/// Begins one step, if it may begin now.
fn begin(map: &mut Map, round: &Round<'_>, busy: &mut Busy, step: Step) -> bool {
    let bucket = usize::try_from(step.bucket).ok();
    let Some(bucket) = bucket.and_then(|bucket| map.buckets.get_mut(bucket)) else {
        return false;
    };
    // One change of place at a time, and none without somebody to copy from.
    if bucket.moving.is_some() || !round.is_available(bucket) {
        return false;
    }
    // A disk that is away can't give anything up: it is listed again first, or given up for lost.
    if step.from.is_some_and(|from| bucket.on(from).is_none()) && step.to.is_some() {
        return false;
    }
    let Some(to) = step.to else {
        return step
            .from
            .is_some_and(|from| drop_surplus(bucket, round, from));
    };
    let running = match step.from {
        None => &mut busy.recoveries,
        Some(_) => &mut busy.moves,
    };
    let most = match step.from {
        None => round.rules.recoveries_max,
        Some(_) => round.rules.moves_max,
    };
    // Balance can wait until no data is at risk.
    let postponed = step.why == Why::Balance && (!round.rules.balance || busy.lacking);
    if *running >= most || postponed {
        return false;
    }
    *running += 1;
    bucket.moving = Some(Move {
        to,
        from: step.from,
        stage: Stage::Offered,
        since: round.epoch,
    });
    true
}

/// Drops a replica that is one too many, if enough in sync serve without it.
fn drop_surplus(bucket: &mut Bucket, round: &Round<'_>, from: Place) -> bool {
    let wanted = usize::try_from(round.rules.replicas).unwrap_or(usize::MAX);
    let others = bucket
        .in_sync()
        .filter(|replica| replica.disk != from && round.health(replica.disk) == Health::Serves);
    if others.count() < wanted.max(1) {
        return false;
    }
    bucket.replicas.retain(|replica| replica.disk != from);
    bucket.away.retain(|&disk| disk != from);
    true
}

//! A map as the BucketMap object has it, and as placement has it.

use super::super::words::count;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use moraine_crds::{BucketMapStatus, BucketPlace, DiskEntry, Move as Moving, MoveStep};
use moraine_placement::{Bucket, Map, Move, Replica, Stage};

/// What the object says. Its shape was checked when it was read as entries.
pub(super) fn read(status: &BucketMapStatus) -> Map {
    Map {
        epoch: status.epoch,
        buckets: status.buckets.iter().map(read_bucket).collect(),
    }
}

fn read_bucket(place: &BucketPlace) -> Bucket {
    let in_sync = place.in_sync.iter().map(|&disk| (disk, true));
    let syncing = place.syncing.iter().map(|&disk| (disk, false));
    let listed = in_sync.chain(syncing).zip(&place.since);
    Bucket {
        epoch: place.epoch,
        replicas: listed
            .map(|((disk, in_sync), &since)| Replica {
                disk,
                in_sync,
                since,
            })
            .collect(),
        away: place.away.clone(),
        moving: place.moving.as_ref().map(|moving| Move {
            to: moving.to,
            from: moving.from,
            stage: match moving.step {
                MoveStep::Offered => Stage::Offered,
                MoveStep::Copying => Stage::Copying,
            },
            since: moving.since,
        }),
    }
}

/// What the object is to say.
pub(super) fn written(
    map: &Map,
    disks: &[DiskEntry],
    replicas: u32,
    changed_at: Time,
) -> BucketMapStatus {
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let whole = |bucket: &&Bucket| bucket.in_sync().count() >= wanted;
    let healthy = map.buckets.iter().filter(whole).count();
    let moving = |bucket: &&Bucket| bucket.moving.is_some_and(|moving| moving.from.is_some());
    BucketMapStatus {
        epoch: map.epoch,
        disks: disks.to_vec(),
        buckets: map.buckets.iter().map(written_bucket).collect(),
        healthy: number(healthy),
        degraded: number(map.buckets.len() - healthy),
        moving: number(map.buckets.iter().filter(moving).count()),
        changed_at: Some(changed_at),
    }
}

fn written_bucket(bucket: &Bucket) -> BucketPlace {
    let of = |in_sync: bool| bucket.replicas.iter().filter(move |r| r.in_sync == in_sync);
    BucketPlace {
        epoch: bucket.epoch,
        in_sync: of(true).map(|replica| replica.disk).collect(),
        syncing: of(false).map(|replica| replica.disk).collect(),
        since: of(true)
            .chain(of(false))
            .map(|replica| replica.since)
            .collect(),
        away: bucket.away.clone(),
        moving: bucket.moving.map(|moving| Moving {
            to: moving.to,
            from: moving.from,
            step: match moving.stage {
                Stage::Offered => MoveStep::Offered,
                Stage::Copying => MoveStep::Copying,
            },
            since: moving.since,
        }),
    }
}

/// Whether disks that the map names are now elsewhere than it says. New disks alone are no reason
/// for a new version: nobody needs them before a bucket lies there.
pub(super) fn places_changed(status: &BucketMapStatus, now: &[DiskEntry]) -> bool {
    status
        .disks
        .iter()
        .zip(now)
        .any(|(then, now)| then.id == now.id && then != now)
}

/// What a new version changes, in words for the log.
pub(super) fn difference(old: &Map, new: &Map) -> String {
    let mut kinds = [0_usize; 5];
    for (old, new) in old.buckets.iter().zip(&new.buckets) {
        let listed = |replica: &&Replica, bucket: &Bucket| bucket.on(replica.disk).is_some();
        kinds[0] += old.replicas.iter().filter(|r| !listed(r, new)).count();
        kinds[1] += new.replicas.iter().filter(|r| !listed(r, old)).count();
        let promoted = |replica: &&Replica| {
            replica.in_sync && old.on(replica.disk).is_some_and(|before| !before.in_sync)
        };
        kinds[2] += new.replicas.iter().filter(promoted).count();
        let offered = |bucket: &Bucket| bucket.moving.filter(|m| m.stage == Stage::Offered);
        kinds[3] += usize::from(offered(new).is_some() && offered(new) != offered(old));
        let withdrawn = offered(old).is_some() && new.moving.is_none();
        kinds[4] += usize::from(withdrawn);
    }
    let named = [
        "replica dropped",
        "replica listed",
        "replica in sync again",
        "bucket offered",
        "offer withdrawn",
    ];
    let said = kinds.iter().zip(named).filter(|(number, _)| **number > 0);
    let said: Vec<String> = said.map(|(&number, what)| plural(number, what)).collect();
    said.join(", ")
}

/// The number agrees with the first word.
fn plural(number: usize, what: &str) -> String {
    match what.split_once(' ') {
        Some((noun, rest)) => format!("{} {rest}", count(number, noun)),
        None => count(number, what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Map {
        let replica = |disk, in_sync, since| Replica {
            disk,
            in_sync,
            since,
        };
        Map {
            epoch: 9,
            buckets: vec![
                Bucket {
                    epoch: 9,
                    replicas: vec![
                        replica(1, false, 9),
                        replica(2, true, 1),
                        replica(0, true, 4),
                    ],
                    away: vec![3],
                    moving: Some(Move {
                        to: 1,
                        from: Some(2),
                        stage: Stage::Copying,
                        since: 9,
                    }),
                },
                Bucket {
                    epoch: 1,
                    replicas: vec![replica(0, true, 1), replica(1, true, 1)],
                    ..Bucket::default()
                },
            ],
        }
    }

    #[test]
    fn a_map_survives_its_object() {
        let map = map();
        let now = Time(k8s_openapi::jiff::Timestamp::from_second(7).unwrap());
        let written = written(&map, &[], 3, now);
        assert_eq!(
            (written.healthy, written.degraded, written.moving),
            (0, 2, 1)
        );
        let mut read = read(&written);
        // The order of replicas means nothing.
        read.buckets[0].replicas.rotate_right(1);
        assert_eq!(read, map);
    }

    #[test]
    fn a_change_is_told_in_words() {
        let old = map();
        let mut new = old.clone();
        new.buckets[0].replicas[0].in_sync = true;
        new.buckets[0].replicas.remove(1);
        new.buckets[1].replicas.remove(0);
        let words = difference(&old, &new);
        assert_eq!(words, "2 replicas dropped, 1 replica in sync again");
    }
}

//! Which map of a pool counts, and what the data plane makes of it: pure, from the objects.

use crate::data::pool_map::PoolMap;
use anyhow::{Result, ensure};
use moraine_crds::{BucketMap, DiskEntry};
use moraine_model::DiskId;
use moraine_protocol::{DiskPlace, MapFile};

/// The epoch of a map; 0 before the first.
pub(super) fn epoch(map: &BucketMap) -> u64 {
    map.status.as_ref().map_or(0, |status| status.epoch)
}

/// What the data plane is to be told, if the map is news. An error if it can't take the place of the
/// one that is served.
pub(super) fn news(served: Option<&BucketMap>, told: &BucketMap) -> Result<Option<PoolMap>> {
    let Some(served) = served else {
        return Ok(Some(pool_map(told)?));
    };
    let (ours, found) = (epoch(served), epoch(told));
    // Replicas that an older one lists may lack writes.
    ensure!(
        found >= ours,
        "it is of epoch {found}, but epoch {ours} was served here already: an older state of the cluster was brought back"
    );
    if found == ours {
        let said = |map: &BucketMap| {
            let status = map.status.clone().unwrap_or_default();
            (status.disks, status.buckets)
        };
        ensure!(
            said(served) == said(told),
            "it differs from the one of the same epoch, {ours}, that is served: two operators write it"
        );
        return Ok(None);
    }
    let (old, new) = (map_file(served)?, pool_map(told)?);
    // Before disks were placed there are no entries that anything could follow.
    if !old.entries.is_empty() {
        new.file.check_follows(old.cluster, &old.entries)?;
    }
    Ok(Some(new))
}

/// What the shards are told of a map.
pub(super) fn pool_map(map: &BucketMap) -> Result<PoolMap> {
    let file = map_file(map)?;
    let disks = map.status.iter().flat_map(|status| &status.disks);
    let disks: Vec<DiskId> = disks.map(DiskEntry::id).collect::<Result<_, _>>()?;
    let buckets = map.status.iter().flat_map(|status| &status.buckets);
    let whole = file
        .entries
        .iter()
        .zip(buckets)
        .filter_map(|(entry, place)| {
            // While a copy is under way anywhere, an old one is kept: it may yet be the best there is.
            let settled = place.syncing.is_empty() && place.moving.is_none();
            let away = place.away.iter();
            let away = away.filter_map(|&at| disks.get(usize::try_from(at).ok()?).copied());
            settled.then(|| (entry.bucket(), away.collect()))
        });
    let whole = whole.collect();
    Ok(PoolMap { file, whole })
}

/// The map as the data plane has it. A disk that nobody serves now is left out.
pub(super) fn map_file(map: &BucketMap) -> Result<MapFile> {
    let entries = map.entries()?;
    let buckets = map.spec.buckets;
    ensure!(
        entries.is_empty() || u32::try_from(entries.len()) == Ok(buckets),
        "it has {} entries, but the pool has {buckets} buckets",
        entries.len()
    );
    let disks = map.status.iter().flat_map(|status| &status.disks);
    let places = disks.filter_map(|disk| {
        Some(DiskPlace {
            id: disk.id().ok()?,
            address: disk.address()?.to_string(),
            shards: disk.shards.max(1),
        })
    });
    Ok(MapFile {
        cluster: map.cluster()?,
        disks: places.collect(),
        entries,
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::{listed, map};
    use super::*;
    use moraine_crds::BucketPlace;
    use moraine_model::BucketId;

    #[test]
    fn a_newer_map_is_news_and_the_same_is_none() {
        let old = map(5, 4, |_| listed(&[0, 1], &[]));
        assert!(news(None, &old).unwrap().is_some());
        assert_eq!(news(Some(&old), &old).unwrap(), None);
        let new = map(6, 4, |_| listed(&[0], &[1]));
        let told = news(Some(&old), &new).unwrap().unwrap();
        assert_eq!(told.file, map_file(&new).unwrap());
        assert_eq!(told.file.entries.len(), 4);
    }

    #[test]
    fn a_map_that_goes_back_or_contradicts_is_refused() {
        let old = map(5, 4, |_| listed(&[0, 1], &[]));
        let refused = |map: &BucketMap| news(Some(&old), map).unwrap_err().to_string();
        assert!(refused(&map(4, 4, |_| listed(&[0, 1], &[]))).contains("brought back"));
        assert!(refused(&map(5, 4, |_| listed(&[0], &[]))).contains("two operators"));
        assert!(refused(&map(6, 3, |_| listed(&[0], &[]))).contains("number never changes"));
        let mut stale = map(6, 4, |_| listed(&[0], &[]));
        let entry = &mut stale.status.as_mut().unwrap().buckets[2];
        (entry.epoch, entry.since) = (4, vec![4]);
        assert!(refused(&stale).contains("never go back"));
        let mut short = map(6, 4, |_| listed(&[0], &[]));
        short.status.as_mut().unwrap().buckets.pop();
        assert!(refused(&short).contains("3 entries"));
        let mut gone = old.clone();
        gone.status = None;
        assert!(refused(&gone).contains("epoch 0"));
    }

    #[test]
    fn the_first_map_may_have_no_buckets_and_those_after_it_follow_nothing() {
        let mut first = map(0, 4, |_| listed(&[0], &[]));
        first.status = None;
        let told = news(None, &first).unwrap().unwrap();
        assert_eq!((told.file.entries.len(), told.file.disks.len()), (0, 0));
        assert!(news(Some(&first), &map(1, 4, |_| listed(&[0], &[]))).is_ok());
    }

    #[test]
    fn what_is_whole_elsewhere_and_awaited_nowhere_need_not_be_kept() {
        let map = map(5, 4, |bucket| match bucket {
            0 => listed(&[0, 1], &[]),
            1 => listed(&[0], &[1]),
            2 => BucketPlace {
                away: vec![2],
                ..listed(&[0, 1], &[])
            },
            _ => listed(&[0, 1, 2], &[]),
        });
        let map = pool_map(&map).unwrap();
        let spare = |disk| {
            let spare = map.spare_on(DiskId::new(disk).unwrap());
            spare.map(BucketId::get).collect::<Vec<_>>()
        };
        assert_eq!([1, 2, 3].map(spare), [vec![], vec![], vec![0]]);
    }

    #[test]
    fn a_disk_is_where_its_first_address_that_is_one_says() {
        let mut map = map(5, 4, |_| listed(&[0], &[]));
        let disks = &mut map.status.as_mut().unwrap().disks;
        disks[0].addresses = ["nowhere", "[fd00::1]:7420", "10.0.0.1:7420"]
            .map(str::to_owned)
            .into();
        disks[1].addresses.clear();
        let file = map_file(&map).unwrap();
        let ids: Vec<u128> = file.disks.iter().map(|disk| disk.id.get()).collect();
        assert_eq!(ids, [1, 3], "the second is served nowhere");
        assert_eq!(file.disks[0].address, "[fd00::1]:7420");
    }
}

//! The map file, read again whenever it changes. What changes it is not here: a person, or a test.

use anyhow::{Context, Result};
use moraine_protocol::MapFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What tells one state of the file from the next.
type Look = (u64, Option<SystemTime>);

fn look(path: &Path) -> Option<Look> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}

/// Reads a map.
pub(super) fn read(path: &Path) -> Result<MapFile> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the map {}", path.display()))?;
    MapFile::parse(&text).with_context(|| format!("reading the map {}", path.display()))
}

/// Publishes the map again each time the file changes. A file that is no map, or an older one, is
/// told once and changes nothing.
pub(super) async fn follow(path: PathBuf, maps: watch::Sender<Arc<MapFile>>) {
    let mut seen = look(&path);
    let mut interval = tokio::time::interval(LOOK_EVERY);
    loop {
        interval.tick().await;
        let now = look(&path);
        // While it is being replaced it may be missing.
        if now == seen || now.is_none() {
            continue;
        }
        seen = now;
        let old = Arc::clone(&maps.borrow());
        match read(&path).and_then(|new| newer(&old, new)) {
            Ok(map) => {
                maps.send_replace(Arc::new(map));
            }
            Err(error) => tracing::error!("the map is not taken: {error:#}"),
        }
    }
}

/// The new map, if it can follow the old one.
fn newer(old: &MapFile, new: MapFile) -> Result<MapFile> {
    new.check_follows(old.cluster, &old.entries)?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use moraine_model::{BucketEntry, BucketId, ClusterId, DiskId, Epoch};
    use moraine_protocol::DiskPlace;

    fn map(cluster: u128, buckets: u32) -> MapFile {
        let disk = DiskPlace {
            id: DiskId::new(1).unwrap(),
            address: "127.0.0.1:7701".into(),
            shards: 1,
        };
        MapFile::spread(ClusterId::new(cluster).unwrap(), vec![disk], buckets, 1).unwrap()
    }

    fn raised(mut map: MapFile, epoch: u64) -> MapFile {
        let listings = map.entries[0].listings().to_vec();
        map.entries[0] =
            BucketEntry::new(BucketId::new(0).unwrap(), Epoch(epoch), listings).unwrap();
        map
    }

    #[test]
    fn a_map_of_another_pool_or_an_older_one_is_refused() {
        let old = raised(map(1, 4), 5);
        assert!(newer(&old, raised(map(1, 4), 5)).is_ok());
        assert!(newer(&old, raised(map(1, 4), 6)).is_ok());
        for (new, why) in [
            (raised(map(1, 4), 4), "never go back"),
            (raised(map(2, 4), 6), "of cluster"),
            (raised(map(1, 5), 6), "their number"),
        ] {
            let error = newer(&old, new).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}

//! The map file, read again whenever it changes. What changes it is not here: a person, or a test.

use anyhow::{Context, Result};
use moraine_protocol::MapFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What tells one state of the file from the next.
type Look = (u64, Option<SystemTime>);

fn look(path: &Path) -> Option<Look> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}

fn read(path: &Path) -> Result<MapFile> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the map {}", path.display()))?;
    MapFile::parse(&text).with_context(|| format!("reading the map {}", path.display()))
}

/// A map file, and what was taken from it last.
#[derive(Debug)]
pub(super) struct Followed {
    path: PathBuf,
    seen: Option<Look>,
    map: Arc<MapFile>,
}

impl Followed {
    /// Reads the map for the first time.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        // Looked at before it is read, so that a change meanwhile, or while the disks are opened, is
        // seen later.
        let seen = look(&path);
        let map = Arc::new(read(&path)?);
        Ok(Self { path, seen, map })
    }

    /// The newest map.
    pub(super) fn map(&self) -> &Arc<MapFile> {
        &self.map
    }

    /// Waits for a newer map. A file that is no map, or an older one, is told once and changes
    /// nothing.
    pub(super) async fn changed(&mut self) -> &Arc<MapFile> {
        loop {
            let now = look(&self.path);
            // While it is being replaced it may be missing.
            if now.is_some() && now != self.seen {
                self.seen = now;
                match read(&self.path).and_then(|new| newer(&self.map, new)) {
                    Ok(map) => {
                        self.map = Arc::new(map);
                        return &self.map;
                    }
                    Err(error) => tracing::error!("the map is not taken: {error:#}"),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
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
    #[tokio::test]
    async fn a_change_while_the_agent_starts_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        std::fs::write(&path, map(1, 4).to_text()).unwrap();
        let mut followed = Followed::open(path.clone()).unwrap();
        // Other buckets' numbers make another length: the file's times may be too coarse here.
        let newer = raised(map(1, 4), 500);
        std::fs::write(&path, newer.to_text()).unwrap();
        assert_eq!(**followed.changed().await, newer);
        std::fs::write(&path, "no map").unwrap();
        let waited = tokio::time::timeout(3 * LOOK_EVERY, followed.changed()).await;
        assert!(waited.is_err(), "what is no map is not taken");
        assert_eq!(**followed.map(), newer);
    }
}

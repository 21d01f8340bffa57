//! Notices that the map's file has been replaced.

use super::options::{OpenError, read_map};
use moraine_protocol::MapFile;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// How often it is looked at: a failed disk holds up writes until the map says so.
const EVERY: Duration = Duration::from_millis(20);

/// A file, and how it looked when it was read.
#[derive(Debug)]
pub(super) struct MapWatch {
    path: PathBuf,
    seen: Option<Looks>,
    ticks: tokio::time::Interval,
}

/// What differs between a file and the one that takes its place.
type Looks = (u64, u64, i64, i64);

impl MapWatch {
    pub(super) fn new(path: PathBuf) -> Self {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut watch = Self {
            path,
            seen: None,
            ticks,
        };
        watch.seen = watch.look();
        watch
    }

    fn look(&self) -> Option<Looks> {
        let file = fs::metadata(&self.path).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    }

    /// Waits for a change, and reads the file; never ends without a file. It may be dropped and
    /// called again. A file that is away for a moment has not changed.
    pub(super) async fn changed(this: &mut Option<Self>) -> Result<MapFile, OpenError> {
        let Some(watch) = this else {
            return std::future::pending().await;
        };
        loop {
            watch.ticks.tick().await;
            let looks = watch.look();
            if looks.is_some() && looks != watch.seen {
                watch.seen = looks;
                return read_map(&watch.path);
            }
        }
    }
}

//! What outlives a restart of the engine, in a folder of the volume on this node: the generation
//! that it had, the cut that it had reached, and the newest map entries that it used.
//!
//! One JSON file, replaced whole. It is written under another name, synced, renamed, and then the
//! folder is synced: a crash between any two of these leaves the old file or the new one, and
//! nothing is said to be kept before the last. The folder's own name is durable before that.

use moraine_model::{
    BucketEntry, BucketId, Cut, DiskId, Epoch, Generation, Listing, OutOfRange, Role, VolumeId,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

const FILE: &str = "engine.json";
const NEW_FILE: &str = "engine.json.new";
const LOCK_FILE: &str = "lock";

/// Why the state of a volume can't be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file can't be used.
    #[error("{doing} {path}: check the folder's owner and the space on its file system")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another engine has it.
    #[error("{path} is in use: another engine of the volume runs on this node; end it first")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not what an engine wrote.
    #[error("{path} is damaged: remove it, and attach the volume with a higher generation")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A value in the file can't be.
    #[error("{path} is damaged: remove it, and attach the volume with a higher generation")]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: OutOfRange,
    },
    /// The folder is another volume's.
    #[error("{path} is of volume {found}, not {wanted}: give each volume a folder of its own")]
    OtherVolume {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: VolumeId,
        /// Who wants it.
        wanted: VolumeId,
    },
    /// The volume was attached here by a later attachment already.
    #[error("attachment {wanted} is over: attachment {found} of the volume was here already")]
    OldAttachment {
        /// The newest one.
        found: u32,
        /// The one that was asked for.
        wanted: u32,
    },
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) volume: VolumeId,
    pub(super) generation: Generation,
    pub(super) cut: Cut,
    pub(super) entries: BTreeMap<BucketId, BucketEntry>,
}

/// The folder, which no other engine has meanwhile.
#[derive(Debug)]
pub(super) struct StateFolder {
    path: PathBuf,
    /// Its lock ends with it, however the process ends.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    volume: VolumeId,
    attach: u32,
    incarnation: u32,
    cut: u64,
    entries: Vec<RawEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawEntry {
    bucket: BucketId,
    epoch: u64,
    in_sync: Vec<(DiskId, u64)>,
    syncing: Vec<(DiskId, u64)>,
}

impl StateFolder {
    /// Takes the folder for a new engine of the volume, whose generation, never used before, is
    /// durable when this returns.
    pub(super) fn take(
        path: &Path,
        volume: VolumeId,
        attach: u32,
    ) -> Result<(Self, Kept), StateError> {
        make_folder(path)?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path);
        let lock = lock.map_err(|source| failed("opening", &lock_path, source))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StateError::InUse {
                path: path.to_owned(),
            },
            TryLockError::Error(source) => failed("locking", &lock_path, source),
        })?;
        let folder = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        let kept = folder.next_life(volume, attach)?;
        folder.save(&kept)?;
        Ok((folder, kept))
    }

    /// What the file says, with the generation of the life that begins.
    fn next_life(&self, volume: VolumeId, attach: u32) -> Result<Kept, StateError> {
        let Some(mut kept) = self.read()? else {
            let generation = Generation {
                attach,
                incarnation: 0,
            };
            return Ok(Kept {
                volume,
                generation,
                cut: Cut(0),
                entries: BTreeMap::new(),
            });
        };
        if kept.volume != volume {
            return Err(StateError::OtherVolume {
                path: self.path.clone(),
                found: kept.volume,
                wanted: volume,
            });
        }
        let found = kept.generation;
        if found.attach > attach {
            return Err(StateError::OldAttachment {
                found: found.attach,
                wanted: attach,
            });
        }
        let same = found.attach == attach;
        kept.generation = Generation {
            attach,
            incarnation: if same { found.incarnation + 1 } else { 0 },
        };
        Ok(kept)
    }

    fn read(&self) -> Result<Option<Kept>, StateError> {
        let path = self.path.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("reading", &path, source)),
        };
        let raw: Raw = serde_json::from_slice(&text).map_err(|source| StateError::Damaged {
            path: path.clone(),
            source,
        })?;
        let kept = raw.checked();
        kept.map(Some)
            .map_err(|source| StateError::Value { path, source })
    }

    /// Makes it durable.
    pub(super) fn save(&self, kept: &Kept) -> Result<(), StateError> {
        let (path, new) = (self.path.join(FILE), self.path.join(NEW_FILE));
        let text = serde_json::to_vec(&Raw::of(kept)).expect("numbers and texts are always JSON");
        let mut file = File::create(&new).map_err(|source| failed("making", &new, source))?;
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        written.map_err(|source| failed("writing", &new, source))?;
        // A crash here leaves the old file, and a new one that the next engine writes over.
        fs::rename(&new, &path).map_err(|source| failed("replacing", &path, source))?;
        sync_folder(&self.path)
    }
}

/// Makes the folder, if it isn't there, so that no loss of power takes it away again: with it would
/// go the generation, and one that is used twice has writes taken for retries of the former's.
fn make_folder(path: &Path) -> Result<(), StateError> {
    let named = path.ancestors().filter(|folder| folder.parent().is_some());
    let missing = named.clone().take_while(|folder| !folder.exists()).count();
    fs::create_dir_all(path).map_err(|source| failed("making", path, source))?;
    // The last name always: who made it before may have died before this.
    named.take(missing.max(1)).try_for_each(|folder| {
        let parent = folder.parent().filter(|parent| *parent != Path::new(""));
        sync_folder(parent.unwrap_or(Path::new(".")))
    })
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> Result<(), StateError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|source| failed("syncing", path, source))
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> StateError {
    let path = path.to_owned();
    StateError::Io {
        doing,
        path,
        source,
    }
}

impl Raw {
    fn of(kept: &Kept) -> Self {
        let of_role = |entry: &BucketEntry, role| {
            let listings = entry.listings().iter().filter(|l| l.role == role);
            listings.map(|l| (l.disk, l.since.0)).collect()
        };
        let entries = kept.entries.values().map(|entry| RawEntry {
            bucket: entry.bucket(),
            epoch: entry.epoch().0,
            in_sync: of_role(entry, Role::InSync),
            syncing: of_role(entry, Role::Syncing),
        });
        Self {
            volume: kept.volume,
            attach: kept.generation.attach,
            incarnation: kept.generation.incarnation,
            cut: kept.cut.0,
            entries: entries.collect(),
        }
    }

    fn checked(self) -> Result<Kept, OutOfRange> {
        let entries = self.entries.into_iter().map(RawEntry::checked);
        let entries =
            entries.map(|entry| Ok((entry.as_ref().map_err(Clone::clone)?.bucket(), entry?)));
        Ok(Kept {
            volume: self.volume,
            generation: Generation {
                attach: self.attach,
                incarnation: self.incarnation,
            },
            cut: Cut(self.cut),
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

impl RawEntry {
    fn checked(self) -> Result<BucketEntry, OutOfRange> {
        let listing = |role| {
            move |(disk, since): (DiskId, u64)| Listing {
                disk,
                role,
                since: Epoch(since),
            }
        };
        let in_sync = self.in_sync.into_iter().map(listing(Role::InSync));
        let syncing = self.syncing.into_iter().map(listing(Role::Syncing));
        let listings = in_sync.chain(syncing).collect();
        BucketEntry::new(self.bucket, Epoch(self.epoch), listings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(number: u128) -> VolumeId {
        VolumeId::new(number).unwrap()
    }

    fn take(path: &Path, attach: u32) -> (StateFolder, Kept) {
        StateFolder::take(path, volume(7), attach).unwrap()
    }

    fn entry(bucket: u32, epoch: u64) -> BucketEntry {
        let listing = |disk, role| Listing {
            disk: DiskId::new(disk).unwrap(),
            role,
            since: Epoch(2),
        };
        let listings = vec![listing(1, Role::InSync), listing(2, Role::Syncing)];
        BucketEntry::new(BucketId::new(bucket).unwrap(), Epoch(epoch), listings).unwrap()
    }

    #[test]
    fn what_is_kept_is_found_by_the_next_engine_whose_generation_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (state, mut kept) = take(folder.path(), 3);
        assert_eq!(kept.generation.incarnation, 0);
        kept.cut = Cut(4);
        kept.entries = (0..3)
            .map(|n| (BucketId::new(n).unwrap(), entry(n, 9)))
            .collect();
        state.save(&kept).unwrap();
        drop(state);
        // A crash may have left this; it counts for nothing.
        fs::write(folder.path().join(NEW_FILE), "{").unwrap();
        let (state, found) = take(folder.path(), 3);
        kept.generation.incarnation = 1;
        assert_eq!(found, kept);
        drop(state);
        let (state, found) = take(folder.path(), 3);
        assert_eq!(found.generation.incarnation, 2, "durable before it is used");
        drop(state);
        let (_state, found) = take(folder.path(), 5);
        kept.generation = Generation {
            attach: 5,
            incarnation: 0,
        };
        assert_eq!(found, kept);
    }

    #[test]
    fn a_folder_is_made_with_all_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/state");
        drop(take(&path, 3));
        assert_eq!(take(&path, 3).1.generation.incarnation, 1);
    }

    #[test]
    fn a_folder_has_one_engine_of_one_volume() {
        let folder = tempfile::tempdir().unwrap();
        let held = take(folder.path(), 3);
        let refused = |number, attach| {
            let taken = StateFolder::take(folder.path(), volume(number), attach);
            taken.map(|_| ()).unwrap_err()
        };
        assert!(matches!(refused(7, 3), StateError::InUse { .. }));
        drop(held);
        assert!(matches!(refused(8, 3), StateError::OtherVolume { .. }));
        assert!(matches!(refused(7, 2), StateError::OldAttachment { .. }));
        let file = folder.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, &text[1..]).unwrap();
        assert!(matches!(refused(7, 3), StateError::Damaged { .. }));
    }
}

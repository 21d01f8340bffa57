//! Why the replicas of a shard can't start, or can't go on after the disk failed.

use moraine_model::DiskId;
use moraine_store::OpenError;
use thiserror::Error;

/// Why the replicas did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store is of another disk than the settings name.
    #[error("the store is that of disk {found}, not of {expected}")]
    OtherDisk {
        /// What the settings name.
        expected: DiskId,
        /// What the superblock names.
        found: DiskId,
    },
    /// A note can't be read. Forgetting it could let a superseded engine write, so the replicas
    /// don't start.
    #[error(
        "a note on the disk can't be read: {what} (key {key:02x?}); use the version of Moraine that \
         wrote it, or replace the disk: its replicas are elsewhere"
    )]
    Note {
        /// What is wrong with it.
        what: &'static str,
        /// Its key.
        key: Vec<u8>,
    },
}

/// Why the replicas could not be recovered after a failed write.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The store can't be opened again.
    #[error("the store can't be opened again after a failed write")]
    Store(#[from] OpenError),
    /// What is on it can't be read.
    #[error("the replicas can't start again after a failed write")]
    Start(#[from] StartError),
}

/// A description of a volume is longer than a note can be.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("a volume's description may have 512 bytes, not {bytes}")]
pub struct DescriptionTooLong {
    /// What it has.
    pub bytes: usize,
}

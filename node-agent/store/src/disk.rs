//! The seam between the store and a disk: operations go in with their buffers, completions come
//! back with them.
//!
//! What each disk must hold to, and what the store relies on:
//! - A completed [`Operation::Write`] is durable: it survives a power cut (`O_DSYNC`, or the write
//!   followed by a data sync). A write that is not completed may be on the disk wholly, in part
//!   (any logical blocks of it) or not at all, also after a crash.
//! - Operations in flight run in any order and complete in any order. Who needs an order waits.
//! - Every submitted operation completes exactly once, with its buffers, also when it fails. A
//!   transfer shorter than asked is a failure ([`FailureKind::Short`]), never a success.
//! - A disk never retries a failed write or sync: the store decides.
//! - Offsets and lengths are multiples of the logical block, and the store uses multiples of 4096
//!   only. An operation outside the disk fails with [`FailureKind::OutOfRange`], and so does a write
//!   of more than 1024 buffers.
//!
//! A disk handle belongs to one thread. Shards of one disk have a handle each.

mod faulty;
mod limits;
mod memory;
mod open;
mod overlay;
mod pool;
mod recording;
mod threads;
mod uring;

pub use faulty::{Fault, FaultyDisk, Nth, Script};
pub use memory::{CrashFate, MemoryDisk, MemoryQueue};
pub use open::{
    Allocation, Backend, Choice, Device, DeviceDisk, OpenError, OpenErrorKind, OpenOptions, Opened,
    Why, create_file,
};
pub use overlay::OverlayDisk;
pub use pool::PoolReport;
pub use recording::{Crash, Crashes, Order, Recorder, RecordingDisk};
pub use threads::ThreadDisk;
pub use uring::UringDisk;

use crate::Buffer;
use std::fmt;

/// What the store must know of a disk before it uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the disk or file.
    pub size_bytes: u64,
    /// The unit that a power cut never tears: 512 or 4096.
    pub logical_block_bytes: u32,
    /// How many operations may be in flight at once; [`Disk::submit`] refuses more.
    pub queue_depth: usize,
}

/// One thing for the disk to do.
#[derive(Debug)]
pub enum Operation {
    /// Fill the buffer from the disk.
    Read {
        /// First byte on the disk.
        offset: u64,
        /// Memory to fill, wholly.
        buffer: Buffer,
    },
    /// Write the buffers one after another, and complete when that is durable.
    Write {
        /// First byte on the disk.
        offset: u64,
        /// Data, contiguous on the disk.
        buffers: Vec<Buffer>,
    },
    /// Complete when every write that completed before is durable, and the disk's metadata too.
    Sync,
    /// Give the range back to the device. What it reads afterwards is undefined.
    Discard {
        /// First byte on the disk.
        offset: u64,
        /// Length of the range.
        size_bytes: u64,
    },
}

impl Operation {
    /// The bytes that this operation touches.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Read { buffer, .. } => buffer.len() as u64,
            Self::Write { buffers, .. } => buffers.iter().map(|buffer| buffer.len() as u64).sum(),
            Self::Sync => 0,
            Self::Discard { size_bytes, .. } => *size_bytes,
        }
    }
}

/// The end of one operation.
#[derive(Debug)]
pub struct Completion {
    /// The tag that the operation was submitted with.
    pub tag: u64,
    /// The operation itself, with its buffers; those of a read are filled if it succeeded.
    pub operation: Operation,
    /// Whether all of it was done.
    pub outcome: Result<(), Failure>,
}

/// Why an operation was not done.
#[derive(Debug)]
pub struct Failure {
    /// The class that callers match on.
    pub kind: FailureKind,
    /// What the system said, if it said something.
    pub source: Option<std::io::Error>,
}

/// The classes of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The device or the system refused or failed.
    Io,
    /// Fewer bytes were moved than asked for.
    Short,
    /// The operation reaches beyond the disk or is not aligned: a bug of the caller.
    OutOfRange,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FailureKind::Io => "the device failed",
            FailureKind::Short => "the device moved fewer bytes than asked for",
            FailureKind::OutOfRange => "the operation lies outside the device or is not aligned",
        })
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A block device, a file, or memory that plays one.
pub trait Disk {
    /// Size and units; they never change while the disk is open.
    fn geometry(&self) -> Geometry;

    /// Starts an operation, at the next `poll` or `wait` at the latest. Gives it back unstarted when
    /// `queue_depth` operations are in flight.
    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation>;

    /// Appends what has completed since, without waiting.
    fn poll(&mut self, completions: &mut Vec<Completion>);

    /// Like `poll`, but waits for at least one completion unless nothing is in flight.
    fn wait(&mut self, completions: &mut Vec<Completion>);

    /// Operations that were submitted and not yet handed back.
    fn in_flight(&self) -> usize;

    /// Memory for an operation of this disk; one that registers memory with the kernel hands out
    /// its own. The content is undefined but initialised.
    fn buffer(&mut self, blocks: usize) -> Buffer {
        Buffer::zeroed(blocks)
    }

    /// Takes back a buffer that is no longer needed, for the next [`Disk::buffer`].
    fn recycle(&mut self, buffer: Buffer) {
        drop(buffer);
    }
}

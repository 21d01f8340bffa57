//! A shard: one thread's part of a disk, as a state machine.
//!
//! ```text
//! submit(request) -> waiting -> batch -> disk -> in LSN order: index, bitmaps, reply
//!                    read --------------> disk -> checksums ----------------> reply
//! ```
//!
//! The caller submits requests, calls [`Shard::poll`] when the disk may have moved, and takes
//! replies. Nothing here blocks but [`Shard::wait`]. What it must never do: refer to another
//! shard's segment, change the index by something that is not durable, or answer a write before all
//! earlier ones are durable.

mod admit;
mod compact;
mod control;
mod inspect;
mod io;
mod lifecycle;
mod log;
mod query;
mod read;
mod records;
pub(crate) mod recover;
pub(crate) mod request;
mod scrub;
mod segments;
#[cfg(test)]
mod tests;

pub use query::{ChunkStamp, Usage};
pub use request::{
    Content, Control, Done, Read, ReadAt, ReadPart, Reply, Request, RequestId, Rule, Version, Write,
};
pub use scrub::{BadBlock, ScrubReport};

use crate::disk::Disk;
use crate::format::Layout;
use crate::free_list::FreeList;
use crate::index::Index;
use crate::metrics::Metrics;
use crate::{Buffer, StoreError};
use compact::Compactor;
use io::{Io, Task};
use lifecycle::Chain;
use log::Log;
use read::Reading;
use records::Records;
use scrub::Scrubber;
use segments::SegmentTable;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Settings that may change from one start to the next.
#[derive(Debug, Clone, Copy)]
pub struct ShardOptions {
    /// Batches in flight at once.
    pub batches_max: usize,
    /// Blocks of a batch, unless one write alone has more.
    pub batch_blocks_max: u32,
    /// Changes that may wait for a batch, and reads under way; more are refused.
    pub waiting_max: usize,
    /// Bytes a second that compaction may copy while there is room.
    pub compaction_bytes_per_s: u64,
    /// Bytes a second that a scrub may read.
    pub scrub_bytes_per_s: u64,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            batches_max: 8,
            batch_blocks_max: 256,
            waiting_max: 4096,
            compaction_bytes_per_s: 64 << 20,
            scrub_bytes_per_s: 16 << 20,
        }
    }
}

/// One shard of an open disk.
#[derive(Debug)]
pub struct Shard<D> {
    io: Io<D>,
    options: ShardOptions,
    free: Arc<FreeList>,
    segments: SegmentTable,
    index: Index,
    records: Records,
    log: Log,
    reads: BTreeMap<u64, Reading>,
    chains: BTreeMap<u64, Chain>,
    compactor: Compactor,
    scrubber: Scrubber,
    replies: VecDeque<Reply>,
    next_id: u64,
    stopped: bool,
    metrics: Metrics,
}

impl<D: Disk> Shard<D> {
    /// Takes a request. Its reply comes later, under the id returned.
    pub fn submit(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let outcome = if self.stopped {
            Err(StoreError::Stopped)
        } else {
            match request {
                Request::Read(read) => self.start_read(id, read),
                other => {
                    let large = self.fills_a_batch(&other);
                    self.enqueue(id, other).map(|()| {
                        if large {
                            self.start_batches();
                        }
                    })
                }
            }
        };
        if let Err(error) = outcome {
            self.reply(id, Err(error));
        }
        id
    }

    /// Whether waiting for company would gain nothing: the disk may as well begin now, while the
    /// next request is looked at.
    fn fills_a_batch(&self, request: &Request) -> bool {
        match request {
            Request::Write(write) => {
                2 * u32::from(write.range.count()) >= self.options.batch_blocks_max
            }
            _ => false,
        }
    }

    /// Takes what the disk has done and starts what can be started. `now_ms` is any clock that
    /// does not go back.
    pub fn poll(&mut self, now_ms: u64) {
        self.advance(false, now_ms);
    }

    /// Like `poll`, but waits for the disk if something is under way.
    pub fn wait(&mut self, now_ms: u64) {
        self.advance(true, now_ms);
    }

    /// The next reply.
    pub fn next_reply(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }

    /// Whether a write to the disk failed: the shard answers nothing any more and must be opened
    /// again.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether nothing is under way on the disk, and nothing to be done at once.
    pub fn is_idle(&self) -> bool {
        self.io.is_idle() && !self.compactor.has_work()
    }

    /// What it has done so far, and how full it is.
    pub fn metrics(&self) -> Metrics {
        self.measured()
    }

    /// Memory for the data of a write, from the disk's pool.
    pub fn buffer(&mut self, blocks: usize) -> Buffer {
        self.io.disk().buffer(blocks)
    }

    /// Takes back the memory of an answered read.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.io.disk().recycle(buffer);
    }

    /// Its handle of the disk, to look at; operations go through the shard alone.
    pub fn disk(&self) -> &D {
        self.io.handle()
    }

    /// Gives the disk back. What was not answered may or may not be durable.
    pub fn into_disk(self) -> D {
        self.io.into_disk()
    }

    fn layout(&self) -> Layout {
        self.segments.layout()
    }

    fn reply(&mut self, id: RequestId, outcome: Result<Done, StoreError>) {
        self.replies.push_back(Reply { id, outcome });
    }

    fn advance(&mut self, wait: bool, now_ms: u64) {
        self.start_work(now_ms);
        let wait = wait && !self.compactor.has_work();
        for (task, operation, outcome) in self.io.completed(wait) {
            match task {
                Task::Read(id, part) => self.read_ended(id, part, operation, outcome),
                _ if self.stopped => {}
                Task::Batch(lsn) => self.batch_ended(lsn, outcome.is_ok()),
                Task::Chain(id) => self.chain_ended(id, outcome.is_ok()),
                Task::Compaction => self.compaction_ended(operation, outcome.is_ok()),
                Task::Scrub => self.scrub_ended(operation, outcome.is_ok()),
            }
        }
        self.start_work(now_ms);
    }

    fn start_work(&mut self, now_ms: u64) {
        if self.stopped {
            return;
        }
        self.start_batches();
        self.close_extents();
        self.free_dead_segments();
        self.compact(now_ms);
        self.scrub(now_ms);
    }

    /// After a failed write: the end of the extent on the disk is unknown, so nothing more is
    /// written or promised. What was acknowledged is durable and will be found.
    fn stop(&mut self) {
        self.stopped = true;
        self.metrics.write_failures += 1;
        // Reads too, though they may end well: a shard that stopped owes no answer, so that nobody
        // waits for one when it is opened again.
        let reads = std::mem::take(&mut self.reads).into_keys().map(RequestId);
        for id in self.log.abandon().into_iter().chain(reads) {
            self.reply(id, Err(StoreError::Stopped));
        }
        self.chains.clear();
        self.compactor.stop();
    }
}

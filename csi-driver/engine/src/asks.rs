//! Requests that are not yet answered: for whom, of which bucket's epoch, and where they wait. How
//! one becomes bytes, and what its answer means, is decided elsewhere.

use crate::interface::PathId;
use moraine_model::{BlockRange, BucketId, ChunkIndex, Cut, Epoch};
use moraine_protocol::RequestId;
use slab::Slab;

/// Places in a request id: the key in the low bits, so that an answer finds its request, and a
/// number that is never used again above them, so that it finds no other one.
const KEY_BITS: u32 = 24;

/// Where a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// In its disk's queue, for a path with credit.
    InQueue,
    /// For an answer on this path.
    On(PathId),
    /// For a time.
    Paused,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing any more.
    Dropped,
    /// Whether the disk answers.
    Ping,
    /// Whether the bucket is open there.
    Open,
    /// To forget the engine, since it goes.
    Close,
    /// To do this write.
    Write { flight: usize },
    /// The data of this read.
    Read { read: usize },
    /// What is above the mark.
    Look(Look),
}

/// What reconciliation asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// The chunks from this one on.
    Chunks { from: ChunkIndex },
    /// The layers of a chunk.
    Layers { chunk: ChunkIndex },
    /// The versions of a layer.
    Versions { chunk: ChunkIndex, cut: Cut },
    /// What shows at a cut, or at the head when the cut's snapshot is gone.
    Data {
        chunk: ChunkIndex,
        range: BlockRange,
        cut: Cut,
        head: bool,
    },
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) id: RequestId,
    /// The disk, by its number in [`crate::net::Net`].
    pub(crate) disk: usize,
    pub(crate) bucket: BucketId,
    /// The epoch of the bucket's entry under which it is asked. Under a newer one it is over.
    pub(crate) epoch: Epoch,
    /// The replica's place in that entry.
    pub(crate) slot: u8,
    pub(crate) purpose: Purpose,
    pub(crate) waits: Waits,
    /// How often it was refused for now, and since when.
    pub(crate) refusals: u32,
    pub(crate) refused_since: u64,
    /// How often its answer was damaged.
    pub(crate) damages: u8,
    /// Whether it is counted among its disk's stuck ones.
    pub(crate) stuck: bool,
    /// When it was sent.
    pub(crate) sent_ms: u64,
}

/// All requests.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    slab: Slab<Ask>,
    serial: u64,
}

impl Asks {
    /// A name that no request ever had.
    pub(crate) fn name(&mut self, key: usize) -> RequestId {
        assert!(
            key < 1 << KEY_BITS,
            "the bounds of operations bound requests"
        );
        self.serial += 1;
        RequestId(self.serial << KEY_BITS | key as u64)
    }

    /// Keeps a request, under a name of its own.
    pub(crate) fn insert(&mut self, ask: Ask) -> usize {
        let key = self.slab.insert(ask);
        self.slab[key].id = self.name(key);
        key
    }

    /// The request with this name.
    pub(crate) fn named(&self, id: RequestId) -> Option<(usize, &Ask)> {
        let key = usize::try_from(id.0 & ((1 << KEY_BITS) - 1)).ok()?;
        let ask = self.slab.get(key)?;
        (ask.id == id).then_some((key, ask))
    }

    pub(crate) fn get(&self, key: usize) -> &Ask {
        self.slab.get(key).expect("a request that waits is kept")
    }

    pub(crate) fn get_mut(&mut self, key: usize) -> &mut Ask {
        self.slab
            .get_mut(key)
            .expect("a request that waits is kept")
    }

    pub(crate) fn remove(&mut self, key: usize) -> Ask {
        self.slab.remove(key)
    }

    pub(crate) fn clear(&mut self) {
        self.slab.clear();
    }
}

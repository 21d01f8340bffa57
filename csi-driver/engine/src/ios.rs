//! Operations that are not yet answered, and the pieces that they were split into. How a piece is
//! read or written is no subject here.

use crate::address::Span;
use crate::interface::IoId;
use bytes::{Bytes, BytesMut};
use moraine_model::{BlockRange, BucketId, ChunkIndex, Cut};
use moraine_protocol::Content;
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Zero,
    Flush,
}

/// What was read so far.
#[derive(Debug)]
pub(crate) enum Gathered {
    Nothing,
    /// All of it, as it came.
    Whole(Bytes),
    /// Pieces, each put where it belongs.
    Pieces(BytesMut),
}

/// An operation that is not yet answered.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: IoId,
    pub(crate) kind: Kind,
    /// Its place in the order of submission, which no other one has.
    pub(crate) order: u64,
    /// What is still to be split.
    pub(crate) span: Span,
    pub(crate) length: u64,
    /// What is to be written.
    pub(crate) data: Bytes,
    pub(crate) gathered: Gathered,
    /// Pieces under way.
    pub(crate) active: usize,
    pub(crate) submitted_ms: u64,
}

/// For whom a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An operation.
    Operation(usize),
    /// A bad copy that is to be written again.
    Repair,
    /// Nobody any more: its operation ended with an error while the write was in flight.
    Nobody,
}

/// Where a piece is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for its blocks.
    Waits,
    /// It holds its blocks and waits for its bucket, or for a new cut.
    Parked,
    /// It is being read.
    Reads(usize),
    /// It is being written.
    Writes,
}

/// A part of an operation, in one chunk.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) owner: Owner,
    pub(crate) state: State,
    pub(crate) bucket: BucketId,
    pub(crate) chunk: ChunkIndex,
    pub(crate) range: BlockRange,
    /// Bytes from the start of the operation.
    pub(crate) offset: usize,
    /// What is to be written; of a repair, once it has been read.
    pub(crate) change: Option<Change>,
}

/// What a piece writes.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) content: Content,
    pub(crate) data: Option<Bytes>,
    /// The cut, or none for the one that the volume has when the write begins.
    pub(crate) cut: Option<Cut>,
}

/// All operations.
#[derive(Debug, Default)]
pub(crate) struct Ios {
    pub(crate) operations: Slab<Operation>,
    pub(crate) pieces: Slab<Piece>,
    last_order: u64,
    /// Orders of the operations that change something.
    changing: BTreeSet<u64>,
    /// Flushes that wait, in order.
    flushes: VecDeque<(u64, usize)>,
}

impl Ios {
    /// Keeps an operation and gives it its place in the order.
    pub(crate) fn insert(&mut self, mut operation: Operation) -> usize {
        self.last_order += 1;
        operation.order = self.last_order;
        let (kind, order) = (operation.kind, operation.order);
        let key = self.operations.insert(operation);
        match kind {
            Kind::Write | Kind::Zero => {
                self.changing.insert(order);
            }
            Kind::Flush => self.flushes.push_back((order, key)),
            Kind::Read => {}
        }
        key
    }

    /// Takes an operation out, to be answered.
    pub(crate) fn remove(&mut self, key: usize) -> Operation {
        let operation = self.operations.remove(key);
        match operation.kind {
            Kind::Write | Kind::Zero => {
                self.changing.remove(&operation.order);
            }
            Kind::Flush => self.flushes.retain(|(order, _)| *order != operation.order),
            Kind::Read => {}
        }
        operation
    }

    /// A flush for which every change before it is answered.
    pub(crate) fn flushed(&self) -> Option<usize> {
        let (order, key) = *self.flushes.front()?;
        let first = self.changing.first();
        first.is_none_or(|first| *first > order).then_some(key)
    }

    /// Whether this operation is still unanswered.
    pub(crate) fn lives(&self, (key, order): (usize, u64)) -> bool {
        let operation = self.operations.get(key);
        operation.is_some_and(|operation| operation.order == order)
    }

    /// The pieces of an operation.
    pub(crate) fn pieces_of(&self, key: usize) -> Vec<usize> {
        let owner = Owner::Operation(key);
        let own = self.pieces.iter().filter(|(_, piece)| piece.owner == owner);
        own.map(|(key, _)| key).collect()
    }
}

//! What clients asked and were told, block by block, for the whole life of the volumes.

use crate::register::{OpId, Register};
use crate::scenario::Scenario;
use crate::value::{Spot, Value};
use std::collections::BTreeMap;
use std::ops::Range;

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Read.
    Read,
    /// Write unique data.
    Write,
    /// Write zeros.
    Zero,
    /// Flush.
    Flush,
}

/// An operation of a client.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    /// The number of the volume.
    pub(crate) volume: usize,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its blocks; none of a flush.
    pub(crate) blocks: Range<u64>,
    /// Whether the history of its blocks knows it.
    pub(crate) told: bool,
}

impl Op {
    /// Its blocks.
    pub(crate) fn spots(&self) -> impl Iterator<Item = Spot> + use<> {
        let volume = self.volume;
        self.blocks.clone().map(move |block| Spot { volume, block })
    }
}

/// The history of all blocks.
#[derive(Debug)]
pub(crate) struct History {
    blocks: BTreeMap<Spot, Register>,
    /// Operations that may still matter.
    pub(crate) ops: BTreeMap<OpId, Op>,
    last: OpId,
}

impl History {
    /// Nothing was asked yet.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut blocks = BTreeMap::new();
        for volume in 0..scenario.volumes {
            let spots = scenario.runs(scenario.chunks).into_iter().flatten();
            blocks.extend(spots.map(|block| (Spot { volume, block }, Register::default())));
        }
        Self {
            blocks,
            ops: BTreeMap::new(),
            last: 0,
        }
    }

    /// Blocks that a volume has from now on.
    pub(crate) fn add(&mut self, volume: usize, blocks: Vec<(u64, Register)>) {
        let spots = blocks.into_iter();
        self.blocks
            .extend(spots.map(|(block, register)| (Spot { volume, block }, register)));
    }

    /// A new operation; the engine that it is given to is late if a newer one serves already.
    pub(crate) fn begin(&mut self, op: Op) -> OpId {
        self.last += 1;
        let id = self.last;
        for spot in op.spots().filter(|_| op.told) {
            let block = self.block(spot);
            match op.kind {
                Kind::Read => block.read(id),
                Kind::Write => block.write(id, Value::Of(id)),
                Kind::Zero => block.write(id, Value::Zeros),
                Kind::Flush => {}
            }
        }
        self.ops.insert(id, op);
        id
    }

    /// How many operations there were.
    pub(crate) fn begun(&self) -> u64 {
        self.last
    }

    /// A block's history.
    pub(crate) fn block(&mut self, spot: Spot) -> &mut Register {
        self.blocks
            .get_mut(&spot)
            .expect("clients keep to the blocks of the scenario")
    }

    /// All blocks of a volume that clients touch.
    pub(crate) fn spots(&self, volume: usize) -> Vec<Spot> {
        self.blocks
            .keys()
            .copied()
            .filter(|spot| spot.volume == volume)
            .collect()
    }
}

//! Orders to write a bad copy again. A repair is a piece of its own: it waits for the block like any
//! write, reads it while nobody else may touch it, and writes what it has read.

use crate::engine::{Engine, Phase};
use crate::ios::{Owner, Piece, State};
use crate::ranges::Access;
use moraine_model::{BlockRange, ChunkIndex};

impl Engine {
    /// Orders the repair of a block, unless it is ordered already. With too many waiting it is put
    /// off: whoever reads the block next finds it again.
    pub(crate) fn repair(&mut self, chunk: ChunkIndex, block: u16) {
        if self.phase != Phase::Attached || self.read_only {
            return;
        }
        let name = (chunk.get(), block);
        if self.repairs.contains(&name) {
            return;
        }
        if self.repairs.len() >= self.limits.repairs_max {
            self.metrics.repairs_put_off += 1;
            return;
        }
        self.repairs.insert(name);
        let range = BlockRange::new(block, 1).expect("it lies in the range that was read");
        let piece = Piece {
            owner: Owner::Repair,
            state: State::Waits,
            bucket: self.placing.bucket(chunk),
            chunk,
            range,
            offset: 0,
            change: None,
        };
        self.claim(piece, Access::Write);
    }
}

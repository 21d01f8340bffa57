//! The orders of the data plane: stamps of writes, cuts of snapshots, epochs of the map.

use serde::{Deserialize, Serialize};

/// One life of the engine of a volume: `attach` grows with each attachment, `incarnation` with each
/// restart of the engine within it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Generation {
    /// Grows by one at each attach.
    pub attach: u32,
    /// Grows by one each time the engine restarts within an attach.
    pub incarnation: u32,
}

/// The total order of the writes of a volume. The least one, [`Stamp::ZERO`], is no write's.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Stamp {
    /// The engine that made the write.
    pub generation: Generation,
    /// Grows with each write of the generation.
    pub sequence: u64,
}

impl Stamp {
    /// Older than every write.
    pub const ZERO: Self = Self {
        generation: Generation {
            attach: 0,
            incarnation: 0,
        },
        sequence: 0,
    };

    /// The stamp of write `sequence` of engine `(attach, incarnation)`.
    pub const fn new(attach: u32, incarnation: u32, sequence: u64) -> Self {
        Self {
            generation: Generation {
                attach,
                incarnation,
            },
            sequence,
        }
    }
}

/// The snapshot sequence number of a volume: taking a snapshot raises it, and the snapshot is named
/// by the value it had before.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Cut(pub u64);

/// The version of the bucket map.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// What every block version carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The write that made it.
    pub stamp: Stamp,
    /// The layer that it belongs to.
    pub cut: Cut,
    /// The epoch of the map under which it was written here.
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_ordered_by_attach_then_incarnation_then_sequence() {
        let ordered = [
            Stamp::ZERO,
            Stamp::new(0, 0, 1),
            Stamp::new(0, 1, 0),
            Stamp::new(1, 0, 0),
            Stamp::new(1, 0, 1),
            Stamp::new(1, 1, 0),
        ];
        assert!(ordered.is_sorted());
        assert!(ordered.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

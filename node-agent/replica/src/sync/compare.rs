//! One layer of a chunk here and at the source: what is to be taken over.
//!
//! Values only. The store decides again when a copy arrives, by what is durable then; this finds out
//! what need not be asked for.

use moraine_model::{BlockRange, CHUNK_BLOCKS, Epoch, Generation, Stamp, Tag};
use moraine_protocol::{Version, VersionKind};

const BLOCKS: usize = CHUNK_BLOCKS as usize;

/// By what a version here stays against the source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The mark here: one version with a stamp up to it is the same on both sides for good.
    pub(crate) mark: Stamp,
    /// The epoch since which this replica is listed.
    pub(crate) since: Epoch,
    /// The fence at the source.
    pub(crate) fence: Generation,
    /// Whether the volume is deleted here: then nothing is written to it any more.
    pub(crate) deleted: bool,
}

/// What to take over, in runs of blocks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Data to ask for.
    pub(crate) data: Vec<BlockRange>,
    /// Zeros, with their versions.
    pub(crate) zeros: Vec<(BlockRange, Tag)>,
    /// What the source has no version of.
    pub(crate) holes: Vec<BlockRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Data,
    Zero(Tag),
    Hole,
}

/// Compares the versions here with those of the source, both of the same layer.
pub(crate) fn difference(
    own: impl Iterator<Item = (BlockRange, Tag)>,
    source: &[Version],
    basis: Basis,
) -> Difference {
    let mut here: Vec<Option<Tag>> = vec![None; BLOCKS];
    let mut there: Vec<Option<(VersionKind, Tag)>> = vec![None; BLOCKS];
    for (range, tag) in own {
        here[usize::from(range.first())..usize::from(range.end())].fill(Some(tag));
    }
    for version in source {
        let range = version.range;
        let value = Some((version.kind, version.tag));
        there[usize::from(range.first())..usize::from(range.end())].fill(value);
    }
    let sides = here.into_iter().zip(there);
    let fates: Vec<Fate> = sides
        .map(|(here, there)| fate(here, there, basis))
        .collect();
    runs(&fates)
}

/// What becomes of one block.
///
/// A version here stays if it was written since this replica is listed, is newer, and its engine is
/// not fenced at the source: then it may still be acknowledged. One with the source's stamp, above
/// the mark and of an older epoch, is taken over again: only then does it count against older
/// writes, of which a deleted volume gets none.
///
/// That the source's version is not above the mark says nothing of what is here: one that was never
/// acknowledged, of a newer cut, may have hidden it, so that it was collected, or goes with the hole
/// that takes that one away.
///
/// A volume was deleted here while this replica was in sync, or its copy whole: what the source has no
/// more of it, it has collected since, when a clone that is still named here was deleted. The name
/// goes when that is told here, and the blocks with it.
fn fate(here: Option<Tag>, there: Option<(VersionKind, Tag)>, basis: Basis) -> Fate {
    let Basis {
        mark, since, fence, ..
    } = basis;
    let stamp = there.map_or(Stamp::ZERO, |(_, tag)| tag.stamp);
    let stays = here.is_some_and(|here| {
        let newer = here.stamp > stamp && here.stamp.generation >= fence;
        let equal = here.stamp == stamp;
        (here.epoch >= since && (newer || equal)) || (equal && (stamp <= mark || basis.deleted))
    });
    match there {
        _ if stays => Fate::Stays,
        Some((VersionKind::Data, _)) => Fate::Data,
        Some((VersionKind::Zero, tag)) => Fate::Zero(tag),
        None if here.is_some() && !basis.deleted => Fate::Hole,
        None => Fate::Stays,
    }
}

fn runs(fates: &[Fate]) -> Difference {
    let mut difference = Difference::default();
    let mut first: u16 = 0;
    for run in fates.chunk_by(|a, b| a == b) {
        let count = u16::try_from(run.len()).unwrap_or(CHUNK_BLOCKS);
        let range = BlockRange::new(first, count).expect("runs of a chunk lie in it");
        first += count;
        match run.first() {
            Some(Fate::Data) => difference.data.push(range),
            Some(Fate::Zero(tag)) => difference.zeros.push((range, *tag)),
            Some(Fate::Hole) => difference.holes.push(range),
            Some(Fate::Stays) | None => {}
        }
    }
    difference
}

/// The ranges to ask for, so that each is at most `most` blocks long and holds all of the wanted
/// runs that lie near each other: asking again costs more than some blocks that are there already.
pub(crate) fn asks(wanted: &[BlockRange], most: u16) -> Vec<BlockRange> {
    /// Blocks between two runs that are asked for with them.
    const GAP_MAX: u16 = 8;
    let mut asks: Vec<BlockRange> = Vec::new();
    for run in wanted {
        let mut first = run.first();
        while let Some(rest) = BlockRange::between(first, run.end()) {
            let end = rest.first() + rest.count().min(most);
            first = end;
            let part = BlockRange::between(rest.first(), end);
            let last = asks.last_mut();
            match (last, part) {
                (Some(last), Some(part))
                    if part.first() - last.end() <= GAP_MAX
                        && part.end() - last.first() <= most =>
                {
                    *last = BlockRange::between(last.first(), part.end()).unwrap_or(part);
                }
                (_, part) => asks.extend(part),
            }
        }
    }
    asks
}

#[cfg(test)]
mod tests {
    use super::*;
    use moraine_model::Cut;

    const BASIS: Basis = Basis {
        mark: Stamp::new(2, 0, 10),
        since: Epoch(5),
        fence: Generation {
            attach: 2,
            incarnation: 0,
        },
        deleted: false,
    };

    fn tag(attach: u32, sequence: u64, epoch: u64) -> Tag {
        Tag {
            stamp: Stamp::new(attach, 0, sequence),
            cut: Cut(0),
            epoch: Epoch(epoch),
        }
    }

    fn at(here: Option<Tag>, there: Option<(u32, u64)>) -> Fate {
        let there = there.map(|(attach, sequence)| (VersionKind::Data, tag(attach, sequence, 1)));
        fate(here, there, BASIS)
    }

    #[test]
    fn what_both_have_up_to_the_mark_is_left_alone() {
        assert_eq!(at(Some(tag(2, 10, 1)), Some((2, 10))), Fate::Stays);
        assert_eq!(at(None, None), Fate::Stays);
        // Something hid it here, and it was collected.
        assert_eq!(at(None, Some((2, 10))), Fate::Data);
        assert_eq!(at(Some(tag(2, 9, 1)), Some((2, 10))), Fate::Data);
        assert_eq!(at(Some(tag(2, 9, 1)), None), Fate::Hole);
    }

    #[test]
    fn the_source_counts_against_what_was_written_before_the_listing() {
        assert_eq!(at(Some(tag(2, 12, 4)), Some((2, 11))), Fate::Data);
        assert_eq!(at(Some(tag(2, 12, 4)), Some((2, 3))), Fate::Data);
        assert_eq!(at(Some(tag(2, 12, 4)), None), Fate::Hole);
        assert_eq!(at(None, Some((2, 11))), Fate::Data);
        let equal = (
            Some(tag(2, 11, 4)),
            Some((VersionKind::Data, tag(2, 11, 1))),
        );
        assert_eq!(
            fate(equal.0, equal.1, BASIS),
            Fate::Data,
            "its epoch is to rise"
        );
        let deleted = Basis {
            deleted: true,
            ..BASIS
        };
        assert_eq!(fate(equal.0, equal.1, deleted), Fate::Stays);
        // Collected at the source, with a clone that has a name here.
        assert_eq!(fate(equal.0, None, deleted), Fate::Stays);
    }

    #[test]
    fn what_was_written_since_stays_if_newer_and_not_fenced_at_the_source() {
        assert_eq!(at(Some(tag(2, 12, 5)), Some((2, 11))), Fate::Stays);
        assert_eq!(at(Some(tag(2, 12, 5)), None), Fate::Stays);
        assert_eq!(at(Some(tag(2, 11, 5)), Some((2, 11))), Fate::Stays);
        assert_eq!(at(Some(tag(2, 11, 5)), Some((2, 12))), Fate::Data);
        let low = Basis {
            mark: Stamp::ZERO,
            ..BASIS
        };
        let zombie = Some(tag(1, 99, 5));
        assert_eq!(fate(zombie, None, low), Fate::Hole);
        let there = Some((VersionKind::Zero, tag(1, 98, 1)));
        assert_eq!(fate(zombie, there, low), Fate::Zero(tag(1, 98, 1)));
    }

    #[test]
    fn runs_are_cut_where_their_fate_changes() {
        let range = |first, count| BlockRange::new(first, count).unwrap();
        let version = |first, count, kind, sequence| Version {
            range: range(first, count),
            kind,
            tag: tag(2, sequence, 1),
        };
        let source = [
            version(0, 10, VersionKind::Data, 20),
            version(10, 10, VersionKind::Data, 21),
            version(20, 4, VersionKind::Zero, 22),
            version(1000, 24, VersionKind::Data, 23),
        ];
        let own = [(range(5, 2), tag(2, 30, 5)), (range(30, 3), tag(2, 31, 4))];
        let found = difference(own.into_iter(), &source, BASIS);
        let wanted = Difference {
            data: vec![range(0, 5), range(7, 13), range(1000, 24)],
            zeros: vec![(range(20, 4), tag(2, 22, 1))],
            holes: vec![range(30, 3)],
        };
        assert_eq!(found, wanted);
        let asked = asks(&found.data, 16);
        assert_eq!(
            asked,
            [range(0, 5), range(7, 13), range(1000, 16), range(1016, 8)]
        );
        assert_eq!(asks(&found.data, 256), [range(0, 20), range(1000, 24)]);
    }
}

//! The answer to a read held against its checksums: nothing that a replica or the network changed
//! becomes data.

use bytes::{Bytes, BytesMut};
use moraine_model::{BLOCK_BYTES, BlockRange, Cut, Stamp, checksum};
use moraine_protocol::{Content, Part, VersionKind};

/// A run of blocks that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) range: BlockRange,
    pub(crate) content: Content,
    /// The data, if it has data.
    pub(crate) data: Bytes,
    pub(crate) stamp: Stamp,
    pub(crate) cut: Cut,
    /// Whether stamp and cut are of a clone's parent.
    pub(crate) inherited: bool,
}

/// Why an answer is no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bad {
    /// These blocks don't match their checksums.
    Blocks(Vec<u16>),
    /// Parts, ranges and data don't fit each other.
    Shape,
}

/// Checks the parts of an answer about `asked`; blocks in none of them were never written.
pub(crate) fn verify(
    asked: BlockRange,
    parts: Vec<Part>,
    mut payload: Bytes,
) -> Result<Vec<Found>, Bad> {
    let mut found = Vec::with_capacity(parts.len());
    let mut bad = Vec::new();
    let mut next = asked.first();
    for part in parts {
        let range = part.version.range;
        if range.first() < next || range.end() > asked.end() {
            return Err(Bad::Shape);
        }
        next = range.end();
        let zero = part.version.kind == VersionKind::Zero;
        let bytes = if zero { 0 } else { range.bytes() };
        let sums = if zero { 0 } else { usize::from(range.count()) };
        if part.checksums.len() != sums || payload.len() < bytes {
            return Err(Bad::Shape);
        }
        let data = payload.split_to(bytes);
        let sums = part.checksums.iter().zip(data.chunks(BLOCK_BYTES));
        let checked = range.blocks().zip(sums);
        let wrong = checked.filter(|(_, (sum, block))| checksum(block) != **sum);
        bad.extend(wrong.map(|(block, _)| block));
        let content = if zero {
            Content::Zero
        } else {
            Content::Data {
                checksums: part.checksums,
            }
        };
        found.push(Found {
            range,
            content,
            data,
            stamp: part.version.tag.stamp,
            cut: part.version.tag.cut,
            inherited: part.inherited,
        });
    }
    if !payload.is_empty() {
        return Err(Bad::Shape);
    }
    if bad.is_empty() {
        Ok(found)
    } else {
        Err(Bad::Blocks(bad))
    }
}

/// The data of `asked`: as it came if it came in one run, else put together.
pub(crate) fn assemble(asked: BlockRange, found: &[Found]) -> Bytes {
    if let [only] = found
        && only.data.len() == asked.bytes()
    {
        return only.data.clone();
    }
    let mut whole = BytesMut::zeroed(asked.bytes());
    for run in found {
        let start = usize::from(run.range.first() - asked.first()) * BLOCK_BYTES;
        whole[start..start + run.data.len()].copy_from_slice(&run.data);
    }
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use moraine_model::{Checksums, Epoch, Tag, block_checksums};
    use moraine_protocol::Version;

    fn part(first: u16, count: u16, kind: VersionKind, checksums: Checksums) -> Part {
        let tag = Tag {
            stamp: Stamp::new(1, 0, 1),
            cut: Cut(0),
            epoch: Epoch(1),
        };
        let range = BlockRange::new(first, count).unwrap();
        Part {
            version: Version { range, kind, tag },
            inherited: false,
            checksums,
        }
    }

    fn none() -> Checksums {
        Checksums::from(Vec::new())
    }

    #[test]
    fn blocks_in_no_part_and_zeros_are_zeros() {
        let asked = BlockRange::new(10, 4).unwrap();
        let data = Bytes::from(vec![7; 4096]);
        let parts = vec![
            part(10, 1, VersionKind::Zero, none()),
            part(12, 1, VersionKind::Data, block_checksums(&data)),
        ];
        let found = verify(asked, parts, data).unwrap();
        let whole = assemble(asked, &found);
        assert!(whole[..8192].iter().all(|byte| *byte == 0));
        assert!(whole[8192..12288].iter().all(|byte| *byte == 7));
        assert!(whole[12288..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_block_that_was_changed_is_named() {
        let asked = BlockRange::new(0, 2).unwrap();
        let mut data = vec![7; 8192];
        let sums = block_checksums(&data);
        data[5000] = 8;
        let parts = vec![part(0, 2, VersionKind::Data, sums)];
        let bad = verify(asked, parts, Bytes::from(data)).unwrap_err();
        assert_eq!(bad, Bad::Blocks(vec![1]));
    }

    #[test]
    fn an_answer_that_does_not_fit_is_no_data() {
        let asked = BlockRange::new(0, 2).unwrap();
        let data = Bytes::from(vec![7; 8192]);
        let sums = || block_checksums(&[7; 8192]);
        let one = || Checksums::from(sums()[0]);
        let bad = [
            (vec![part(0, 3, VersionKind::Zero, none())], 0),
            (vec![part(0, 2, VersionKind::Data, sums())], 4096),
            (vec![part(0, 2, VersionKind::Data, one())], 8192),
            (vec![part(0, 1, VersionKind::Data, one())], 8192),
            (vec![part(0, 1, VersionKind::Zero, one())], 0),
            (
                vec![
                    part(1, 1, VersionKind::Zero, none()),
                    part(0, 2, VersionKind::Zero, none()),
                ],
                0,
            ),
        ];
        for (parts, bytes) in bad {
            let found = verify(asked, parts, data.slice(..bytes));
            assert_eq!(found.unwrap_err(), Bad::Shape);
        }
    }
}

//! What of a write is still news: the comparison of stamps when it arrives.
//!
//! The comparison is with durable versions of the same cut only. Versions of other cuts are other
//! layers: a late write of an older cut belongs below them, wherever its stamp stands.

use super::request::{Content, Rule, Write};
use crate::Buffer;
use crate::format::{BlockEntry, BlockKind, ENTRY_BLOCKS_MAX, Entry, Tag};
use crate::index::Index;
use crate::index::layer::{Piece, PieceKind};
use moraine_model::{BLOCK_BYTES, BlockRange, Cut};

/// Whether the version that is there stays.
fn stays(there: &Piece<'_>, arriving: Tag, rule: Rule) -> bool {
    match rule {
        Rule::Write { listed } => {
            there.epoch >= listed && (there.stamp, there.epoch) >= (arriving.stamp, arriving.epoch)
        }
        // An equal stamp is the same write: nothing to copy.
        Rule::Copy { listed, fence } => {
            let newer = there.stamp > arriving.stamp && there.stamp.generation >= fence;
            there.epoch >= listed && (newer || there.stamp == arriving.stamp)
        }
    }
}

/// The blocks of a write that are to be appended, in order. Of a hole these are the blocks that
/// have a version to take away.
pub(crate) fn news(index: &Index, write: &Write) -> Vec<BlockRange> {
    let layer = index
        .chunk(write.place)
        .and_then(|chunk| chunk.layer(write.tag.cut));
    let hole = matches!(write.content, Content::Hole);
    let Some(layer) = layer else {
        return if hole { vec![] } else { vec![write.range] };
    };
    let stays = |piece: &Piece<'_>| stays(piece, write.tag, write.rule);
    if hole {
        let pieces = layer.pieces(write.range);
        let goes = pieces.filter(|piece| piece.kind != PieceKind::Hole && !stays(piece));
        return goes.map(|piece| piece.range).collect();
    }
    let mut news = Vec::new();
    let mut next = write.range.first();
    for piece in layer.pieces(write.range).filter(stays) {
        news.extend(BlockRange::new(next, piece.range.first() - next));
        next = piece.range.end();
    }
    news.extend(BlockRange::new(next, write.range.end() - next));
    news
}

/// The entries of the blocks in `news`, and their data. LSNs and positions come with the batch. A
/// hole reaches down to the cut `hidden_from`.
pub(crate) fn entries(
    write: Write,
    news: &[BlockRange],
    hidden_from: Cut,
) -> (Vec<Entry>, Vec<Buffer>) {
    let Write {
        place,
        range: whole,
        tag,
        content,
        ..
    } = write;
    let entry = |range, kind| {
        Entry::Blocks(BlockEntry {
            lsn: 0,
            place,
            range,
            tag,
            kind,
        })
    };
    let (data, checksums) = match content {
        Content::Zero => {
            return (
                news.iter().map(|&r| entry(r, BlockKind::Zero)).collect(),
                vec![],
            );
        }
        Content::Hole => {
            return (
                news.iter()
                    .map(|&r| {
                        entry(
                            r,
                            BlockKind::Hole {
                                down_to: hidden_from,
                            },
                        )
                    })
                    .collect(),
                vec![],
            );
        }
        Content::Data { data, checksums } => (data, checksums),
    };
    let mut entries = Vec::with_capacity(news.len());
    for range in news {
        let mut first = range.first();
        while first < range.end() {
            let count = ENTRY_BLOCKS_MAX.min(range.end() - first);
            let skip = usize::from(first - whole.first());
            let checksums = checksums[skip..skip + usize::from(count)].to_vec();
            let part = BlockRange::new(first, count).expect("a part of a range");
            entries.push(entry(
                part,
                BlockKind::Data {
                    position: 0,
                    checksums,
                },
            ));
            first += count;
        }
    }
    if news == [whole] {
        return (entries, vec![data]);
    }
    let parts = news.iter().map(|range| {
        let start = usize::from(range.first() - whole.first()) * BLOCK_BYTES;
        Buffer::copy_of(&data[start..start + range.bytes()])
    });
    (entries, parts.collect())
}

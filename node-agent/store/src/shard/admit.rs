//! What of a write is still news: the comparison of stamps when it arrives.
//!
//! The comparison is with durable versions of the same cut only. Versions of other cuts are other
//! layers: a late write of an older cut belongs below them, wherever its stamp stands.

use super::log::Draft;
use super::request::{Content, Rule, Write};
use crate::Buffer;
use crate::format::{BlockEntry, BlockKind, ENTRY_BLOCKS_MAX, Entry, Tag};
use crate::index::layer::{Layer, Piece, PieceKind};
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

/// What of a write is to be appended.
pub(super) enum News {
    /// Nothing: what is there is durable and newer, or is this very write.
    Nothing,
    /// All of it.
    Whole,
    /// These blocks, in order. Of a hole those that have a version to take away.
    Parts(Vec<BlockRange>),
}

/// Compares a write with the layer that it belongs to.
pub(super) fn news(layer: Option<&Layer>, write: &Write) -> News {
    let hole = matches!(write.content, Content::Hole);
    let Some(layer) = layer else {
        return if hole { News::Nothing } else { News::Whole };
    };
    let stays = |piece: &Piece<'_>| stays(piece, write.tag, write.rule);
    let mut parts = Vec::new();
    if hole {
        let pieces = layer.pieces(write.range);
        let goes = pieces.filter(|piece| piece.kind != PieceKind::Hole && !stays(piece));
        parts.extend(goes.map(|piece| piece.range));
    } else {
        let mut next = write.range.first();
        for piece in layer.pieces(write.range).filter(stays) {
            parts.extend(BlockRange::between(next, piece.range.first()));
            next = piece.range.end();
        }
        if next == write.range.first() {
            return News::Whole;
        }
        parts.extend(BlockRange::between(next, write.range.end()));
    }
    if parts.is_empty() {
        News::Nothing
    } else {
        News::Parts(parts)
    }
}

/// Puts the entries of a write and its data into a draft. LSNs and positions come with the batch. A
/// hole reaches down to the cut `hidden_from`.
pub(super) fn append(draft: &mut Draft, write: Write, news: &News, hidden_from: Cut) {
    let whole = [write.range];
    let parts = match news {
        News::Nothing => &[][..],
        News::Whole => &whole[..],
        News::Parts(parts) => parts,
    };
    let entry = |range, kind| BlockEntry {
        lsn: 0,
        place: write.place,
        range,
        tag: write.tag,
        kind,
    };
    let (data, checksums) = match write.content {
        Content::Zero => {
            for range in parts {
                draft.push(Entry::Blocks(entry(*range, BlockKind::Zero)));
            }
            return;
        }
        Content::Hole => {
            for range in parts {
                let down_to = hidden_from;
                draft.push(Entry::Blocks(entry(*range, BlockKind::Hole { down_to })));
            }
            return;
        }
        Content::Data { data, checksums } => (data, checksums),
    };
    for range in parts {
        let mut first = range.first();
        while let Some(rest) = BlockRange::between(first, range.end()) {
            let end = first + rest.count().min(ENTRY_BLOCKS_MAX);
            let part = BlockRange::between(first, end).expect("a part of a range");
            let start = usize::from(first - write.range.first());
            let checksums = checksums[start..start + usize::from(part.count())].into();
            let kind = BlockKind::Data {
                position: 0,
                checksums,
            };
            draft.push(Entry::Blocks(entry(part, kind)));
            first = end;
        }
    }
    if matches!(news, News::Whole) {
        draft.data.push(data);
    } else {
        draft.data.extend(cut_to(parts, write.range, &data));
    }
}

/// Those parts of a range's data.
fn cut_to(parts: &[BlockRange], whole: BlockRange, data: &Buffer) -> impl Iterator<Item = Buffer> {
    parts.iter().map(move |range| {
        let start = usize::from(range.first() - whole.first()) * BLOCK_BYTES;
        Buffer::copy_of(&data[start..start + range.bytes()])
    })
}

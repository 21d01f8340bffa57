//! Random messages, all of them well-formed: the shape is drawn, then what must be in order is put
//! in order.

use super::samples::Message;
use moraine_model::{
    BlockRange, BucketEntry, BucketId, CHUNK_BLOCKS, Checksums, ChunkIndex, Cut, DiskId, Epoch,
    Generation, Listing, Role, Share, Stamp, Tag, VOLUME_CHUNKS_MAX, VolumeId,
};
use moraine_protocol::{
    At, Block, ChunkStamp, Content, LayerStamp, Part, Refusal, Reply, Request, Rule, ShareState,
    Under, Version, VersionKind,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

fn volume() -> impl Strategy<Value = VolumeId> + Clone {
    (1..=u128::MAX).prop_map(|id| VolumeId::new(id).unwrap())
}

fn bucket() -> impl Strategy<Value = BucketId> + Clone {
    any::<u16>().prop_map(|id| BucketId::new(u32::from(id)).unwrap())
}

fn chunk() -> impl Strategy<Value = ChunkIndex> + Clone {
    (0..VOLUME_CHUNKS_MAX).prop_map(|chunk| ChunkIndex::new(chunk).unwrap())
}

fn cut() -> impl Strategy<Value = Cut> + Clone {
    any::<u64>().prop_map(Cut)
}

fn epoch() -> impl Strategy<Value = Epoch> + Clone {
    any::<u64>().prop_map(Epoch)
}

fn generation() -> impl Strategy<Value = Generation> + Clone {
    any::<(u32, u32)>().prop_map(|(attach, incarnation)| Generation {
        attach,
        incarnation,
    })
}

fn stamp() -> impl Strategy<Value = Stamp> + Clone {
    (generation(), any::<u64>()).prop_map(|(generation, sequence)| Stamp {
        generation,
        sequence,
    })
}

fn tag() -> impl Strategy<Value = Tag> + Clone {
    (stamp(), cut(), epoch()).prop_map(|(stamp, cut, epoch)| Tag { stamp, cut, epoch })
}

fn share() -> impl Strategy<Value = Share> + Clone {
    (volume(), bucket()).prop_map(|(volume, bucket)| Share { volume, bucket })
}

fn under() -> impl Strategy<Value = Under> {
    (share(), generation(), epoch()).prop_map(|(share, generation, epoch)| Under {
        share,
        generation,
        epoch,
    })
}

/// At most so many blocks.
fn range(most: u16) -> impl Strategy<Value = BlockRange> {
    let first = 0..CHUNK_BLOCKS;
    first.prop_flat_map(move |first| {
        let count = 1..=most.min(CHUNK_BLOCKS - first);
        count.prop_map(move |count| BlockRange::new(first, count).unwrap())
    })
}

fn block(most: u16) -> impl Strategy<Value = Block> {
    (chunk(), range(most)).prop_map(|(chunk, range)| Block { chunk, range })
}

fn entry() -> impl Strategy<Value = BucketEntry> {
    let listings = btree_map(1..=u128::MAX, (any::<bool>(), any::<u64>()), 1..=8);
    (bucket(), any::<u64>(), listings).prop_map(|(bucket, epoch, listings)| {
        let listing = |(at, (disk, (is_syncing, since))): (usize, (u128, (bool, u64)))| Listing {
            disk: DiskId::new(disk).unwrap(),
            role: if is_syncing && at > 0 {
                Role::Syncing
            } else {
                Role::InSync
            },
            since: Epoch(since.min(epoch)),
        };
        let listings = listings.into_iter().enumerate().map(listing).collect();
        BucketEntry::new(bucket, Epoch(epoch), listings).unwrap()
    })
}

fn checksums(count: u16) -> impl Strategy<Value = Checksums> {
    vec(any::<u32>(), usize::from(count)).prop_map(Checksums::from)
}

fn write() -> impl Strategy<Value = Request> {
    let data = block(256).prop_flat_map(|block| {
        let content = checksums(block.range.count());
        content.prop_map(move |checksums| (block, Content::Data { checksums }))
    });
    let zero = block(CHUNK_BLOCKS).prop_map(|block| (block, Content::Zero));
    let content = prop_oneof![data, zero];
    let order = (any::<u64>(), cut(), stamp());
    (under(), content, order).prop_map(|(under, (block, content), (sequence, cut, mark))| {
        Request::Write {
            under,
            block,
            sequence,
            cut,
            mark,
            content,
        }
    })
}

/// The requests of engines.
fn of_engine() -> impl Strategy<Value = Request> {
    let at = prop_oneof![Just(At::Head), cut().prop_map(At::Cut)];
    prop_oneof![
        (volume(), generation(), entry()).prop_map(|(volume, generation, entry)| Request::Open {
            volume,
            generation,
            entry
        }),
        write(),
        (under(), block(256), at, stamp()).prop_map(|(under, block, at, mark)| Request::Read {
            under,
            block,
            at,
            mark
        }),
        (under(), stamp()).prop_map(|(under, mark)| Request::Close { under, mark }),
        Just(Request::Ping),
    ]
}

/// The requests of replicas that copy.
fn of_replica() -> impl Strategy<Value = Request> {
    let asked = (share(), epoch(), proptest::option::of(generation()));
    let (asks_chunks, asks_layers, asks_versions) = (asked.clone(), asked.clone(), asked);
    prop_oneof![
        entry().prop_map(|entry| Request::Adopt { entry }),
        (bucket(), epoch(), proptest::option::of(volume())).prop_map(|(bucket, epoch, after)| {
            Request::Shares {
                bucket,
                epoch,
                after,
            }
        }),
        (asks_chunks, stamp(), chunk()).prop_map(|((share, epoch, generation), above, from)| {
            Request::Chunks {
                share,
                epoch,
                generation,
                above,
                from,
            }
        }),
        (asks_layers, chunk()).prop_map(|((share, epoch, generation), chunk)| Request::Layers {
            share,
            epoch,
            generation,
            chunk
        }),
        (asks_versions, chunk(), cut()).prop_map(|((share, epoch, generation), chunk, cut)| {
            Request::Versions {
                share,
                epoch,
                generation,
                chunk,
                cut,
            }
        }),
        (share(), epoch(), block(256), cut()).prop_map(|(share, epoch, block, cut)| {
            Request::Copy {
                share,
                epoch,
                block,
                cut,
            }
        }),
    ]
}

/// Versions of blocks from `first` on, before `end`, with gaps.
fn versions(first: u16, end: u16) -> impl Strategy<Value = Vec<Version>> {
    let bounds = btree_set(first..=end, 0..24);
    let drawn = vec((any::<bool>(), any::<bool>(), tag()), 24);
    (bounds, drawn).prop_map(|(bounds, drawn)| {
        let bounds: Vec<u16> = bounds.into_iter().collect();
        let pairs = bounds.windows(2).zip(drawn);
        let version = |(pair, (is_gap, is_zero, tag)): (&[u16], (bool, bool, Tag))| {
            let range = BlockRange::between(pair[0], pair[1])?;
            let kind = if is_zero {
                VersionKind::Zero
            } else {
                VersionKind::Data
            };
            (!is_gap).then_some(Version { range, kind, tag })
        };
        pairs.filter_map(version).collect()
    })
}

fn data() -> impl Strategy<Value = Reply> {
    let versions = (0..=CHUNK_BLOCKS - 256).prop_flat_map(|first| versions(first, first + 256));
    let sums = vec(any::<(bool, u32)>(), 256);
    (versions, sums).prop_map(|(versions, sums)| {
        let part = |version: Version| {
            let count = match version.kind {
                VersionKind::Data => usize::from(version.range.count()),
                VersionKind::Zero => 0,
            };
            Part {
                version,
                inherited: sums[count % 256].0,
                checksums: sums[..count].iter().map(|(_, sum)| *sum).collect(),
            }
        };
        let parts = versions.into_iter().map(part).collect();
        Reply::Data { parts }
    })
}

fn share_state() -> impl Strategy<Value = ShareState> {
    let deleted_snapshots = btree_set(cut(), 0..6);
    let references = btree_set((cut(), volume()), 0..6);
    let deleted_at = proptest::option::of(cut());
    (
        volume(),
        generation(),
        deleted_at,
        deleted_snapshots,
        references,
    )
        .prop_map(
            |(volume, fence, deleted_at, deleted_snapshots, references)| ShareState {
                volume,
                fence,
                deleted_at,
                deleted_snapshots: deleted_snapshots.into_iter().collect(),
                references: references.into_iter().collect(),
            },
        )
}

fn lists() -> impl Strategy<Value = Reply> {
    prop_oneof![
        (vec(share_state(), 0..6), any::<bool>()).prop_map(|(mut shares, more)| {
            shares.sort_by_key(|share| share.volume);
            shares.dedup_by_key(|share| share.volume);
            let more = more && !shares.is_empty();
            Reply::Shares { shares, more }
        }),
        (btree_map(chunk(), stamp(), 0..40), any::<bool>()).prop_map(|(chunks, more)| {
            let chunks = chunks.into_iter();
            let chunks: Vec<_> = chunks
                .map(|(chunk, newest)| ChunkStamp { chunk, newest })
                .collect();
            let more = more && !chunks.is_empty();
            Reply::Chunks { chunks, more }
        }),
        (generation(), btree_map(cut(), stamp(), 0..40)).prop_map(|(fence, layers)| {
            let layers = layers.into_iter().rev();
            let layers = layers
                .map(|(cut, newest)| LayerStamp { cut, newest })
                .collect();
            Reply::Layers { fence, layers }
        }),
        (generation(), versions(0, CHUNK_BLOCKS))
            .prop_map(|(fence, versions)| Reply::Versions { fence, versions }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let rules = [
        Rule::PayloadFitsRange,
        Rule::OneEntryPerEpoch,
        Rule::AskedIsListed,
        Rule::StampInRange,
        Rule::SourceInSync,
        Rule::StoreLimits,
    ];
    let plain = [
        Refusal::NotOpen,
        Refusal::NotInSync,
        Refusal::NotHere,
        Refusal::UnknownVolume,
        Refusal::Deleted,
        Refusal::NoSnapshot,
        Refusal::NoSpace,
        Refusal::Busy,
        Refusal::Stopped,
    ];
    prop_oneof![
        entry().prop_map(|entry| Refusal::StaleEpoch { entry }),
        generation().prop_map(|by| Refusal::Fenced { by }),
        (0..CHUNK_BLOCKS).prop_map(|block| Refusal::Damaged { block }),
        (0..CHUNK_BLOCKS).prop_map(|block| Refusal::Mismatch { block }),
        select(rules.to_vec()).prop_map(|rule| Refusal::Malformed { rule }),
        select(plain.to_vec()),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let opened = (stamp(), cut(), any::<bool>());
    prop_oneof![
        opened.prop_map(|(mark, cut, above_mark)| Reply::Opened {
            mark,
            cut,
            above_mark
        }),
        Just(Reply::Done),
        data(),
        lists(),
        refusal().prop_map(Reply::Refused),
    ]
}

/// Any message.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        of_engine().prop_map(Message::Request),
        of_replica().prop_map(Message::Request),
        reply().prop_map(Message::Reply),
    ]
}

//! Whole chunks: written at once, and copied from replica to replica.

use super::model::Value;
use super::world::{SEGMENT, block_bytes, cluster, content, place, range, tag};
use crate::*;
use moraine_model::*;

fn data(tag: Tag) -> Value {
    super::world::data(tag.stamp)
}

/// Runs one request to its end.
fn ask(shard: &mut Shard<disk::MemoryDisk>, request: Request) -> Result<Done, StoreError> {
    let id = shard.submit(request);
    for now_ms in 0..100 {
        shard.poll(now_ms);
        if let Some(reply) = shard.next_reply() {
            assert_eq!(reply.id, id);
            return reply.outcome;
        }
    }
    panic!("no answer");
}

#[test]
fn whole_chunks_go_through_full_sized_segments_and_come_back() {
    let mut disk = disk::MemoryDisk::new(2 << 30, 4096);
    format(
        &mut disk,
        &FormatOptions::new(cluster(), DiskId::new(2).unwrap()),
    )
    .unwrap();
    let opened = open(&mut disk, cluster()).unwrap();
    let options = ShardOptions::default();
    let mut shard = Shard::recover(disk.another(), &opened, 0, options).unwrap();
    let whole = BlockRange::WHOLE_CHUNK;
    let rule = Rule::Write { listed: Epoch(0) };
    // More than one segment's worth, so that an extent is closed.
    let chunks = 40;
    for chunk in 0..chunks {
        let tag = tag(u64::from(chunk) + 1, 0);
        let content = content(data(tag), whole);
        let write = Write {
            place: place(1, chunk),
            range: whole,
            tag,
            rule,
            content,
        };
        ask(&mut shard, Request::Write(write)).unwrap();
    }
    let check = |shard: &mut Shard<disk::MemoryDisk>| {
        for chunk in 0..chunks {
            let read = Read {
                place: place(1, chunk),
                range: whole,
                at: ReadAt::Head,
            };
            let Ok(Done::Read(parts)) = ask(shard, Request::Read(read)) else {
                panic!("no data")
            };
            let bytes = parts.iter().filter_map(|part| part.data.as_ref());
            let bytes: Vec<u8> = bytes.flat_map(|data| data.to_vec()).collect();
            assert_eq!(bytes.len(), whole.bytes());
            let number = (u64::from(chunk) + 1) << 8 | 1;
            for block in [0, 1, 511, 512, 1023] {
                let at = usize::from(block) * BLOCK_BYTES;
                assert_eq!(bytes[at..at + BLOCK_BYTES], block_bytes(number, block));
            }
        }
    };
    check(&mut shard);
    let memory = shard.metrics().index_bytes;
    assert!(
        memory <= u64::from(chunks) * 1024 * 5,
        "{memory} bytes for long runs"
    );
    drop(shard);
    let opened = open(&mut disk, cluster()).unwrap();
    let mut shard = Shard::recover(disk.another(), &opened, 0, options).unwrap();
    check(&mut shard);
}

fn empty_shard() -> Shard<disk::MemoryDisk> {
    let mut disk = disk::MemoryDisk::new(8 << 20, 4096);
    let options = FormatOptions {
        segment_blocks: SEGMENT,
        ..FormatOptions::new(cluster(), DiskId::new(2).unwrap())
    };
    format(&mut disk, &options).unwrap();
    let opened = open(&mut disk, cluster()).unwrap();
    Shard::recover(disk, &opened, 0, ShardOptions::default()).unwrap()
}

fn put(shard: &mut Shard<disk::MemoryDisk>, range: BlockRange, tag: Tag, value: Value) {
    let rule = Rule::Write { listed: Epoch(0) };
    let content = content(value, range);
    let write = Write {
        place: place(1, 0),
        range,
        tag,
        rule,
        content,
    };
    ask(shard, Request::Write(write)).unwrap();
}

/// Copies the chunk, layer by layer and the newest first, as a replica that comes back does.
fn copy_chunk(from: &mut Shard<disk::MemoryDisk>, to: &mut Shard<disk::MemoryDisk>, rule: Rule) {
    let place = place(1, 0);
    let epoch = Epoch(5);
    let mut cuts: Vec<Cut> = from.versions(place).iter().map(|v| v.tag.cut).collect();
    cuts.extend(to.versions(place).iter().map(|v| v.tag.cut));
    cuts.sort_unstable();
    cuts.dedup();
    for cut in cuts.into_iter().rev() {
        let at = ReadAt::Layer(cut);
        let read = Read {
            place,
            range: range(0, 64),
            at,
        };
        let Ok(Done::Read(parts)) = ask(from, Request::Read(read)) else {
            panic!("no layer")
        };
        let mut next = 0;
        let hole = Tag {
            stamp: Stamp::ZERO,
            cut,
            epoch,
        };
        for part in &parts {
            if let Ok(gap) = BlockRange::new(next, part.range.first() - next) {
                let write = Write {
                    place,
                    range: gap,
                    tag: hole,
                    rule,
                    content: Content::Hole,
                };
                ask(to, Request::Write(write)).unwrap();
            }
            for version in &part.versions {
                let skip = usize::from(version.range.first() - part.range.first());
                let count = usize::from(version.range.count());
                let content = match &part.data {
                    None => Content::Zero,
                    Some(data) => Content::Data {
                        data: Buffer::copy_of(&data[skip * 4096..(skip + count) * 4096]),
                        checksums: part.checksums[skip..skip + count].into(),
                    },
                };
                let tag = Tag {
                    epoch,
                    ..version.tag
                };
                let write = Write {
                    place,
                    range: version.range,
                    tag,
                    rule,
                    content,
                };
                ask(to, Request::Write(write)).unwrap();
            }
            next = part.range.end();
        }
        let gap = range(next, 64 - next);
        let write = Write {
            place,
            range: gap,
            tag: hole,
            rule,
            content: Content::Hole,
        };
        ask(to, Request::Write(write)).unwrap();
    }
}

#[test]
fn a_copied_chunk_is_the_sources_but_for_what_was_written_since_it_was_listed() {
    let (mut source, mut target) = (empty_shard(), empty_shard());
    for shard in [&mut source, &mut target] {
        put(shard, range(0, 8), tag(1, 0), data(tag(1, 0)));
        put(shard, range(4, 8), tag(2, 1), data(tag(2, 1)));
    }
    // The source went on while the target was away; the target has a write that nobody else has.
    put(&mut source, range(6, 2), tag(4, 1), Value::Zero);
    put(&mut target, range(0, 2), tag(3, 1), data(tag(3, 1)));
    // Since epoch 5 the target is listed again, and gets what is new.
    let fresh = Tag {
        epoch: Epoch(5),
        ..tag(9, 1)
    };
    put(&mut target, range(20, 2), fresh, data(fresh));
    let fence = Generation {
        attach: 1,
        incarnation: 0,
    };
    copy_chunk(
        &mut source,
        &mut target,
        Rule::Copy {
            listed: Epoch(5),
            fence,
        },
    );
    put(&mut source, range(20, 2), fresh, data(fresh));
    let stamps = |shard: &Shard<disk::MemoryDisk>| {
        let versions = shard.versions(place(1, 0)).into_iter();
        let blocks = versions.flat_map(|v| {
            v.range
                .blocks()
                .map(move |block| (v.tag.cut, block, v.tag.stamp, v.kind))
        });
        blocks.collect::<Vec<_>>()
    };
    assert_eq!(stamps(&source), stamps(&target));
    // A fenced generation's write counts for nothing, though it was written since.
    let fence = Generation {
        attach: 2,
        incarnation: 0,
    };
    let late = Tag {
        epoch: Epoch(5),
        ..tag(10, 1)
    };
    put(&mut target, range(30, 1), late, data(late));
    copy_chunk(
        &mut source,
        &mut target,
        Rule::Copy {
            listed: Epoch(5),
            fence,
        },
    );
    assert_eq!(stamps(&source), stamps(&target));
}

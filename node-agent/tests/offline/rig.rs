//! A disk in a file, written by the store, and the program that is run over it.

use moraine_model::*;
use moraine_store::disk::{Allocation, Device, DeviceDisk, OpenOptions, create_file};
use moraine_store::format::{FIRST_SEGMENT, HEAD_BLOCKS, Head, SegmentState, Superblock};
use moraine_store::inspect::{Expected, Extent, SegmentHead, expected, extent, head};
use moraine_store::*;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub(crate) const SEGMENT: u32 = 64;
const SEGMENTS: u32 = 32;
pub(crate) const SHARDS: u32 = 2;

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Whether some line of the output has all of these in it.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        let mut lines = self.out.lines().chain(self.err.lines());
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    }
}

/// The disk. While it is being written it has a shard for each bucket that is used: 0 and 1.
pub(crate) struct Rig {
    folder: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) superblock: Superblock,
    shards: Vec<Shard<DeviceDisk>>,
    sequence: u64,
    now_ms: u64,
}

/// What a volume should read as.
pub(crate) type Blocks = BTreeMap<(u32, u16), Vec<u8>>;

pub(crate) fn volume(number: u128) -> VolumeId {
    VolumeId::new(number).unwrap()
}

fn place(number: u128, chunk: u32) -> Place {
    Place {
        volume: volume(number),
        // So that both shards have something of each volume with two chunks.
        bucket: BucketId::new(chunk % SHARDS).unwrap(),
        chunk: ChunkIndex::new(chunk).unwrap(),
    }
}

/// The bytes that the write with this sequence puts into a block.
fn block_bytes(sequence: u64, block: u16) -> Vec<u8> {
    let word = (sequence << 16 | u64::from(block)).to_le_bytes();
    word.repeat(BLOCK_BYTES / 8)
}

impl Rig {
    /// A new disk, open for writing.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("disk");
        let blocks = u64::from(FIRST_SEGMENT + SEGMENTS * SEGMENT);
        create_file(&path, blocks * BLOCK_BYTES as u64, Allocation::Sparse).unwrap();
        let device = Device::open(&path, &OpenOptions::default()).unwrap();
        let mut disk = device.handle().unwrap().disk;
        let options = FormatOptions {
            segment_blocks: SEGMENT,
            shards: SHARDS,
            now_ms: 1_700_000_000_000,
            ..FormatOptions::new(ClusterId::new(0xc1).unwrap(), DiskId::new(0xd1).unwrap())
        };
        let superblock = format(&mut disk, &options).unwrap();
        let opened = open(&mut disk, superblock.cluster).unwrap();
        let shards = (0..SHARDS).map(|number| {
            let disk = device.handle().unwrap().disk;
            Shard::recover(disk, &opened, number, ShardOptions::default()).unwrap()
        });
        Self {
            shards: shards.collect(),
            folder,
            path,
            superblock,
            sequence: 0,
            now_ms: 0,
        }
    }

    /// A disk with two volumes and closed extents in both shards, not open any more; and what volume
    /// 1 reads as.
    pub(crate) fn filled() -> (Self, Blocks) {
        let mut rig = Self::new();
        let mut blocks = Blocks::new();
        for nth in 0..16_u16 {
            rig.write((1, u32::from(nth % 4)), (nth / 4 * 14, 14), 0, &mut blocks);
        }
        rig.write((2, 0), (5, 3), 0, &mut Blocks::new());
        rig.close();
        (rig, blocks)
    }

    fn request(&mut self, bucket: u32, request: Request) {
        let shard = &mut self.shards[bucket as usize];
        let id = shard.submit(request);
        loop {
            self.now_ms += 1000;
            shard.wait(self.now_ms);
            if let Some(reply) = shard.next_reply() {
                assert_eq!(reply.id, id);
                assert!(matches!(reply.outcome, Ok(Done::Durable)), "{reply:?}");
                break;
            }
        }
        while !shard.is_idle() {
            self.now_ms += 1000;
            shard.wait(self.now_ms);
        }
    }

    fn change(&mut self, place: Place, range: BlockRange, cut: u64, content: Content) {
        let write = Write {
            place,
            range,
            tag: Tag {
                stamp: Stamp::new(1, 0, self.sequence),
                cut: Cut(cut),
                epoch: Epoch(1),
            },
            rule: Rule::Write { listed: Epoch(0) },
            content,
        };
        self.request(place.bucket.get(), Request::Write(write));
    }

    /// Writes blocks of a chunk, and notes in `blocks` what they are then.
    pub(crate) fn write(
        &mut self,
        (number, chunk): (u128, u32),
        (first, count): (u16, u16),
        cut: u64,
        blocks: &mut Blocks,
    ) {
        self.sequence += 1;
        let range = BlockRange::new(first, count).unwrap();
        let mut bytes = Vec::new();
        for block in range.blocks() {
            let block_bytes = block_bytes(self.sequence, block);
            bytes.extend_from_slice(&block_bytes);
            blocks.insert((chunk, block), block_bytes);
        }
        let content = Content::Data {
            #[allow(clippy::useless_conversion)] // What holds checksums is about to change.
            checksums: block_checksums(&bytes).into(),
            data: Buffer::copy_of(&bytes),
        };
        self.change(place(number, chunk), range, cut, content);
    }

    /// Trims blocks of a chunk.
    pub(crate) fn trim(
        &mut self,
        (number, chunk): (u128, u32),
        (first, count): (u16, u16),
        cut: u64,
        blocks: &mut Blocks,
    ) {
        self.sequence += 1;
        let range = BlockRange::new(first, count).unwrap();
        for block in range.blocks() {
            blocks.remove(&(chunk, block));
        }
        self.change(place(number, chunk), range, cut, Content::Zero);
    }

    /// Changes what is kept of a volume, in all its buckets.
    pub(crate) fn control(&mut self, number: u128, control: Control) {
        for bucket in 0..SHARDS {
            let share = Share {
                volume: volume(number),
                bucket: BucketId::new(bucket).unwrap(),
            };
            self.request(bucket, Request::Control { share, control });
        }
    }

    /// Writes the bitmaps.
    pub(crate) fn checkpoint(&mut self) {
        for shard in &mut self.shards {
            shard.checkpoint();
            while !shard.is_idle() {
                shard.wait(self.now_ms);
            }
        }
    }

    /// Ends the writing as a crash does: extents that are open stay open.
    pub(crate) fn close(&mut self) {
        self.shards.clear();
    }

    /// Flips a byte in the index of the first closed extent of shard 0, and tells which it is.
    pub(crate) fn break_index(&self) -> Head {
        let broken = self.of_state(0, SegmentState::Closed)[0];
        let footer = *self.extent(&broken).footers[0].as_ref().unwrap();
        let layout = self.superblock.layout;
        self.flip(layout.location(broken.segment, footer.index_position));
        broken
    }

    /// Flips a byte in the first batch of an extent.
    pub(crate) fn break_batches(&self, broken: &Head) {
        let layout = self.superblock.layout;
        self.flip(layout.location(broken.segment, HEAD_BLOCKS));
    }

    /// Runs the program over the disk, which must keep every byte.
    pub(crate) fn store(&self, command: &str, arguments: &[&str]) -> Run {
        let before = std::fs::read(&self.path).unwrap();
        let run = store(command, &self.path, arguments);
        assert!(
            std::fs::read(&self.path).unwrap() == before,
            "the disk was written: {run:?}"
        );
        run
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names of the files beside the disk.
    pub(crate) fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "disk").collect();
        names.sort();
        names
    }

    fn handle(&self) -> DeviceDisk {
        let options = OpenOptions {
            read_only: true,
            ..OpenOptions::default()
        };
        let device = Device::open(&self.path, &options).unwrap();
        device.handle().unwrap().disk
    }

    pub(crate) fn heads(&self) -> Vec<SegmentHead> {
        let mut disk = self.handle();
        let segments = 0..SEGMENTS;
        segments
            .map(|number| head(&mut disk, &self.superblock, number))
            .collect()
    }

    /// Heads of the segments of a shard in some state.
    pub(crate) fn of_state(&self, shard: u32, state: SegmentState) -> Vec<Head> {
        let heads = self.heads().into_iter().filter_map(|head| head.newest());
        let heads = heads.filter(|head| head.shard == shard && head.state == state);
        heads.collect()
    }

    pub(crate) fn extent(&self, head: &Head) -> Extent {
        extent(&mut self.handle(), &self.superblock, head)
    }

    /// All data of an extent, dead or alive, in the order of the disk.
    pub(crate) fn data(&self, head: &Head) -> Vec<Expected> {
        let found = self.extent(head);
        let layout = self.superblock.layout;
        let mut data = expected(layout, head.segment, found.entries(), |_| true);
        data.sort_by_key(|expected| expected.location);
        data
    }

    /// Flips a bit in a block of the disk.
    pub(crate) fn flip(&self, block: u32) {
        let at = u64::from(block) * BLOCK_BYTES as u64 + 100;
        let mut byte = [0];
        self.raw().read_exact_at(&mut byte, at).unwrap();
        self.raw().write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    /// Writes over the disk.
    pub(crate) fn poke(&self, block: u32, bytes: &[u8]) {
        let at = u64::from(block) * BLOCK_BYTES as u64;
        self.raw().write_all_at(bytes, at).unwrap();
    }

    pub(crate) fn peek(&self, block: u32) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK_BYTES];
        let at = u64::from(block) * BLOCK_BYTES as u64;
        self.raw().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    fn raw(&self) -> std::fs::File {
        let mut options = std::fs::File::options();
        options.read(true).write(true).open(&self.path).unwrap()
    }
}

/// Runs `moraine-agent store COMMAND DISK ...`.
pub(crate) fn store(command: &str, disk: &Path, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_moraine-agent"))
        .args(["store", command])
        .arg(disk)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

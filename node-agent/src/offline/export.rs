//! `store export`: writes a volume or snapshot to a raw image, from what one disk alone holds.
//!
//! What the disk does not hold is a hole in the image. A damaged block ends the export, unless the
//! user asks to leave such blocks out; older data is never put in its place.

mod image;

use super::Outcome;
use super::check::{in_words, name};
use super::progress::Progress;
use super::size::size;
use super::source::{Recovered, Source};
use anyhow::{Context, Result, bail, ensure};
use image::Image;
use moraine_model::{
    BLOCK_BYTES, BlockRange, BucketId, CHUNK_BYTES, ChunkIndex, Cut, Stamp, VolumeId,
};
use moraine_store::disk::DeviceDisk;
use moraine_store::inspect::{Expected, read_expected};
use moraine_store::{Place, Read, ReadAt, Share, open};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

/// Chunks whose blocks are read together.
const CHUNKS_AT_ONCE: usize = 16;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The disk: a block device or a file.
    device: PathBuf,
    /// The volume, as `dump` shows it.
    volume: VolumeId,
    /// The snapshot; without it the newest data.
    #[arg(long)]
    cut: Option<u64>,
    /// The image to write.
    #[arg(long)]
    output: PathBuf,
    /// Size of the image in bytes. The disk does not know that of the volume: without this the image ends
    /// with the last chunk that is on the disk.
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
    /// Take only this bucket; may be given several times.
    #[arg(long = "bucket", value_name = "BUCKET")]
    buckets: Vec<u32>,
    /// Leave damaged blocks as zeros and list them.
    #[arg(long)]
    skip_damaged: bool,
    /// Replace the image if it exists.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let image = Image::create(&args.output, args.force, &args.device)?;
    let source = Source::open(&args.device)?;
    let disk = source.handle()?;
    let mut export = Export {
        args,
        image,
        disk,
        out,
        buckets: BTreeSet::new(),
        chunks: BTreeSet::new(),
        blocks: 0,
        damaged: 0,
    };
    export.shards(&source)?;
    export.finish()
}

struct Export<'a> {
    args: &'a Args,
    image: Image,
    disk: DeviceDisk,
    out: &'a mut dyn Write,
    buckets: BTreeSet<u32>,
    chunks: BTreeSet<u32>,
    /// Blocks that were written to the image.
    blocks: u64,
    damaged: u64,
}

impl Export<'_> {
    /// Takes what the shards hold, one after another.
    fn shards(&mut self, source: &Source) -> Result<()> {
        let superblock = source.superblock()?;
        // Strictly: without one segment's head, others might show data that is older than the newest.
        let opened = open(&mut source.handle()?, superblock.cluster)?;
        let shards = superblock.layout.shards;
        for number in 0..shards {
            let recovered = match source.recover(&opened, number)? {
                Ok(recovered) => recovered,
                Err(error) => {
                    self.damaged += 1;
                    let error = anyhow::Error::new(error);
                    writeln!(
                        self.out,
                        "damage: shard {number} of {shards}: nothing in buckets whose number is {number} modulo \
                         {shards} can be exported: {error:#}"
                    )?;
                    continue;
                }
            };
            let own = recovered.shares().chain(recovered.clones());
            let own: BTreeSet<Share> = own
                .filter(|share| share.volume == self.args.volume)
                .filter(|share| self.takes(share.bucket))
                .collect();
            for share in own {
                self.share(&recovered, share)?;
            }
        }
        if self.buckets.is_empty() && self.damaged == 0 {
            bail!(
                "volume {} has nothing on this disk{}: `dump` shows what is there",
                self.args.volume,
                if self.args.buckets.is_empty() {
                    ""
                } else {
                    " in these buckets"
                }
            );
        }
        Ok(())
    }

    fn takes(&self, bucket: BucketId) -> bool {
        self.args.buckets.is_empty() || self.args.buckets.contains(&bucket.get())
    }

    fn share(&mut self, recovered: &Recovered, share: Share) -> Result<()> {
        self.buckets.insert(share.bucket.get());
        let chunks: Vec<ChunkIndex> = chunks(recovered, share).into_iter().collect();
        let mut progress = Progress::start("reading chunks of a bucket", chunks.len() as u64);
        for some in chunks.chunks(CHUNKS_AT_ONCE) {
            let mut wanted = Vec::new();
            for chunk in some {
                let place = Place {
                    volume: share.volume,
                    bucket: share.bucket,
                    chunk: *chunk,
                };
                if self.locate(recovered, place, &mut wanted)? {
                    self.chunks.insert(chunk.get());
                }
                progress.step();
            }
            self.copy(wanted)?;
        }
        Ok(())
    }

    /// Finds the data of a chunk; whether the chunk has anything, zeros included.
    fn locate(
        &self,
        recovered: &Recovered,
        place: Place,
        wanted: &mut Vec<Expected>,
    ) -> Result<bool> {
        let read = Read {
            place,
            range: BlockRange::WHOLE_CHUNK,
            at: match self.args.cut {
                Some(cut) => ReadAt::Cut(Cut(cut)),
                None => ReadAt::Head,
            },
        };
        let parts = recovered
            .locate(read)
            .with_context(|| format!("bucket {}", place.bucket.get()))?;
        for (location, part) in &parts {
            let blocks = part.range.blocks().zip(part.checksums.iter());
            for (location, (block, checksum)) in (*location..).zip(blocks) {
                let mut versions = part.versions.iter();
                let version = versions.find(|version| version.range.contains(block));
                wanted.push(Expected {
                    place,
                    block,
                    cut: version.map_or(Cut(0), |version| version.tag.cut),
                    location,
                    checksum: *checksum,
                });
            }
        }
        Ok(!parts.is_empty())
    }

    /// Copies blocks to the image, those that are what was written.
    fn copy(&mut self, wanted: Vec<Expected>) -> Result<()> {
        let Self {
            image,
            disk,
            out,
            blocks,
            damaged,
            ..
        } = self;
        let mut ended = Ok(());
        read_expected(disk, wanted, |expected, outcome| {
            if ended.is_err() {
                return;
            }
            ended = match outcome {
                Ok(bytes) => {
                    *blocks += 1;
                    image.put(offset(expected), bytes)
                }
                Err(bad) => {
                    *damaged += 1;
                    let text = format!("damage: {}: {}", name(expected), in_words(bad));
                    writeln!(out, "{text}").context("writing the report")
                }
            };
        });
        ended
    }

    fn finish(self) -> Result<Outcome> {
        let Self {
            args,
            image,
            out,
            buckets,
            chunks,
            blocks,
            damaged,
            ..
        } = self;
        if damaged > 0 && !args.skip_damaged {
            writeln!(
                out,
                "nothing was exported: take the volume from another replica's disk, or say --skip-damaged to have \
                 zeros where the damage is"
            )?;
            return Ok(Outcome::Damaged);
        }
        let chunks_end = chunks.last().map_or(0, |last| u64::from(*last) + 1);
        let size_bytes = args.size.unwrap_or(chunks_end * CHUNK_BYTES);
        ensure!(
            image.end() <= size_bytes,
            "the volume has data up to byte {}, beyond the size of {size_bytes} bytes: the image would lose it",
            image.end()
        );
        image.finish(size_bytes)?;
        let what = match args.cut {
            Some(cut) => format!("snapshot {cut} of volume {}", args.volume),
            None => format!("volume {}", args.volume),
        };
        let buckets: Vec<String> = buckets.iter().map(u32::to_string).collect();
        writeln!(
            out,
            "exported {what}: {} chunks with {blocks} blocks of data ({}), from buckets {}",
            chunks.len(),
            size(blocks * BLOCK_BYTES as u64),
            buckets.join(", ")
        )?;
        writeln!(
            out,
            "{} is a sparse file of {size_bytes} bytes ({})",
            args.output.display(),
            size(size_bytes)
        )?;
        let absent = chunks_end - chunks.len() as u64;
        if absent > 0 {
            writeln!(
                out,
                "of its first {chunks_end} chunks {absent} are not on this disk: they were never written, or lie in \
                 buckets of other disks; this disk can't tell which, nor whether more follow. A pool of several disks \
                 takes an export from several of them: docs/offline.md says how to join the images"
            )?;
        }
        if damaged > 0 {
            writeln!(out, "what is listed as damaged above reads as zeros")?;
            return Ok(Outcome::Damaged);
        }
        Ok(Outcome::Clean)
    }
}

/// The chunks that a share has something of, or its parents.
fn chunks(recovered: &Recovered, share: Share) -> BTreeSet<ChunkIndex> {
    let mut chunks = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(share);
    while let Some(share) = next.filter(|share| seen.insert(*share)) {
        let own = recovered.chunks_above(share, Stamp::ZERO);
        chunks.extend(own.into_iter().map(|chunk| chunk.chunk));
        next = recovered.parent(share).map(|(volume, _)| Share {
            volume,
            bucket: share.bucket,
        });
    }
    chunks
}

fn offset(at: &Expected) -> u64 {
    u64::from(at.place.chunk.get()) * CHUNK_BYTES + u64::from(at.block) * BLOCK_BYTES as u64
}

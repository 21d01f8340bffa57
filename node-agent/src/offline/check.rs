//! `store check`: looks for damage on a disk.
//!
//! Everything is looked at by itself, and each shard is recovered as an agent would, twice: once
//! trusting the bitmaps and once not, to see whether one of them hides a live block. It repairs
//! nothing: what is lost here is on other replicas.

use super::Outcome;
use super::progress::Progress;
use super::report::{Area, Report};
use super::source::{Recovered, Source};
use anyhow::Result;
use moraine_model::BLOCK_BYTES;
use moraine_store::bitmap::Bitmap;
use moraine_store::disk::DeviceDisk;
use moraine_store::format::{Head, SegmentState, Superblock};
use moraine_store::inspect::{
    Bad, Bitmaps, CopyError, Entries, Expected, Extent, HeadCopy, SegmentHead, Verdict, expected,
    extent, head, opened_despite_damage, read_expected, superblocks, suspects, verdict,
};
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The disk: a block device or a file.
    device: PathBuf,
    /// Leave out the data itself, which takes as long as reading all of it.
    #[arg(long)]
    metadata_only: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let source = Source::open(&args.device)?;
    let superblock = source.superblock()?;
    let disk = source.handle()?;
    let mut check = Check {
        report: Report::new(out),
        source,
        superblock,
        disk,
        data: !args.metadata_only,
    };
    check.run()
}

struct Check<'a> {
    report: Report<'a>,
    source: Source,
    superblock: Superblock,
    disk: DeviceDisk,
    data: bool,
}

impl Check<'_> {
    fn run(&mut self) -> Result<Outcome> {
        let layout = self.superblock.layout;
        self.report.line(&format!(
            "disk {} of cluster {}: {} segments, {} shards",
            self.superblock.disk, self.superblock.cluster, layout.segments, layout.shards
        ))?;
        self.superblocks()?;
        let heads = self.heads()?;
        let used = heads.iter().filter_map(SegmentHead::newest);
        let used = used.filter(|head| head.state != SegmentState::Free).count();
        let mut progress = Progress::start("checking segments in use", used as u64);
        for number in 0..layout.shards {
            let shard = self.shard(&heads, number)?;
            for segment in &heads {
                let head = segment.newest().filter(|head| head.shard == number);
                if let Some(head) = head.filter(|head| head.state != SegmentState::Free) {
                    self.segment(segment, &head, shard.as_ref())?;
                    progress.step();
                }
            }
        }
        self.report.summary()?;
        self.verdict()
    }

    fn verdict(&mut self) -> Result<Outcome> {
        if self.report.is_damaged() {
            self.report
                .line("damaged: docs/offline.md says what each finding means and what to do")?;
            return Ok(Outcome::Damaged);
        }
        let unread = if self.data {
            ""
        } else {
            "; the data itself was not read"
        };
        self.report.line(&format!("clean{unread}"))?;
        Ok(Outcome::Clean)
    }

    fn superblocks(&mut self) -> io::Result<()> {
        let copies = superblocks(&mut self.disk);
        for (copy, name) in copies.iter().zip(["first", "second"]) {
            self.report.looked_at(Area::Superblocks, 1);
            // Formatting wrote both and nothing has written them since: no crash explains it.
            let fault = match copy {
                Ok(superblock) if *superblock == self.superblock => continue,
                Ok(_) => "it differs from the other".to_owned(),
                Err(error) => error.to_string(),
            };
            let text = format!("superblock: the {name} copy is of no use: {fault}");
            self.report.damage(Area::Superblocks, &text)?;
        }
        Ok(())
    }

    /// Looks at all heads.
    fn heads(&mut self) -> io::Result<Vec<SegmentHead>> {
        let segments = self.superblock.layout.segments;
        let mut progress = Progress::start("reading segment heads", u64::from(segments));
        let mut heads = Vec::new();
        for number in 0..segments {
            let segment = head(&mut self.disk, &self.superblock, number);
            self.report.looked_at(Area::Heads, 1);
            let [first, second] = &segment.copies;
            match (copy_fault(first), copy_fault(second)) {
                (None, None) => {}
                (Some(first), Some(second)) => {
                    let text = format!(
                        "segment {number}: no copy of its head is whole: the first: {first}; the second: {second}"
                    );
                    self.report.damage(Area::Heads, &text)?;
                }
                (Some(fault), None) => self.torn_head(number, "first", &fault)?,
                (None, Some(fault)) => self.torn_head(number, "second", &fault)?,
            }
            heads.push(segment);
            progress.step();
        }
        Ok(heads)
    }

    fn torn_head(&mut self, number: u32, name: &str, fault: &str) -> io::Result<()> {
        let text = format!(
            "segment {number}: the {name} copy of its head is of no use: {fault}; a crash may leave one so, and \
             the other is whole"
        );
        self.report.note(Area::Heads, &text)
    }

    /// Recovers a shard in memory and looks whether a bitmap hides anything of it.
    fn shard(&mut self, heads: &[SegmentHead], number: u32) -> Result<Option<Recovered>> {
        self.report.looked_at(Area::Recovery, 1);
        let superblock = self.superblock;
        let opened = |bitmaps| opened_despite_damage(superblock, heads, bitmaps);
        let ignoring = self.source.recover(&opened(Bitmaps::Ignored), number)?;
        let suspects = ignoring.map(|shard| suspects(&shard, heads));
        let trusting = self.source.recover(&opened(Bitmaps::Trusted), number)?;
        let (suspects, shard) = match (suspects, trusting) {
            (Ok(suspects), Ok(shard)) => (suspects, shard),
            (Err(error), _) | (_, Err(error)) => {
                let error = anyhow::Error::new(error);
                let text = format!("shard {number}: an agent would refuse it: {error:#}");
                self.report.damage(Area::Recovery, &text)?;
                return Ok(None);
            }
        };
        for suspect in suspects {
            let what = match verdict(&shard, &suspect) {
                Verdict::Copied => continue,
                Verdict::Found => "calls it dead, though it is live",
                Verdict::Lost => "calls it dead, so an agent does not find it",
            };
            let (segment, _) = superblock.layout.split(suspect.location);
            let at = Expected {
                place: suspect.place,
                block: suspect.block,
                cut: suspect.tag.cut,
                location: suspect.location,
                checksum: 0,
            };
            let text = format!("{}: the bitmap of segment {segment} {what}", name(&at));
            self.report.damage(Area::Bitmaps, &text)?;
        }
        Ok(Some(shard))
    }

    /// Looks at one segment in use. Without its shard what is live is what its bitmap says.
    fn segment(
        &mut self,
        segment: &SegmentHead,
        head: &Head,
        shard: Option<&Recovered>,
    ) -> io::Result<()> {
        let number = segment.number;
        let found = extent(&mut self.disk, &self.superblock, head);
        self.extent(head, &found)?;
        if head.state == SegmentState::Closed {
            self.report.looked_at(Area::Bitmaps, 1);
        }
        if !self.data {
            return Ok(());
        }
        let layout = self.superblock.layout;
        let entries = found.entries();
        let wanted = match shard {
            Some(shard) => {
                let live = shard.live(number);
                let live = |position| live.is_some_and(|live| live.is_live(position));
                expected(layout, number, entries, live)
            }
            // The last batches may be torn, and nobody can say where the log ends.
            None if head.state == SegmentState::Log => Vec::new(),
            None => {
                let bitmap = segment.bitmap().map(Bitmap::decode);
                let live = |position| bitmap.as_ref().is_none_or(|live| live.is_live(position));
                expected(layout, number, entries, live)
            }
        };
        self.report.looked_at(Area::Data, wanted.len() as u64);
        let mut bad = Vec::new();
        read_expected(&mut self.disk, wanted, |expected, outcome| {
            bad.extend(outcome.err().map(|what| (*expected, what)));
        });
        bad.sort_by_key(|(expected, _)| expected.location);
        for (expected, what) in bad {
            let text = format!("{}: {}", name(&expected), in_words(what));
            self.report.damage(Area::Data, &text)?;
        }
        Ok(())
    }

    fn extent(&mut self, head: &Head, found: &Extent) -> io::Result<()> {
        let number = head.segment;
        if head.state == SegmentState::Scratch {
            return Ok(());
        }
        self.report.looked_at(Area::Extents, 1);
        if let Entries::Damaged(error) = &found.entries {
            let footers = found.footers.iter().filter_map(|copy| copy.as_ref().err());
            let footers: Vec<String> = footers.map(ToString::to_string).collect();
            let text = if footers.len() == 2 && head.state == SegmentState::Closed {
                let [first, second] = [&footers[0], &footers[1]];
                format!(
                    "segment {number}: no copy of its footer is whole: the first: {first}; the second: {second}"
                )
            } else {
                format!("segment {number}: what it holds can't be read: {error}")
            };
            return self.report.damage(Area::Extents, &text);
        }
        if head.state == SegmentState::Closed {
            for (copy, name) in found.footers.iter().zip(["first", "second"]) {
                if let Err(error) = copy {
                    // Both were durable before the head said closed: no crash explains it.
                    let text = format!(
                        "segment {number}: the {name} copy of its footer is of no use: {error}"
                    );
                    self.report.damage(Area::Extents, &text)?;
                }
            }
        }
        Ok(())
    }
}

fn copy_fault(copy: &Result<HeadCopy, CopyError>) -> Option<String> {
    match copy {
        Ok(copy) if copy.bitmap_whole => None,
        Ok(_) => Some("the checksum of the bitmap is wrong".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// A block, by all its names.
pub(super) fn name(at: &Expected) -> String {
    format!(
        "volume {}, bucket {}, chunk {}, block {} of cut {}, at byte {} of the disk",
        at.place.volume,
        at.place.bucket.get(),
        at.place.chunk.get(),
        at.block,
        at.cut.0,
        u64::from(at.location) * BLOCK_BYTES as u64
    )
}

/// What is wrong with a block.
pub(super) fn in_words(bad: Bad) -> &'static str {
    match bad {
        Bad::Checksum => "its checksum is wrong",
        Bad::Unreadable => "the disk can't read it",
    }
}

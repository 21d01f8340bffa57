//! `store dump`: shows what is on a disk, in words or as JSON.
//!
//! It shows what can be read and says what can't; whether that is damage is `check`'s matter.

mod entries;
mod segments;
mod text;
mod volumes;

use super::Outcome;
use super::progress::Progress;
use super::source::{Recovered, Source};
use anyhow::{Context, Result, bail};
use entries::Shown;
use k8s_openapi::jiff::Timestamp;
use moraine_store::format::Superblock;
use moraine_store::inspect::{Bitmaps, SegmentHead, extent, head, opened_despite_damage};
use segments::SegmentRow;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use volumes::{VolumeRow, Volumes};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The disk: a block device or a file.
    device: PathBuf,
    /// Show each segment that is in use.
    #[arg(long)]
    segments: bool,
    /// Show the entries of the extent in this segment.
    #[arg(long, value_name = "SEGMENT")]
    extent: Option<u32>,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// All that is shown.
#[derive(Serialize)]
struct Dump {
    superblock: SuperblockRow,
    volumes: Vec<VolumeRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<Vec<SegmentRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<Shown>>,
    /// What could not be read, in sentences.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct SuperblockRow {
    cluster: String,
    disk: String,
    formatted_at: String,
    size_bytes: u64,
    segment_blocks: u32,
    segments: u32,
    free_segments: u32,
    shards: u32,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let source = Source::open(&args.device)?;
    let superblock = source.superblock()?;
    if let Some(number) = args.extent
        && number >= superblock.layout.segments
    {
        let last = superblock.layout.segments - 1;
        bail!("there is no segment {number}: the disk has segments 0 to {last}");
    }
    let dump = look(args, &source, superblock)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &dump).context("writing JSON")?;
        writeln!(out)?;
    } else {
        text::write(&dump, out)?;
    }
    Ok(if dump.problems.is_empty() {
        Outcome::Clean
    } else {
        Outcome::Damaged
    })
}

fn look(args: &Args, source: &Source, superblock: Superblock) -> Result<Dump> {
    let mut disk = source.handle()?;
    let mut problems = Vec::new();
    let heads: Vec<SegmentHead> = (0..superblock.layout.segments)
        .map(|number| head(&mut disk, &superblock, number))
        .collect();
    let lost = heads.iter().filter(|segment| segment.newest().is_none());
    problems.extend(lost.map(|segment| {
        let number = segment.number;
        format!(
            "segment {number}: no copy of its head can be read, and what was in it is not shown"
        )
    }));
    let opened = opened_despite_damage(superblock, &heads, Bitmaps::Trusted);
    let mut volumes = Volumes::default();
    let mut rows = args.segments.then(Vec::new);
    let mut entries = None;
    let used = heads.iter().filter(|segment| segments::is_used(segment));
    let mut progress = Progress::start("reading segments in use", used.count() as u64);
    // Before recovery, which gives back more.
    let free_segments = u32::try_from(opened.free.len()).unwrap_or(u32::MAX);
    for number in 0..superblock.layout.shards {
        let shard: Option<Recovered> = match source.recover(&opened, number)? {
            Ok(shard) => Some(shard),
            Err(error) => {
                let error = anyhow::Error::new(error);
                problems.push(format!(
                    "shard {number}: what is in its volumes is not shown, since an agent would refuse it: {error:#}"
                ));
                None
            }
        };
        if let Some(shard) = &shard {
            volumes.add(shard);
        }
        for segment in heads.iter().filter(|segment| segments::is_used(segment)) {
            let Some(head) = segment.newest().filter(|head| head.shard == number) else {
                continue;
            };
            progress.step();
            let wanted = args.extent == Some(segment.number);
            if rows.is_none() && !wanted {
                continue;
            }
            let found = extent(&mut disk, &superblock, &head);
            let live = shard.as_ref().map(|shard| {
                let live = shard.live(segment.number);
                live.cloned().unwrap_or_default()
            });
            let row = SegmentRow::new(&head, &found, live.as_ref());
            problems.extend(row.problem());
            if wanted {
                entries = Some(entries::shown(found.entries(), live.as_ref()));
            }
            if let Some(rows) = &mut rows {
                rows.push(row);
            }
        }
    }
    if let Some(rows) = &mut rows {
        rows.sort_by_key(|row| row.segment);
    }
    Ok(Dump {
        superblock: SuperblockRow::new(superblock, free_segments),
        volumes: volumes.rows(),
        segments: rows,
        entries: entries.or_else(|| args.extent.map(|_| Vec::new())),
        problems,
    })
}

impl SuperblockRow {
    fn new(superblock: Superblock, free_segments: u32) -> Self {
        let formatted_at = i64::try_from(superblock.formatted_at_ms)
            .ok()
            .and_then(|at| Timestamp::from_millisecond(at).ok());
        let layout = superblock.layout;
        Self {
            cluster: superblock.cluster.to_string(),
            disk: superblock.disk.to_string(),
            formatted_at: formatted_at.map_or_else(|| "unknown".to_owned(), |at| at.to_string()),
            size_bytes: layout.size_bytes(),
            segment_blocks: layout.segment_blocks,
            segments: layout.segments,
            free_segments,
            shards: layout.shards,
        }
    }
}

//! A dump in words.

use super::super::size::size;
use super::super::table::{Side, Table};
use super::entries::{EntryRow, Shown};
use super::segments::SegmentRow;
use super::volumes::VolumeRow;
use super::{Dump, SuperblockRow};
use Side::{Left, Right};
use std::io::{self, Write};

pub(super) fn write(dump: &Dump, out: &mut dyn Write) -> io::Result<()> {
    superblock(&dump.superblock, out)?;
    volumes(&dump.volumes, out)?;
    if let Some(rows) = &dump.segments {
        segments(rows, out)?;
    }
    if let Some(shown) = &dump.entries {
        entries(shown, out)?;
    }
    for problem in &dump.problems {
        writeln!(out, "\nproblem: {problem}")?;
    }
    Ok(())
}

fn superblock(row: &SuperblockRow, out: &mut dyn Write) -> io::Result<()> {
    let SuperblockRow {
        cluster,
        disk,
        formatted_at,
        size_bytes,
        segment_blocks,
        segments,
        free_segments,
        shards,
    } = row;
    writeln!(out, "disk       {disk}")?;
    writeln!(out, "cluster    {cluster}")?;
    writeln!(out, "formatted  {formatted_at}")?;
    writeln!(out, "size       {}", size(*size_bytes))?;
    writeln!(
        out,
        "segments   {segments} of {segment_blocks} blocks, {free_segments} free"
    )?;
    writeln!(out, "shards     {shards}")
}

fn volumes(rows: &[VolumeRow], out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "\nno volume has anything on this disk");
    }
    let columns = [
        ("volume", Left),
        ("cut", Right),
        ("snapshots", Left),
        ("chunks", Right),
        ("used", Right),
        ("buckets", Right),
        ("", Left),
    ];
    let mut table = Table::new(&columns);
    for row in rows {
        let mut remarks = Vec::new();
        if let Some(cut) = row.deleted_at {
            remarks.push(format!("deleted at cut {cut}"));
        }
        if let Some((parent, cut)) = &row.parent {
            remarks.push(format!("clone of {parent}@{cut}"));
        }
        for (child, cut) in &row.clones {
            remarks.push(format!("@{cut} is read by {child}"));
        }
        let snapshots = row.snapshots.iter().map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        });
        let snapshots: Vec<String> = snapshots.collect();
        table.row([
            row.volume.clone(),
            number(row.cut),
            snapshots.join(","),
            row.chunks.to_string(),
            size(row.used_bytes),
            row.buckets.len().to_string(),
            remarks.join("; "),
        ]);
    }
    writeln!(out)?;
    table.write(out)
}

fn segments(rows: &[SegmentRow], out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        ("segment", Right),
        ("state", Left),
        ("shard", Right),
        ("incarnation", Right),
        ("live blocks", Right),
        ("entries", Right),
        ("least LSN", Right),
        ("greatest LSN", Right),
    ];
    let mut table = Table::new(&columns);
    for row in rows {
        table.row([
            row.segment.to_string(),
            row.state.to_owned(),
            row.shard.to_string(),
            row.incarnation.to_string(),
            number(row.live_blocks.map(u64::from)),
            number(row.entries.map(|entries| entries as u64)),
            number(row.lsn_min),
            number(row.lsn_max),
        ]);
    }
    writeln!(out)?;
    table.write(out)
}

fn entries(shown: &[Shown], out: &mut dyn Write) -> io::Result<()> {
    if shown.is_empty() {
        return writeln!(out, "\nthe extent has no entries");
    }
    let columns = [
        ("LSN", Right),
        ("kind", Left),
        ("volume", Left),
        ("bucket", Right),
        ("chunk", Right),
        ("blocks", Left),
        ("cut", Right),
        ("epoch", Right),
        ("stamp", Left),
        ("position", Right),
        ("live", Right),
    ];
    let mut table = Table::new(&columns);
    let mut records = Vec::new();
    for entry in shown {
        match entry {
            Shown::Data(blocks) => table.row(cells("data", blocks)),
            Shown::Zero(blocks) => table.row(cells("zero", blocks)),
            Shown::Hole(blocks) => table.row(cells("hole", blocks)),
            Shown::Record {
                lsn,
                meaning,
                set,
                value_bytes,
            } => {
                let what = if *set { "set" } else { "removed" };
                records.push(format!(
                    "LSN {lsn}: {what}: {meaning} ({value_bytes} bytes)"
                ));
            }
        }
    }
    if records.len() < shown.len() {
        writeln!(out)?;
        table.write(out)?;
    }
    if !records.is_empty() {
        writeln!(out, "\nrecords")?;
    }
    records
        .iter()
        .try_for_each(|record| writeln!(out, "{record}"))
}

fn cells(kind: &str, blocks: &EntryRow) -> [String; 11] {
    let (attach, incarnation, sequence) = blocks.stamp;
    let last = blocks.first_block + (blocks.blocks - 1);
    let kind = match blocks.down_to {
        Some(cut) => format!("{kind} down to cut {cut}"),
        None => kind.to_owned(),
    };
    [
        blocks.lsn.to_string(),
        kind,
        blocks.volume.clone(),
        blocks.bucket.to_string(),
        blocks.chunk.to_string(),
        format!("{}-{last}", blocks.first_block),
        blocks.cut.to_string(),
        blocks.epoch.to_string(),
        format!("{attach}.{incarnation}.{sequence}"),
        number(blocks.position.map(u64::from)),
        number(blocks.live_blocks.map(|live| live as u64)),
    ]
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

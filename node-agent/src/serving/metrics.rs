//! What the disks have done, for `/metrics`: looked at when the page is asked for, the shards of a disk
//! together.

use super::Serving;
use super::said::{size, used};
use crate::data::served::Shown;
use crate::data::view::Seen;
use moraine_model::BLOCK_BYTES;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use std::fmt;
use std::sync::Arc;

/// The disks as a source of metrics.
#[derive(Debug)]
pub(crate) struct DiskMetrics(pub(crate) Arc<Serving>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    disk: String,
    pool: String,
}

/// A number of one disk.
struct Figure {
    name: &'static str,
    help: &'static str,
    /// Whether it only grows.
    counts: bool,
    of: fn(&Shown) -> u64,
}

fn sum(shown: &Shown, of: impl Fn(&Seen) -> u64) -> u64 {
    shown.shards.iter().map(of).sum()
}

const fn gauge(name: &'static str, help: &'static str, of: fn(&Shown) -> u64) -> Figure {
    Figure {
        name,
        help,
        counts: false,
        of,
    }
}

const fn counter(name: &'static str, help: &'static str, of: fn(&Shown) -> u64) -> Figure {
    Figure {
        name,
        help,
        counts: true,
        of,
    }
}

const FIGURES: &[Figure] = &[
    gauge("disk_size_bytes", "Bytes that the disk can hold", size),
    gauge("disk_used_bytes", "Bytes in use, in whole segments", used),
    gauge(
        "disk_live_bytes",
        "Bytes of data that are referred to",
        |disk| sum(disk, |seen| seen.store.live_blocks) * BLOCK_BYTES as u64,
    ),
    gauge(
        "disk_shards_serving",
        "Shards of the disk that serve",
        |disk| sum(disk, |seen| u64::from(seen.serves)),
    ),
    gauge(
        "disk_copies_unfinished",
        "Buckets that are being copied to the disk",
        |disk| sum(disk, |seen| seen.replicas.syncing),
    ),
    counter("disk_requests", "Requests that came", |disk| {
        sum(disk, |seen| seen.replicas.requests)
    }),
    counter(
        "disk_written_bytes",
        "Bytes of data in writes that were done",
        |disk| sum(disk, |seen| seen.replicas.written_blocks) * BLOCK_BYTES as u64,
    ),
    counter(
        "disk_read_bytes",
        "Bytes of data in reads that were answered",
        |disk| sum(disk, |seen| seen.replicas.read_blocks) * BLOCK_BYTES as u64,
    ),
    counter("disk_refusals", "Requests that were refused", |disk| {
        sum(disk, |seen| seen.replicas.refusals.total())
    }),
    counter(
        "disk_copies",
        "Copies of a bucket that became whole",
        |disk| sum(disk, |seen| seen.replicas.syncs_done),
    ),
    counter(
        "disk_copied_bytes",
        "Bytes of data that copies brought",
        |disk| sum(disk, |seen| seen.replicas.copied_bytes),
    ),
    counter(
        "disk_corrupt_blocks",
        "Blocks whose checksum was wrong",
        |disk| sum(disk, |seen| seen.store.corrupt_blocks),
    ),
    counter("disk_read_failures", "Reads that the disk failed", |disk| {
        sum(disk, |seen| seen.store.read_failures)
    }),
    counter(
        "disk_recoveries",
        "Times that a shard was opened again after a failed write",
        |disk| sum(disk, |seen| seen.recoveries),
    ),
    counter(
        "disk_no_space",
        "Requests refused for want of space",
        |disk| sum(disk, |seen| seen.store.no_space),
    ),
];

impl Collector for DiskMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let disks: Vec<(Labels, Shown)> = self
            .0
            .shown()
            .into_iter()
            .map(|(id, pool, shown)| {
                let disk = id.to_string();
                (Labels { disk, pool }, shown)
            })
            .collect();
        for figure in FIGURES {
            let kind = if figure.counts {
                MetricType::Counter
            } else {
                MetricType::Gauge
            };
            let mut family = encoder.encode_descriptor(figure.name, figure.help, None, kind)?;
            for (labels, shown) in &disks {
                let value = (figure.of)(shown);
                let mut one = family.encode_family(labels)?;
                if figure.counts {
                    one.encode_counter::<Labels, u64, u64>(&value, None::<&Exemplar<Labels, u64>>)?;
                } else {
                    one.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?;
                }
            }
        }
        Ok(())
    }
}

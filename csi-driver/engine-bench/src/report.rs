//! What a load has found: counts and latencies, as lines for people or as JSON.

use crate::load::Wrong;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// An operation that takes longer is a stall.
pub const STALL: Duration = Duration::from_millis(100);
/// Longer ones are counted as this long.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Operations of one kind.
#[derive(Debug, Clone)]
pub struct Side {
    latencies: Histogram<u64>,
    /// Those that took longer than [`STALL`].
    pub stalls: u64,
    /// Those that ended with an error.
    pub errors: u64,
    /// What the first error said.
    pub first_error: Option<String>,
    bytes: u64,
}

/// The figures of a load.
#[derive(Debug, Clone)]
pub struct Report {
    /// How long it ran.
    pub elapsed: Duration,
    /// Its reads.
    pub reads: Side,
    /// Its writes.
    pub writes: Side,
    /// Blocks that were read and checked.
    pub verified: u64,
    /// Of these, the ones that held what they must not.
    pub wrong: u64,
    /// The first of them.
    pub first_wrong: Option<Wrong>,
}

impl Default for Side {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST_NS, 3);
        Self {
            latencies: latencies.expect("bounds and precision are within the crate's limits"),
            stalls: 0,
            errors: 0,
            first_error: None,
            bytes: 0,
        }
    }
}

impl Side {
    /// Counts one that was done.
    pub(crate) fn done(&mut self, took: Duration, bytes: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(LONGEST_NS);
        self.latencies.saturating_record(nanos);
        self.bytes += bytes;
        if took > STALL {
            self.stalls += 1;
        }
    }

    /// Counts one that failed.
    pub(crate) fn failed(&mut self, error: &impl ToString) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    /// How many were done.
    pub fn count(&self) -> u64 {
        self.latencies.len()
    }

    /// The mean latency in microseconds.
    pub fn mean_us(&self) -> f64 {
        self.latencies.mean() / 1e3
    }

    /// The latency in microseconds within which so many percent were done.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let nanos = self.latencies.value_at_percentile(percent);
        Duration::from_nanos(nanos).as_secs_f64() * 1e6
    }

    /// The longest latency in microseconds.
    pub fn longest_us(&self) -> f64 {
        Duration::from_nanos(self.latencies.max()).as_secs_f64() * 1e6
    }

    fn to_json(&self, elapsed: Duration) -> Value {
        json!({
            "count": self.count(),
            "iops": self.iops(elapsed),
            "bytes": self.bytes,
            "mean_us": self.mean_us(),
            "p50_us": self.percentile_us(50.0),
            "p99_us": self.percentile_us(99.0),
            "p99_9_us": self.percentile_us(99.9),
            "longest_us": self.longest_us(),
            "stalls": self.stalls,
            "errors": self.errors,
            "first_error": self.first_error,
        })
    }

    /// Operations a second.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn iops(&self, elapsed: Duration) -> f64 {
        self.count() as f64 / elapsed.as_secs_f64()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str, elapsed: Duration) -> fmt::Result {
        if self.count() == 0 && self.errors == 0 {
            return Ok(());
        }
        let mib = self.bytes >> 20;
        writeln!(
            f,
            "{name}: {:.0} IOPS, {mib} MiB in {:.1} s",
            self.iops(elapsed),
            elapsed.as_secs_f64()
        )?;
        writeln!(
            f,
            "  latency in microseconds: mean {:.0}, p50 {:.0}, p99 {:.0}, p99.9 {:.0}, longest {:.0}",
            self.mean_us(),
            self.percentile_us(50.0),
            self.percentile_us(99.0),
            self.percentile_us(99.9),
            self.longest_us()
        )?;
        write!(
            f,
            "  stalls over 100 ms: {}, errors: {}",
            self.stalls, self.errors
        )?;
        match &self.first_error {
            Some(error) => writeln!(f, ", the first: {error}"),
            None => writeln!(f),
        }
    }
}

impl Report {
    /// The report as one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "elapsed_s": self.elapsed.as_secs_f64(),
            "reads": self.reads.to_json(self.elapsed),
            "writes": self.writes.to_json(self.elapsed),
            "verified": self.verified,
            "wrong": self.wrong,
            "first_wrong": self.first_wrong.map(|wrong| format!("{wrong}")),
        })
    }

    /// Whether everything was done, and found as it must be.
    pub fn is_good(&self) -> bool {
        self.reads.errors + self.writes.errors + self.wrong == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reads.write(f, "reads", self.elapsed)?;
        self.writes.write(f, "writes", self.elapsed)?;
        if self.verified > 0 {
            writeln!(
                f,
                "verified blocks: {}, wrong: {}",
                self.verified, self.wrong
            )?;
        }
        if let Some(wrong) = &self.first_wrong {
            writeln!(f, "  the first: {wrong}")?;
        }
        Ok(())
    }
}

//! Compaction: how much it writes, and how much it disturbs.

mod amplification;
mod latency;

use crate::row::Row;

/// Measures what compaction costs.
pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    amplification::run(print);
    latency::run(print);
}

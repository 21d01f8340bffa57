//! What the processor can do: durable writes to a disk in memory, by one shard and by two.

use crate::row::Row;

/// Measures writes without a device.
pub(crate) fn run(_print: &mut dyn FnMut(Row)) {}

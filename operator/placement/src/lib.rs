//! Where the buckets of a pool lie, who does which shared job, and which pool a volume goes to: pure functions of plain
//! values, with the same output for the same input on every machine.
//!
//! It is not the operator: it reads no object, knows no clock and starts no move. It says what should be done, in which
//! order and why; who calls it does as much of that as the pool's limits allow, and asks again with what came of it.
//! [docs/placement.md](../../../docs/placement.md) says what is promised and what it costs.

#![forbid(unsafe_code)]

mod change;
mod choice;
mod draw;
mod jobs;
mod layout;
mod map;
mod plan;

pub use change::{Answer, Health, Next, Rules, Said, View, advance, first};
pub use choice::{Choice, PoolHealth, PoolMetrics, Reason, Request, choose};
pub use jobs::{Shared, share};
pub use layout::{Disk, Held, HeldError, Layout};
pub use map::{Bucket, Map, Move, Place, Replica, Stage};
pub use plan::{Plan, Short, Step, Why, plan};

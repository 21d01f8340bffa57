//! The replica core: all bucket replicas of one shard of one disk, as a deterministic state machine
//! over [`moraine_store::Shard`].
//!
//! It decides who may write and read (fences and epochs), keeps commit marks, answers what it holds,
//! and copies the replicas that are listed as syncing from those in sync. It has no clock, thread,
//! randomness or socket: time comes in as an argument, messages as values, I/O goes through the
//! store. It knows nothing of Kubernetes, nor of how frames travel. `docs/design.md`, section 5, has
//! the rules that it must hold.
#![forbid(unsafe_code)]

mod bucket;
mod error;
mod kept;
mod metrics;
mod notes;
mod options;
mod output;
mod replicas;
mod sync;

pub use error::{DescriptionTooLong, RecoverError, StartError};
pub use metrics::{Metrics, RefusalCounts};
pub use options::{Options, SyncOptions};
pub use output::{CallId, Output, SessionId};
pub use replicas::Replicas;

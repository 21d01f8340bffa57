//! Runs one engine in production: its sockets, its clock, and what it keeps on disk.
//!
//! ```text
//!  handles ──commands──>  driver (one task, owns the engine)  <──events── keepers (one task a disk)
//!                          │ outputs: results, frames, entries to keep      │ connections (one a shard)
//!                          └──> outboxes ───────────────────────────────────┘
//! ```
//!
//! Everything runs as local tasks of the caller's current-thread runtime, so that nothing is locked
//! and a burst of operations becomes one write on each connection. Handles may be used from any
//! thread. What the engine decides is not decided here.

mod attachment;
mod connection;
mod driver;
mod gather;
mod keeper;
mod map;
mod options;
mod outbox;
mod saver;
mod state;
mod status;
mod watch;

pub use attachment::Attachment;
pub use driver::EndReason;
pub use gather::write_gathered;
pub use map::MapChangeError;
pub use moraine_tls::{FilesError, TlsFiles};
pub use options::{AttachOptions, MapSource, OpenError, read_secret};
pub use state::StateError;
pub use status::{Phase, Status};

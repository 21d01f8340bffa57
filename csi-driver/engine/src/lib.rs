//! The engine: the client of the data plane, one for each attached volume, as a deterministic state
//! machine. It splits a volume's I/O over chunks and buckets, stamps and orders its writes,
//! replicates them, chooses where to read, and repairs, retries and reconciles.
//!
//! It knows no clock, socket or thread: a shell tells it the time and what came in, and does what
//! it says. Whatever is called, the outputs are to be taken until there are none, in their order;
//! before anything else is told, the time is. Whoever drops an engine that has not ended leaves
//! operations unanswered ([`Engine::unanswered`]): that is for the end of a process only.
//!
//! The rules that it keeps are in `docs/design.md`, section 5, by number (I1 to I8).
#![forbid(unsafe_code)]

mod address;
mod asks;
mod attach;
mod bucket;
mod deadlines;
mod engine;
mod flight;
mod interface;
mod ios;
mod life;
mod map;
mod metrics;
mod net;
mod pieces;
mod ranges;
mod reads;
mod reconcile;
mod repair;
mod sending;
mod settings;
#[cfg(feature = "tokio")]
pub mod shell;
mod verify;
mod watch;
mod writes;

pub use engine::Engine;
pub use interface::{AttachError, Io, IoError, IoId, NewError, Output, PathId, ResizeError};
pub use metrics::Metrics;
pub use settings::{Limits, Settings};

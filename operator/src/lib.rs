//! Moraine's operator: watches what is declared and what the nodes say, decides, and writes what it sees.
//!
//! ```text
//!  watches ──> world (one value) ──> decide (pure) ──> apply ──> status, Events
//!                 │                                       ▲
//!                 └─> leases (who lives)                  │ only while it leads
//!                 └─> lease  (who leads) ─────────────────┘
//! ```
//!
//! Every replica watches, so that one that takes over knows at once what the last one knew; only the
//! leader writes. What is decided depends on the world and the time alone, so that a restart at any
//! step goes on from the objects.
//!
//! Not here yet: placing buckets. A pool's status says so rather than promising.
#![forbid(unsafe_code)]

pub mod cli;

mod apply;
mod clock;
mod decide;
mod health;
mod lead;
mod lease;
mod leases;
mod metrics;
mod observe;
mod reconcile;
mod run;
mod world;

//! Devices of this node: which ones a pool names, what they are, and whether they could be taken.
//!
//! ```text
//! patterns ──find──> block devices ──inspect──> facts ──judge (pure)──> verdict
//!                                      └─signature: what lies on it
//! ```
//!
//! Everything here only reads: a device is opened read-only, and only if nothing else speaks against
//! it. What a pool wants of a device is judged from facts alone.

mod find;
mod inspect;
mod judge;
mod mounts;
mod signature;

pub use find::{DeviceNumber, Found, find};
pub use inspect::{Content, Facts, Host, Owner, Partition, Use, inspect};
pub use judge::{Claimant, Take, Verdict, judge};
pub use mounts::InUse;
pub use signature::{Family, Signature, detect};

//! Counts of what an engine met. They only grow; how they are shown is the shell's subject.

/// Counts since the engine was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Operations that were submitted.
    pub ios: u64,
    /// Operations that were answered.
    pub answered: u64,
    /// Writes that were begun, the engine's own included.
    pub writes: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// Requests that were sent again: after a lost connection, a refusal or a new map.
    pub resent: u64,
    /// Reads that went to another replica.
    pub reads_moved: u64,
    /// Blocks that arrived other than their checksum, here or at a replica.
    pub mismatches: u64,
    /// Damaged blocks that replicas reported.
    pub damaged: u64,
    /// Bad copies that were written again.
    pub repaired: u64,
    /// Bad copies whose repair was put off, since too many waited.
    pub repairs_put_off: u64,
    /// Writes that reconciled replicas at attach.
    pub reconciled: u64,
    /// Map entries that were learned.
    pub entries: u64,
    /// Entries that differ from the one known with the same epoch: a bug of who made the map.
    pub entries_in_conflict: u64,
    /// Answers that break a rule of the protocol: a bug of the replica.
    pub bad_replies: u64,
    /// Requests that a replica found malformed: a bug of the engine.
    pub malformed: u64,
    /// Requests for which a disk had no room.
    pub no_space: u64,
    /// Operations that ended with an error.
    pub failed: u64,
}

//! Bugs on purpose, to show that the simulator finds such: each bends one rule, by what the world
//! does to messages and maps between the cores. The cores themselves stay as they ship.

use std::fmt;
use std::str::FromStr;

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One of them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[$doc])* $name,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

mutations! {
    /// The engine takes a write for done when one replica has acknowledged it.
    AckOne = "ack-one",
    /// A write is acknowledged before the disk has it.
    AckBeforeDurable = "ack-before-durable",
    /// A replica serves a fenced engine as if it were the newest.
    SkipFence = "skip-fence",
    /// A replica serves an engine with an older map as if it had the newest.
    SkipEpoch = "skip-epoch",
    /// Replicas hide what they hold above their marks, so that nothing is reconciled.
    ForgetReconciliation = "forget-reconciliation",
    /// The mark that goes with a write covers all earlier ones, also those in flight.
    MarkTooHigh = "mark-too-high",
    /// The source of a copy names only half of the chunks.
    CopyHalf = "copy-half",
    /// The operator drops a bucket's last replica in sync when another one is syncing.
    DropLast = "drop-last",
    /// The operator takes a report for another listing than the one it was made for.
    StaleReport = "stale-report",
    /// The operator lists a new replica as in sync at once.
    SkipSync = "skip-sync",
    /// A write that is sent again under a new map is acknowledged by what was said under the old.
    StaleAck = "stale-ack",
    /// The engine goes on with the cut that it had.
    OldCut = "old-cut",
    /// A replica answers reads with zeros where it has data.
    ReadsZeros = "reads-zeros",
    /// A new engine is given the generation of the former.
    SameGeneration = "same-generation",
    /// An engine that reconciles takes the newest version that any replica holds, be it a syncing one.
    SyncingCounts = "syncing-counts",
    /// A copy leaves in place what an engine wrote that is fenced at its source.
    CopyUnfenced = "copy-unfenced",
    /// The source of a copy names no references of clones.
    CopyNoReferences = "copy-no-references",
    /// Agents are not told that a volume is deleted.
    LeaveDeleted = "leave-deleted",
    /// A replica that returns forgets what it had promised: its disk is as it was some time ago.
    OldDisk = "old-disk",
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|mutation| mutation.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|mutation| mutation.name()).collect();
            format!(
                "there is no mutation {text}; there are: {}",
                names.join(", ")
            )
        })
    }
}

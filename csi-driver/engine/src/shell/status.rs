//! How an attachment is: levels, not events, so that who looks late misses nothing and nobody's
//! slowness fills a queue.

use crate::AttachError;
use moraine_model::{Cut, DiskId, Generation};
use std::collections::BTreeSet;

/// Where an attachment is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Replicas are opened and reconciled; operations wait.
    Attaching,
    /// Operations are served.
    Attached,
    /// It couldn't be attached, and has ended.
    Failed(AttachError),
    /// It has ended as it was told.
    Detached {
        /// Whether every replica knows that there is nothing to reconcile.
        clean: bool,
    },
    /// A newer engine has the volume, and this one has ended.
    Fenced {
        /// The newer one.
        by: Generation,
    },
}

impl Phase {
    /// Whether nothing follows it.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Attaching | Self::Attached)
    }
}

/// All that a user of an attachment may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where it is in its life.
    pub phase: Phase,
    /// The engine that runs. What it reports counts only while this is the newest attachment.
    pub generation: Generation,
    /// The cut that this engine has reached, durably on this node; none yet in this life.
    pub cut_reached: Option<Cut>,
    /// The size of the volume.
    pub size_bytes: u64,
    /// Disks that can't be reached or don't answer.
    pub suspects: BTreeSet<DiskId>,
}

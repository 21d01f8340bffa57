//! The plan: which buckets should move where, in which order, and why. It decides; it starts nothing.

mod chains;
mod cycles;
mod disks;
mod draft;
mod fill;
mod links;
mod room;
mod search;
mod settle;
mod shares;
mod steps;

use crate::layout::Layout;
use chains::level;
use cycles::spare;
use disks::Disks;
use draft::Draft;
use fill::fill;
use moraine_model::REPLICAS_MAX;
use room::Room;
use settle::settle;
use shares::targets;
use steps::steps;

/// One change of one bucket. `to` alone makes a missing replica, `from` alone drops one too many, both together move one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The bucket.
    pub bucket: u32,
    /// Place of the disk that takes it; `None`: a replica too many is dropped.
    pub to: Option<u32>,
    /// Place of the disk that gives it up once the copy is whole; `None`: a missing replica is made.
    pub from: Option<u32>,
    /// Why.
    pub why: Why,
}

/// Why a bucket changes, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It has fewer replicas than it should.
    Missing,
    /// Its disk is to be left: weight 0, no failure domain, or not in the list of disks.
    Leaving,
    /// Two of its replicas lie in one failure domain.
    Domain,
    /// It has more replicas than it should.
    Surplus,
    /// Its disk has more than its share, and another has less.
    Balance,
}

/// A bucket that can't have all its replicas in different failure domains, on disks that may keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// The bucket.
    pub bucket: u32,
    /// Replicas that it should have, each in a domain of its own.
    pub wanted: u32,
    /// Domains that it can have a replica in.
    pub possible: u32,
}

/// What should be done, and what can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in the order in which they should be made: in that of [`Why`], and within `Balance` the fullest disk
    /// first. Every step may be made or left out on its own, but those of one bucket in this order.
    pub steps: Vec<Step>,
    /// The buckets that can't have what was asked, in order of bucket number.
    pub short: Vec<Short>,
}

/// What should move where, so that each bucket has its replicas, each in a failure domain of its own, and each disk its
/// share.
///
/// It knows places, not states: that the last replica in sync is never dropped is for the caller to see to before it makes
/// a step.
pub fn plan(layout: &Layout<'_>) -> Plan {
    let wanted = layout.replicas.max(1);
    let width = (wanted as usize).min(REPLICAS_MAX);
    let mut draft = Draft::new(Disks::new(layout.disks), layout.held, width);
    let unsettled = settle(&mut draft, wanted);
    let mut targets = targets(&draft);
    let mut room = Room::new(&draft.disks, &draft.counts, &targets);
    fill(&mut draft, &mut room);
    level(&mut draft, &mut targets, &mut room);
    spare(&mut draft, &mut targets);
    Plan {
        steps: steps(&draft, &unsettled, &targets),
        short: unsettled.short,
    }
}

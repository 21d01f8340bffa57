//! How the buckets of a pool are: counted, and in words.
//!
//! What the map lists and which disks serve decide; not here: what follows from it.

use super::disks::Disks;
use super::map::Placed;
use super::words::{count, names};
use moraine_crds::conditions::{AT_RISK, DEGRADED, FULL, REBALANCING, UNAVAILABLE};
use moraine_crds::observation::{Holds, Observation};
use moraine_crds::{BucketCounts, PlannedMove, RebalanceMode, RebalancePlan, StoragePool};
use moraine_placement::{Bucket, Place, Why};
use std::collections::{BTreeMap, BTreeSet};

/// The most moves of a plan that are shown.
const MOVES_SHOWN: usize = 64;

/// The buckets of a pool.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    pub(super) counts: BucketCounts,
    /// Bytes that one more failure would take away.
    pub(super) at_risk_bytes: u64,
    /// Buckets with one copy that can be reached, though the pool asks for more.
    single: u32,
    /// Nodes with copies that are needed, and can't be reached or are awaited.
    silent: BTreeSet<String>,
    /// Nodes that hold the only copies of what can't be used.
    needed: BTreeSet<String>,
    /// Replicas that are being copied, or wait to be.
    copying: u32,
    /// Bytes of a bucket on each disk.
    bytes: BTreeMap<Place, u64>,
}

impl Buckets {
    pub(super) fn of(pool: &StoragePool, placed: &Placed, disks: &Disks) -> Self {
        let wanted = usize::try_from(pool.spec.replicas).unwrap_or(usize::MAX);
        let mut buckets = Self {
            bytes: bytes_of_a_bucket(placed, disks),
            ..Self::default()
        };
        for bucket in &placed.map.buckets {
            buckets.count(bucket, wanted, disks);
        }
        buckets
    }

    fn count(&mut self, bucket: &Bucket, wanted: usize, disks: &Disks) {
        let in_sync = bucket.in_sync().map(|replica| replica.disk);
        let (serving, silent): (Vec<Place>, Vec<Place>) =
            in_sync.partition(|&disk| disks.serves(disk));
        let syncing = bucket.replicas.iter().filter(|replica| !replica.in_sync);
        self.copying += u32::try_from(syncing.clone().count()).unwrap_or_default();
        let not_reached = syncing.map(|replica| replica.disk);
        let not_reached = not_reached.filter(|&disk| !disks.serves(disk));
        let not_reached = not_reached.chain(silent.iter().copied());
        let not_reached = not_reached.chain(bucket.away.iter().copied());
        self.silent
            .extend(not_reached.map(|disk| disks.node(disk).to_owned()));
        if wanted > 1
            && let [only] = serving[..]
        {
            self.single += 1;
            self.at_risk_bytes += self.bytes.get(&only).copied().unwrap_or_default();
        }
        let counts = &mut self.counts;
        counts.total += 1;
        counts.moving += u32::from(bucket.leaving().is_some());
        if serving.len() >= wanted {
            counts.healthy += 1;
        } else if serving.is_empty() {
            counts.unavailable += 1;
            let only = silent.iter().map(|&disk| disks.node(disk).to_owned());
            self.needed.extend(only);
        } else {
            counts.degraded += 1;
        }
    }

    /// Why some can't be used, and what would help.
    pub(super) fn unavailable(&self) -> Option<String> {
        let number = self.counts.unavailable;
        (number > 0).then(|| {
            format!(
                "{number} of {} can't be used: none of their copies in sync can be reached; bring back {}, which held the newest",
                count(self.counts.total, "bucket"),
                names(&listed(&self.needed)),
            )
        })
    }

    /// What is said of them, apart from whether the pool is ready.
    pub(super) fn observations(
        &self,
        pool: &StoragePool,
        placed: &Placed,
        disks: &Disks,
    ) -> [Observation; 5] {
        let generation = pool.metadata.generation;
        let said =
            move |condition, (holds, reason, message): (bool, &'static str, String)| Observation {
                condition,
                holds: if holds { Holds::True } else { Holds::False },
                reason,
                message,
                generation,
            };
        let unavailable = match self.unavailable() {
            Some(message) => (true, "NoCopyReachable", message),
            None => (
                false,
                "AllReachable",
                "every bucket can be read and written".to_owned(),
            ),
        };
        [
            said(DEGRADED, self.degraded(pool, placed)),
            said(AT_RISK, self.at_risk()),
            said(UNAVAILABLE, unavailable),
            said(REBALANCING, rebalancing(pool, placed, self.counts.moving)),
            said(FULL, full(pool, disks)),
        ]
    }

    /// The moves that would restore balance, as the pool shows them.
    pub(super) fn plan(&self, placed: &Placed, disks: &Disks) -> Option<RebalancePlan> {
        let id = placed.plan_id.clone()?;
        let named = |place: Option<Place>| {
            let entry = disks.entry(place?)?;
            Some(format!("{}/{}", entry.node, entry.id))
        };
        let steps = placed
            .plan
            .steps
            .iter()
            .filter(|step| step.why == Why::Balance);
        let moves = steps.clone().filter_map(|step| {
            Some(PlannedMove {
                bucket: step.bucket,
                from: named(step.from)?,
                to: named(step.to)?,
            })
        });
        let size = |from: Option<Place>| self.bytes.get(&from?).copied();
        Some(RebalancePlan {
            id,
            buckets: u32::try_from(steps.clone().count()).unwrap_or(u32::MAX),
            bytes: steps.filter_map(|step| size(step.from)).sum(),
            first_moves: moves.take(MOVES_SHOWN).collect(),
        })
    }

    fn degraded(&self, pool: &StoragePool, placed: &Placed) -> (bool, &'static str, String) {
        let lacking = self.counts.degraded + self.counts.unavailable;
        if lacking == 0 {
            let message = format!(
                "all {} have {} in sync",
                count(self.counts.total, "bucket"),
                count(pool.spec.replicas, "replica")
            );
            return (false, "AllInSync", message);
        }
        let silent = if self.silent.is_empty() {
            String::new()
        } else {
            let interval = pool.spec.recovery.down_out_interval.as_str();
            format!(
                "; not reached: {}, whose copies are made again elsewhere when it is away for {interval}",
                names(&listed(&self.silent))
            )
        };
        let copying = match self.copying {
            0 => String::new(),
            number => format!("; {number} being copied"),
        };
        let short = short(placed).map_or_else(String::new, |short| format!("; {short}"));
        let message = format!(
            "{lacking} of {} lack a replica in sync{silent}{copying}{short}",
            count(self.counts.total, "bucket")
        );
        (true, "ReplicasMissing", message)
    }

    fn at_risk(&self) -> (bool, &'static str, String) {
        if self.single + self.counts.unavailable == 0 {
            let message = "no single failure takes data away".to_owned();
            return (false, "EnoughCopies", message);
        }
        let message = format!(
            "{} of {} have one copy that can be reached, or none: don't take a node down that has one",
            self.single + self.counts.unavailable,
            count(self.counts.total, "bucket")
        );
        (true, "OneCopyLeft", message)
    }
}

fn rebalancing(pool: &StoragePool, placed: &Placed, moving: u32) -> (bool, &'static str, String) {
    let left = placed
        .plan
        .steps
        .iter()
        .filter(|step| step.to.is_some())
        .count();
    if moving > 0 {
        let message = format!("{moving} moving, {left} to follow");
        return (true, "Moving", message);
    }
    if let Some(short) = short(placed) {
        return (false, "TooFewDomains", short);
    }
    let balance = placed
        .plan
        .steps
        .iter()
        .filter(|step| step.why == Why::Balance)
        .count();
    match (balance, pool.spec.rebalance.mode, &placed.plan_id) {
        (0, ..) => (false, "InBalance", "the disks have their shares".to_owned()),
        (_, RebalanceMode::Manual, Some(id)) => {
            let message = format!(
                "{} would move (status.plan): approve it with spec.rebalance.approvedPlan: {id}",
                count(balance, "bucket")
            );
            (false, "AwaitsApproval", message)
        }
        (_, RebalanceMode::Paused, _) => {
            let message = format!("paused; {} would move", count(balance, "bucket"));
            (false, "Paused", message)
        }
        _ => {
            let message = format!("{} will move", count(balance, "bucket"));
            (false, "Planned", message)
        }
    }
}

/// What no plan can give all it should have, and what would help.
fn short(placed: &Placed) -> Option<String> {
    let worst = placed
        .plan
        .short
        .iter()
        .min_by_key(|short| short.possible)?;
    Some(format!(
        "{} can't have {} in failure domains of their own, for only {} have disks that take buckets or keep them: what is there stays; add nodes, let disks take buckets again, or ask for fewer replicas",
        count(placed.plan.short.len(), "bucket"),
        count(worst.wanted, "replica"),
        worst.possible,
    ))
}

fn full(pool: &StoragePool, disks: &Disks) -> (bool, &'static str, String) {
    let percent = u64::from(pool.spec.full_ratios.full_percent);
    let places = disks
        .views
        .iter()
        .zip(&disks.used_bytes)
        .zip(&disks.entries);
    let full: Vec<String> = places
        .filter(|((view, used), _)| {
            let size = view.disk.weight;
            size > 0 && u128::from(**used) * 100 > u128::from(size) * u128::from(percent)
        })
        .map(|(_, entry)| format!("{} ({})", entry.id, entry.node))
        .collect();
    if full.is_empty() {
        return (false, "HasRoom", format!("no disk is above {percent} %"));
    }
    let message = format!(
        "above {percent} %: {}; add disks or nodes, or delete volumes and snapshots",
        names(&full)
    );
    (true, "DisksFull", message)
}

/// Bytes of a bucket on each disk: what is used, shared out evenly.
fn bytes_of_a_bucket(placed: &Placed, disks: &Disks) -> BTreeMap<Place, u64> {
    let mut held: BTreeMap<Place, u64> = BTreeMap::new();
    let replicas = placed
        .map
        .buckets
        .iter()
        .flat_map(|bucket| &bucket.replicas);
    for replica in replicas {
        *held.entry(replica.disk).or_default() += 1;
    }
    let shares = held.into_iter();
    let shares = shares.map(|(place, buckets)| (place, disks.used_bytes(place) / buckets));
    shares.collect()
}

fn listed(names: &BTreeSet<String>) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

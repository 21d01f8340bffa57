//! The operator's word on a pool: which nodes and disks it has, how its buckets are, and what keeps it
//! from being ready.

use super::buckets::Buckets;
use super::map::{Outlook, Standing};
use super::members::{Member, members};
use super::words::{count, names};
use super::{Memory, lease_of};
use crate::leases::Life;
use crate::world::World;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use moraine_crds::conditions::READY;
use moraine_crds::observation::{Holds, Observation};
use moraine_crds::{DiskHealth, PoolSummary, StoragePool, StoragePoolStatus, UnusedDevice, words};
use std::collections::BTreeSet;

/// Bytes in use change all the time; they alone are written no more often than this.
const USED_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// Whether the pool is ready, and why, in a word and in a sentence.
struct Verdict {
    ready: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn not(reason: &'static str, message: String) -> Self {
        Self {
            ready: false,
            reason,
            message,
        }
    }
}

/// The status to write, if the pool doesn't say so already. While it isn't known for certain which of
/// its nodes live, what it says stands.
pub(super) fn status(
    pool: &StoragePool,
    world: &World,
    outlook: &Outlook,
    memory: &mut Memory,
    now: Timestamp,
) -> Option<StoragePoolStatus> {
    let members = members(pool, world);
    if members
        .iter()
        .any(|member| member.life == Life::Unconfirmed)
    {
        return None;
    }
    let held = pool.status.clone().unwrap_or_default();
    let wanted = wanted(pool, world, outlook, &members, now);
    if !differs(&held, &wanted) {
        return None;
    }
    let name = pool.name_any();
    let told = memory.told.get(&name);
    let recent = told.is_some_and(|&told| now.duration_since(told) < USED_EVERY);
    if recent && !differs(&without_numbers(held), &without_numbers(wanted.clone())) {
        return None;
    }
    memory.told.insert(name, now);
    Some(wanted)
}

/// All that the operator says of the pool.
fn wanted(
    pool: &StoragePool,
    world: &World,
    outlook: &Outlook,
    members: &[Member<'_>],
    now: Timestamp,
) -> StoragePoolStatus {
    let held = pool.status.as_ref();
    let held = held.map_or(&[][..], |status| &status.conditions);
    let totals = Totals::of(&pool.name_any(), world);
    let placed = match &outlook.standing {
        Standing::Placed(placed) => Some(&**placed),
        _ => None,
    };
    let found = placed.map(|placed| Buckets::of(pool, placed, &outlook.disks));
    let Verdict {
        ready,
        reason,
        message,
    } = match &found {
        Some(found) => serving(found, members, outlook),
        None => unplaced(pool, members, outlook),
    };
    let observation = Observation {
        condition: READY,
        holds: if ready { Holds::True } else { Holds::False },
        reason,
        message,
        generation: pool.metadata.generation,
    };
    let mut conditions: Vec<Condition> = vec![observation.following(held, now)];
    if let (Some(found), Some(placed)) = (&found, placed) {
        let observations = found.observations(pool, placed, &outlook.disks);
        let said = observations.into_iter();
        conditions.extend(said.map(|said| said.following(held, now)));
    }
    StoragePoolStatus {
        observed_generation: pool.metadata.generation,
        epoch: placed.map(|placed| placed.map.epoch),
        capacity_bytes: Some(totals.capacity_bytes),
        used_bytes: Some(totals.used_bytes),
        at_risk_bytes: found.as_ref().map(|found| found.at_risk_bytes),
        buckets: found.as_ref().map(|found| found.counts.clone()),
        progress: None,
        plan: found
            .as_ref()
            .zip(placed)
            .and_then(|(found, placed)| found.plan(placed, &outlook.disks)),
        summary: Some(summary(pool, members, &totals, found.as_ref())),
        conditions,
    }
}

/// Whether what the operator says has changed; conditions of others are none of its business.
fn differs(held: &StoragePoolStatus, wanted: &StoragePoolStatus) -> bool {
    let own = |condition: &&Condition| wanted.conditions.iter().any(|c| c.type_ == condition.type_);
    let by_type = |status: &StoragePoolStatus| {
        let mut conditions: Vec<Condition> =
            status.conditions.iter().filter(own).cloned().collect();
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        StoragePoolStatus {
            conditions,
            ..status.clone()
        }
    };
    by_type(held) != by_type(wanted)
}

/// Without what changes with each write of a volume.
fn without_numbers(mut status: StoragePoolStatus) -> StoragePoolStatus {
    (status.used_bytes, status.at_risk_bytes) = (None, None);
    if let Some(plan) = &mut status.plan {
        plan.bytes = 0;
    }
    if let Some(summary) = &mut status.summary {
        summary.used.clear();
        summary.at_risk.clear();
    }
    status
}

/// The verdict on a pool whose buckets are placed.
fn serving(found: &Buckets, members: &[Member<'_>], outlook: &Outlook) -> Verdict {
    if let Some(message) = found.unavailable() {
        return Verdict::not("BucketsUnavailable", message);
    }
    let disks = (0..)
        .zip(&outlook.disks.views)
        .filter(|(place, _)| outlook.disks.serves(*place));
    let message = format!(
        "{} on {}{}",
        count(found.counts.total, "bucket"),
        count(disks.count(), "disk"),
        silent(members)
    );
    Verdict {
        ready: true,
        reason: "Serving",
        message,
    }
}

/// The nodes that say nothing, with the reasons.
fn silent(members: &[Member<'_>]) -> String {
    let silent: Vec<String> = members
        .iter()
        .filter(|member| !member.reports())
        .map(|member| format!("{} ({})", member.name, member.silence()))
        .collect();
    if silent.is_empty() {
        String::new()
    } else {
        format!("; silent: {}", names(&silent))
    }
}

/// The verdict on a pool without buckets on disks.
fn unplaced(pool: &StoragePool, members: &[Member<'_>], outlook: &Outlook) -> Verdict {
    match &outlook.standing {
        Standing::Unusable(reason) => return Verdict::not("MapUnusable", reason.clone()),
        Standing::Lost => return Verdict::not("MapLost", map_lost(pool)),
        Standing::Absent | Standing::Empty | Standing::Placed(_) => {}
    }
    if members.is_empty() {
        return no_nodes(pool);
    }
    let all = members.len();
    let silent = silent(members);
    let reporting: Vec<&Member<'_>> = members.iter().filter(|member| member.reports()).collect();
    if reporting.is_empty() {
        let message = format!(
            "none of {} of the pool reports{silent}: do the pods of the DaemonSet moraine-agent run there?",
            count(all, "node")
        );
        return Verdict::not("NoAgents", message);
    }
    let domains: BTreeSet<&str> = reporting
        .iter()
        .filter_map(|member| member.domain)
        .collect();
    let replicas = usize::try_from(pool.spec.replicas).unwrap_or(usize::MAX);
    if domains.len() < replicas {
        let message = too_few_domains(pool, &domains, members);
        return Verdict::not("TooFewFailureDomains", format!("{message}{silent}"));
    }
    let message = format!(
        "{} of {} report{silent}; {}",
        reporting.len(),
        count(all, "node"),
        devices(pool, &reporting, outlook)
    );
    Verdict::not("WaitingForDisks", message)
}

fn map_lost(pool: &StoragePool) -> String {
    format!(
        "disks of this pool hold buckets, but the BucketMap {} doesn't say which: nothing is placed, so that no data is taken for new; restore the BucketMap from a backup of the cluster",
        pool.name_any()
    )
}

fn no_nodes(pool: &StoragePool) -> Verdict {
    let selector = &pool.spec.node_selector;
    let labels: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let message = if labels.is_empty() {
        "no node runs a node agent: is the DaemonSet moraine-agent there, and do its pods run?"
            .to_owned()
    } else {
        let all = labels.join(",");
        format!(
            "no node has all labels of spec.nodeSelector ({all}): label nodes (`kubectl label node NAME {}`) or change the selector",
            labels.join(" ")
        )
    };
    Verdict::not("NoNodes", message)
}

fn too_few_domains(pool: &StoragePool, domains: &BTreeSet<&str>, members: &[Member<'_>]) -> String {
    let key = &pool.spec.failure_domain;
    let replicas = usize::try_from(pool.spec.replicas).unwrap_or(usize::MAX);
    let there: Vec<&str> = domains.iter().copied().collect();
    let there = match there.len() {
        0 => "none is there".to_owned(),
        1 => format!("only 1 reports: {}", names(&there)),
        number => format!("only {number} report: {}", names(&there)),
    };
    let declared: BTreeSet<&str> = members.iter().filter_map(|member| member.domain).collect();
    let advice = if declared.len() >= replicas {
        "bring the silent nodes back".to_owned()
    } else {
        let fewer = match declared.len() {
            0 => String::new(),
            number => format!(", or lower spec.replicas to {number}"),
        };
        format!("add nodes in others, choose another spec.failureDomain{fewer}")
    };
    let unlabelled: Vec<&str> = members
        .iter()
        .filter(|member| member.domain.is_none())
        .map(|member| member.name)
        .collect();
    let unlabelled = if unlabelled.is_empty() {
        String::new()
    } else {
        format!("; without the label {key}: {}", names(&unlabelled))
    };
    format!(
        "{} of each block need as many failure domains ({key}) and {there}: {advice}{unlabelled}",
        count(replicas, "replica"),
    )
}

/// What the nodes have, in words.
fn devices(pool: &StoragePool, reporting: &[&Member<'_>], outlook: &Outlook) -> String {
    let needed = format!(
        "a disk in each of {} is needed",
        count(pool.spec.replicas, "failure domain")
    );
    let taken = count(outlook.disks.views.len(), "disk");
    if pool.spec.devices.file.is_some() {
        return format!("{taken} made of a file, and {needed}");
    }
    let name = pool.name_any();
    let refused: Vec<&UnusedDevice> = reporting
        .iter()
        .filter_map(|member| member.said?.status.as_ref())
        .flat_map(|status| &status.unused_devices)
        .filter(|device| device.pool == name)
        .collect();
    if refused.is_empty() && outlook.disks.views.is_empty() {
        return "spec.devices.paths names no device of theirs".to_owned();
    }
    let refused = match refused.len() {
        0 => String::new(),
        number => format!(
            "; {} can't be taken (`kubectl get storagenodes -o yaml` says why, in status.unusedDevices)",
            count(number, "device")
        ),
    };
    format!("{taken} taken, and {needed}{refused}")
}

/// What the disks of a pool have, whichever nodes they are in.
#[derive(Default)]
struct Totals {
    disks: usize,
    serving: usize,
    capacity_bytes: u64,
    used_bytes: u64,
}

impl Totals {
    fn of(pool: &str, world: &World) -> Self {
        let mut totals = Self::default();
        for (name, node) in world.storage_nodes.iter() {
            let alive = world.leases.life(&lease_of(name)) == Life::Alive;
            let disks = node.status.iter().flat_map(|status| &status.disks);
            for disk in disks.filter(|disk| disk.pool == pool) {
                let serves = matches!(disk.health, DiskHealth::Healthy | DiskHealth::Failing);
                totals.disks += 1;
                totals.serving += usize::from(alive && serves);
                totals.capacity_bytes = totals.capacity_bytes.saturating_add(disk.size_bytes);
                totals.used_bytes = totals.used_bytes.saturating_add(disk.used_bytes);
            }
        }
        totals
    }
}

fn summary(
    pool: &StoragePool,
    members: &[Member<'_>],
    totals: &Totals,
    found: Option<&Buckets>,
) -> PoolSummary {
    let reporting = members.iter().filter(|member| member.reports()).count();
    let healthy = found.map_or(0, |found| found.counts.healthy);
    PoolSummary {
        nodes: format!("{reporting}/{}", members.len()),
        disks: format!("{}/{}", totals.serving, totals.disks),
        buckets: format!("{healthy}/{}", pool.spec.buckets),
        capacity: words::size(totals.capacity_bytes),
        used: words::used(totals.used_bytes, totals.capacity_bytes),
        at_risk: words::size(found.map_or(0, |found| found.at_risk_bytes)),
    }
}

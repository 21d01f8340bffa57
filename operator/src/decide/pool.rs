//! The operator's word on a pool: which nodes it has, which of them report, and what keeps it from
//! being ready.

use super::lease_of;
use super::words::{count, names};
use crate::leases::Life;
use crate::world::World;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use moraine_crds::conditions::READY;
use moraine_crds::observation::{Holds, Observation};
use moraine_crds::{
    DiskHealth, PoolSummary, StorageNode, StoragePool, StoragePoolStatus, UnusedDevice, words,
};
use std::collections::{BTreeMap, BTreeSet};

/// A node that fits the pool's selector.
struct Member<'a> {
    name: &'a str,
    /// Its failure domain, if it carries the label.
    domain: Option<&'a str>,
    /// What its agent says, if one was ever there.
    said: Option<&'a StorageNode>,
    life: Life,
}

impl Member<'_> {
    fn reports(&self) -> bool {
        self.said.is_some() && self.life == Life::Alive
    }

    fn silence(&self) -> &'static str {
        match self.life {
            Life::NeverSeen => "no agent was seen",
            Life::Stopped(_) => "the agent stopped",
            Life::Stale(_) => "its Lease is stale",
            // Its Lease is there before its StorageNode.
            Life::Alive | Life::Unconfirmed => "the agent is starting",
        }
    }
}

/// Why the pool isn't ready, in a word and in a sentence. This version never finds one ready.
struct Verdict {
    reason: &'static str,
    message: String,
}

/// The status to write, if the pool doesn't say so already. While it isn't known for certain which of
/// its nodes live, what it says stands.
pub(super) fn status(
    pool: &StoragePool,
    world: &World,
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
    let Verdict { reason, message } = verdict(pool, &members);
    let observation = Observation {
        condition: READY,
        holds: Holds::False,
        reason,
        message,
        generation: pool.metadata.generation,
    };
    let ready = observation.following(&held.conditions, now);
    let totals = Totals::of(&pool.name_any(), world);
    let status = StoragePoolStatus {
        observed_generation: pool.metadata.generation,
        capacity_bytes: Some(totals.capacity_bytes),
        used_bytes: Some(totals.used_bytes),
        summary: Some(summary(pool, &members, &totals)),
        conditions: vec![ready.clone()],
        ..StoragePoolStatus::default()
    };
    // What else the object says isn't this operator's, and no reason to write.
    let mut wanted = held.clone();
    wanted.observed_generation = status.observed_generation;
    wanted.capacity_bytes = status.capacity_bytes;
    wanted.used_bytes = status.used_bytes;
    wanted.summary.clone_from(&status.summary);
    match wanted.conditions.iter_mut().find(|c| c.type_ == READY) {
        Some(condition) => *condition = ready,
        None => wanted.conditions.push(ready),
    }
    (wanted != held).then_some(status)
}

fn members<'a>(pool: &'a StoragePool, world: &'a World) -> Vec<Member<'a>> {
    let selector = &pool.spec.node_selector;
    let fits = |name: &str, labels: &BTreeMap<String, String>| {
        // With no selector: every node that runs an agent.
        let chosen = !selector.is_empty() || world.storage_nodes.contains_key(name);
        let matches = |(key, value)| labels.get(key) == Some(value);
        chosen && selector.iter().all(matches)
    };
    let nodes = world
        .nodes
        .iter()
        .filter(|(name, node)| fits(name, node.labels()));
    nodes
        .map(|(name, node)| {
            let domain = node.labels().get(&pool.spec.failure_domain);
            Member {
                name,
                domain: domain
                    .map(String::as_str)
                    .filter(|domain| !domain.is_empty()),
                said: world.storage_nodes.get(name),
                life: world.leases.life(&lease_of(name)),
            }
        })
        .collect()
}

fn verdict(pool: &StoragePool, members: &[Member<'_>]) -> Verdict {
    if members.is_empty() {
        return no_nodes(pool);
    }
    let all = members.len();
    let reporting: Vec<&Member<'_>> = members.iter().filter(|member| member.reports()).collect();
    let silent: Vec<String> = members
        .iter()
        .filter(|member| !member.reports())
        .map(|member| format!("{} ({})", member.name, member.silence()))
        .collect();
    let silent = if silent.is_empty() {
        String::new()
    } else {
        format!("; silent: {}", names(&silent))
    };
    if reporting.is_empty() {
        return Verdict {
            reason: "NoAgents",
            message: format!(
                "none of {} of the pool reports{silent}: do the pods of the DaemonSet moraine-agent run there?",
                count(all, "node")
            ),
        };
    }
    let domains: BTreeSet<&str> = reporting
        .iter()
        .filter_map(|member| member.domain)
        .collect();
    let replicas = usize::try_from(pool.spec.replicas).unwrap_or(usize::MAX);
    if domains.len() < replicas {
        let message = too_few_domains(pool, &domains, members);
        return Verdict {
            reason: "TooFewFailureDomains",
            message: format!("{message}{silent}"),
        };
    }
    let devices = devices(pool, &reporting);
    Verdict {
        reason: "PlacementNotBuilt",
        message: format!(
            "{} of {} report{silent}; {devices}; this version of Moraine does not place buckets yet, so no volume can be made",
            reporting.len(),
            count(all, "node"),
        ),
    }
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
    Verdict {
        reason: "NoNodes",
        message,
    }
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

/// What the nodes found, in words.
fn devices(pool: &StoragePool, reporting: &[&Member<'_>]) -> String {
    if pool.spec.devices.file.is_some() {
        return "files for devices.file are not made yet".to_owned();
    }
    let name = pool.name_any();
    let found: Vec<&UnusedDevice> = reporting
        .iter()
        .filter_map(|member| member.said?.status.as_ref())
        .flat_map(|status| &status.unused_devices)
        .filter(|device| device.pool == name)
        .collect();
    let usable = found.iter().filter(|device| device.reason == USABLE);
    let bytes: u64 = usable
        .clone()
        .map(|device| device.size_bytes)
        .fold(0, u64::saturating_add);
    let usable = usable.count();
    let refused = found.len() - usable;
    if found.is_empty() {
        return "spec.devices.paths names no device of theirs".to_owned();
    }
    let refused = if refused == 0 {
        String::new()
    } else {
        format!(
            ", and {} can't be taken (`kubectl get storagenodes -o yaml` says why, in status.unusedDevices)",
            count(refused, "other")
        )
    };
    format!(
        "{} with {} could be taken{refused}",
        count(usable, "device"),
        words::size(bytes)
    )
}

/// The agents' word for a device that would be taken if they could format it.
const USABLE: &str = "NotServedYet";

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

fn summary(pool: &StoragePool, members: &[Member<'_>], totals: &Totals) -> PoolSummary {
    let reporting = members.iter().filter(|member| member.reports()).count();
    PoolSummary {
        nodes: format!("{reporting}/{}", members.len()),
        disks: format!("{}/{}", totals.serving, totals.disks),
        // None is placed, so none can be healthy.
        buckets: format!("0/{}", pool.spec.buckets),
        capacity: words::size(totals.capacity_bytes),
        used: words::used(totals.used_bytes, totals.capacity_bytes),
        at_risk: words::size(0),
    }
}

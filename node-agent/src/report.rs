//! What the agent says of its node: pure, from what is known.
//!
//! Only its own fields are made and compared; what the operator and the engine say in the same object
//! is none of its business.

use crate::observe::Known;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use moraine_crds::conditions::DISKS_HEALTHY;
use moraine_crds::observation::{Holds, Observation, find};
use moraine_crds::{DiskHealth, DiskStatus, NodeSummary, StorageNode, StorageNodeStatus, words};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Labels of the Node that its StorageNode carries too, so that where the disks are stays known when
/// the Node is gone.
const TOPOLOGY: [&str; 3] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// What doesn't change while the agent runs.
#[derive(Clone, Debug)]
pub(crate) struct Myself {
    /// Name of the node.
    pub(crate) node: String,
    /// The kernel's boot id.
    pub(crate) boot_id: String,
    /// When the agent started.
    pub(crate) started_at: Time,
    /// Where it serves the data plane.
    pub(crate) address: String,
    /// Whether it may look at devices.
    pub(crate) looks_at_devices: bool,
}

/// Something to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    /// The StorageNode isn't there or doesn't say where it is: its metadata.
    Register(Value),
    /// Its status.
    Status(Box<StorageNodeStatus>),
}

/// What to write next, if anything: nothing while what is there isn't wholly known.
pub(crate) fn report(me: &Myself, known: &Known, now: Timestamp) -> Option<Write> {
    let labels = known.labels.as_ref()?;
    if !known.own.listed() {
        return None;
    }
    let Some(own) = known.own.get(&me.node) else {
        return Some(register(me, labels));
    };
    let topology = topology(labels);
    let carried = |key: &str| own.metadata.labels.as_ref()?.get(key);
    if !topology
        .iter()
        .all(|(key, value)| carried(key).is_some_and(|carried| carried == value))
    {
        return Some(register(me, labels));
    }
    let looked = known.found.as_ref()?;
    let said = known.disks.as_ref()?;
    let held = own.status.clone().unwrap_or_default();
    let status = StorageNodeStatus {
        boot_id: Some(me.boot_id.clone()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        started_at: Some(me.started_at.clone()),
        addresses: if said.serves {
            vec![me.address.clone()]
        } else {
            Vec::new()
        },
        disks: said.disks.clone(),
        unused_devices: looked.devices.clone(),
        summary: Some(summary(&said.disks, looked.devices.len())),
        conditions: vec![disks_healthy(me, own, &said.disks, now)],
        ..StorageNodeStatus::default()
    };
    differs(&held, &status).then(|| Write::Status(Box::new(status)))
}

/// The object with no owner: it outlives the Node, which clouds delete and make anew when a machine is
/// stopped and started, and with it the orders that a person gave for it and what is known of its
/// disks. It goes when a person deletes it.
fn register(me: &Myself, labels: &BTreeMap<String, String>) -> Write {
    // An empty spec: the defaults, of which none becomes the agent's.
    Write::Register(json!({
        "metadata": {"name": me.node, "labels": topology(labels)},
        "spec": {},
    }))
}

fn topology(labels: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let carried = TOPOLOGY.iter().filter_map(|key| labels.get_key_value(*key));
    carried
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

fn serves(disk: &DiskStatus) -> bool {
    matches!(disk.health, DiskHealth::Healthy | DiskHealth::Failing)
}

fn summary(disks: &[DiskStatus], unused: usize) -> NodeSummary {
    let serving = disks.iter().filter(|disk| serves(disk)).count();
    let size = disks.iter().map(|disk| disk.size_bytes).sum();
    let used = disks.iter().map(|disk| disk.used_bytes).sum();
    NodeSummary {
        disks: format!("{serving}/{}", disks.len()),
        capacity: words::size(size),
        used: words::used(used, size),
        unused_devices: unused.to_string(),
    }
}

fn disks_healthy(
    me: &Myself,
    own: &StorageNode,
    disks: &[DiskStatus],
    now: Timestamp,
) -> Condition {
    let before = own.status.as_ref();
    let before = before.map_or(&[][..], |status| &status.conditions);
    let ill: Vec<&DiskStatus> = disks
        .iter()
        .filter(|disk| disk.health != DiskHealth::Healthy)
        .collect();
    let (holds, reason, message) = if let Some(first) = ill.first() {
        let reason = match first.health {
            DiskHealth::Missing => "DiskMissing",
            DiskHealth::Failing => "DiskFailing",
            DiskHealth::Failed | DiskHealth::Healthy => "DiskFailed",
        };
        let told = ill.iter().map(|disk| {
            let why = disk.message.as_deref().unwrap_or("no reason is known");
            format!("{} ({}): {why}", disk.id, disk.path)
        });
        let told: Vec<String> = told.collect();
        (Holds::False, reason, told.join("; "))
    } else if disks.is_empty() {
        // Of no disks, all are healthy; nobody should be woken for it.
        (Holds::True, "NoDisks", no_disks(me).to_owned())
    } else {
        let message = "every disk serves without errors".to_owned();
        (Holds::True, "AllHealthy", message)
    };
    let observation = Observation {
        condition: DISKS_HEALTHY,
        holds,
        reason,
        message,
        generation: own.metadata.generation,
    };
    observation.following(before, now)
}

fn no_disks(me: &Myself) -> &'static str {
    if me.looks_at_devices {
        "no disk of this node is taken yet: status.unusedDevices tells of those that pools name"
    } else {
        "no disk of this node is taken: the agent may not look at devices (agent.rawDisks of the chart), and no pool wants a file here"
    }
}

/// Whether the agent's own fields of a status differ.
fn differs(held: &StorageNodeStatus, wanted: &StorageNodeStatus) -> bool {
    let own = |status: &StorageNodeStatus| StorageNodeStatus {
        addresses: status.addresses.clone(),
        boot_id: status.boot_id.clone(),
        version: status.version.clone(),
        started_at: status.started_at.clone(),
        disks: status.disks.clone(),
        unused_devices: status.unused_devices.clone(),
        summary: status.summary.clone(),
        conditions: find(&status.conditions, DISKS_HEALTHY)
            .cloned()
            .into_iter()
            .collect(),
        ..StorageNodeStatus::default()
    };
    let (mut held, mut wanted) = (own(held), own(wanted));
    // Lists by keys: their order is the API server's.
    held.disks.sort_by(|a, b| a.id.cmp(&b.id));
    wanted.disks.sort_by(|a, b| a.id.cmp(&b.id));
    held.unused_devices.sort_by(|a, b| a.path.cmp(&b.path));
    wanted.unused_devices.sort_by(|a, b| a.path.cmp(&b.path));
    held != wanted
}

#[cfg(test)]
mod tests;

//! The nodes of a pool: those that fit its selector, with what is known of each.

use super::lease_of;
use crate::leases::Life;
use crate::world::World;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use moraine_crds::conditions::{DISKS_HEALTHY, READY};
use moraine_crds::observation::find;
use moraine_crds::{StorageNode, StoragePool};
use std::collections::BTreeMap;

/// A node that fits the pool's selector.
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    /// Its failure domain, if it carries the label.
    pub(super) domain: Option<&'a str>,
    /// What its agent says, if one was ever there.
    pub(super) said: Option<&'a StorageNode>,
    pub(super) life: Life,
}

impl Member<'_> {
    pub(super) fn reports(&self) -> bool {
        self.said.is_some() && self.life == Life::Alive
    }

    /// Why it doesn't report.
    pub(super) fn silence(&self) -> &'static str {
        match self.life {
            Life::NeverSeen => "no agent was seen",
            Life::Stopped(_) => "the agent stopped",
            Life::Stale(_) => "its Lease is stale",
            // Its Lease is there before its StorageNode.
            Life::Alive | Life::Unconfirmed => "the agent is starting",
        }
    }
}

/// The members of a pool, by name.
pub(super) fn members<'a>(pool: &'a StoragePool, world: &'a World) -> Vec<Member<'a>> {
    let nodes = world.nodes.iter();
    let nodes = nodes.filter(|(name, node)| fits(pool, world, name, node.labels()));
    nodes
        .map(|(name, node)| Member {
            name,
            domain: domain(pool, node.labels()),
            said: world.storage_nodes.get(name),
            life: world.leases.life(&lease_of(name)),
        })
        .collect()
}

fn fits(pool: &StoragePool, world: &World, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let selector = &pool.spec.node_selector;
    // With no selector: every node that runs an agent.
    let chosen = !selector.is_empty() || world.storage_nodes.contains_key(name);
    let matches = |(key, value)| labels.get(key) == Some(value);
    chosen && selector.iter().all(matches)
}

fn domain<'a>(pool: &StoragePool, labels: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let domain = labels.get(&pool.spec.failure_domain).map(String::as_str);
    domain.filter(|domain| !domain.is_empty())
}

/// What placement wants to know of a node that has a disk of the pool.
pub(super) struct Home<'a> {
    /// Whether the pool's selector still fits it. One whose Node object is gone counts as fitting: a
    /// machine that is replaced must not look like an order to move its data away.
    pub(super) fits: bool,
    pub(super) domain: Option<&'a str>,
    pub(super) life: Life,
    /// Since when the operator says that it is ready, or that it isn't.
    pub(super) since: Option<Timestamp>,
    /// Whether that is what it says.
    pub(super) said_ready: bool,
    /// Whether its agent has said which disks it has.
    pub(super) has_looked: bool,
}

/// The home of a disk; `None`: no such StorageNode is there.
pub(super) fn home<'a>(pool: &StoragePool, world: &'a World, name: &str) -> Option<Home<'a>> {
    let said = world.storage_nodes.get(name)?;
    let node = world.nodes.get(name);
    // The StorageNode carries the topology too, for when the Node is gone.
    let labels = node.map_or_else(|| said.labels(), |node| node.labels());
    let conditions = said.status.as_ref().map(|status| &status.conditions[..]);
    let ready = find(conditions.unwrap_or_default(), READY);
    Some(Home {
        fits: node.is_none_or(|node| fits(pool, world, name, node.labels())),
        domain: domain(pool, labels),
        life: world.leases.life(&lease_of(name)),
        since: ready.map(|ready| ready.last_transition_time.0),
        said_ready: ready.is_some_and(|ready| ready.status == "True"),
        has_looked: find(conditions.unwrap_or_default(), DISKS_HEALTHY).is_some(),
    })
}

//! The operator's word on a node: whether its agent lives, by its Lease, and whether what is to be
//! evicted is gone from it.

use super::words::{count, names};
use crate::leases::Life;
use crate::world::World;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use moraine_crds::conditions::{EVICTED, READY};
use moraine_crds::observation::{Holds, Observation, find, to_seconds};
use moraine_crds::{BucketPlace, StorageNode};
use std::collections::{BTreeMap, BTreeSet};

/// All that the operator says of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeWord {
    /// `Ready`, and `Evicted` while something is to be evicted.
    pub(crate) conditions: Vec<Condition>,
    /// The disks that are to be evicted and hold nothing that is needed.
    pub(crate) evicted_disks: Vec<String>,
}

/// How many buckets each disk holds, awaits or is to take, by id of the disk and name of the pool.
pub(super) type Holdings<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

/// What all maps say; nothing is looked up while nothing is to be evicted anywhere.
pub(super) fn holdings(world: &World) -> Holdings<'_> {
    let mut holdings = Holdings::new();
    let orders =
        |node: &StorageNode| node.spec.evict || node.spec.disks.iter().any(|order| order.evict);
    if !world.storage_nodes.values().any(orders) {
        return holdings;
    }
    for (pool, map) in world.maps.iter() {
        let Some(status) = &map.status else {
            continue;
        };
        for bucket in &status.buckets {
            for place in places(bucket) {
                let disk = usize::try_from(place)
                    .ok()
                    .and_then(|at| status.disks.get(at));
                if let Some(disk) = disk {
                    let held = holdings.entry(&disk.id).or_default();
                    *held.entry(pool).or_default() += 1;
                }
            }
        }
    }
    holdings
}

/// The disks that a bucket needs, awaits, or is offered to: none of them can be taken away.
pub(super) fn places(bucket: &BucketPlace) -> BTreeSet<u32> {
    let moving = bucket
        .moving
        .iter()
        .flat_map(|moving| [Some(moving.to), moving.from]);
    let listed = bucket
        .in_sync
        .iter()
        .chain(&bucket.syncing)
        .chain(&bucket.away);
    listed.copied().chain(moving.flatten()).collect()
}

/// What to write, if the node doesn't say so already. While nothing is known for certain, what it says
/// stands.
pub(super) fn word(
    node: &StorageNode,
    life: Life,
    holdings: &Holdings<'_>,
    now: Timestamp,
) -> Option<NodeWord> {
    let before = node.status.as_ref();
    let conditions = before.map_or(&[][..], |status| &status.conditions);
    let generation = node.metadata.generation;
    let said = |condition, (holds, reason, message)| {
        let observation = Observation {
            condition,
            holds,
            reason,
            message,
            generation,
        };
        observation.following(conditions, now)
    };
    let eviction = Eviction::of(node, holdings);
    let mut wanted = vec![said(READY, verdict(node, life)?)];
    wanted.extend(eviction.verdict().map(|verdict| said(EVICTED, verdict)));
    let same = [READY, EVICTED]
        .iter()
        .all(|name| find(conditions, name) == find(&wanted, name));
    let held = before.map_or(&[][..], |status| &status.evicted_disks);
    if same && held == eviction.empty {
        return None;
    }
    Some(NodeWord {
        conditions: wanted,
        evicted_disks: eviction.empty,
    })
}

/// What is to be evicted of a node.
struct Eviction {
    /// Whether it is the node as a whole.
    whole: bool,
    /// Disks that are to be evicted and hold nothing.
    empty: Vec<String>,
    /// Buckets that are still on others that are to be evicted, by pool.
    left: BTreeMap<String, usize>,
}

impl Eviction {
    fn of(node: &StorageNode, holdings: &Holdings<'_>) -> Self {
        let disks = node.status.iter().flat_map(|status| &status.disks);
        let ordered = |id: &str| {
            let order = node.spec.disks.iter().find(|order| order.id == id);
            node.spec.evict || order.is_some_and(|order| order.evict)
        };
        let mut eviction = Self {
            whole: node.spec.evict,
            empty: Vec::new(),
            left: BTreeMap::new(),
        };
        for disk in disks.filter(|disk| ordered(&disk.id)) {
            match holdings.get(&*disk.id) {
                None => eviction.empty.push(disk.id.clone()),
                Some(pools) => {
                    for (&pool, buckets) in pools {
                        *eviction.left.entry(pool.to_owned()).or_default() += buckets;
                    }
                }
            }
        }
        eviction.empty.sort_unstable();
        eviction
    }

    fn verdict(&self) -> Option<(Holds, &'static str, String)> {
        if !self.left.is_empty() {
            let left = self.left.iter();
            let left: Vec<String> = left
                .map(|(pool, &buckets)| format!("{} of pool {pool}", count(buckets, "bucket")))
                .collect();
            let message = format!(
                "still here: {}; they move to other disks with room, a few at a time (`kubectl get bucketmaps` shows how many)",
                names(&left)
            );
            return Some((Holds::False, "DataRemains", message));
        }
        if self.whole {
            let message = "nothing on the node is needed any more: it can be taken away";
            return Some((Holds::True, "Empty", message.to_owned()));
        }
        let disks = names(&self.empty);
        (!self.empty.is_empty()).then(|| {
            let message = format!("nothing on these disks is needed any more: {disks}");
            (Holds::True, "DisksEmpty", message)
        })
    }
}

fn verdict(node: &StorageNode, life: Life) -> Option<(Holds, &'static str, String)> {
    let name = node.name_any();
    let pods = format!(
        "look at its pod: `kubectl get pods -A -l app.kubernetes.io/name=moraine,app.kubernetes.io/component=agent --field-selector spec.nodeName={name}`"
    );
    Some(match life {
        Life::Unconfirmed => return None,
        Life::Alive => (Holds::True, "AgentAlive", alive(node)),
        Life::Stale(renewed) => {
            let since = since("the agent last renewed its Lease", renewed);
            let message = format!(
                "{since} and doesn't any more: the node, its network or the agent is down; {pods}"
            );
            (Holds::False, "LeaseStale", message)
        }
        Life::Stopped(at) => {
            let since = since("the agent stopped as it was asked to", at);
            let message = format!("{since}; if it doesn't come back, {pods}");
            (Holds::False, "AgentStopped", message)
        }
        Life::NeverSeen => {
            let message =
                format!("no agent of this node has a Lease (moraine-node-{name}); {pods}");
            (Holds::False, "AgentNeverSeen", message)
        }
    })
}

fn alive(node: &StorageNode) -> String {
    let status = node.status.as_ref();
    if status.is_some_and(|status| !status.addresses.is_empty()) {
        return "the agent renews its Lease and serves".to_owned();
    }
    "the agent renews its Lease; it reports devices and serves no data yet".to_owned()
}

fn since(what: &str, at: Option<Timestamp>) -> String {
    match at {
        Some(at) => format!("{what} at {} (its own clock)", to_seconds(at).0),
        None => what.to_owned(),
    }
}

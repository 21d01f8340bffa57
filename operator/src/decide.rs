//! What to write, from what is known: pure, so that every case is a value in a test.
//!
//! A decision compares what should be said with what the objects say, and asks for a write only where
//! they differ: an idle cluster is never written to. One module per kind.
//!
//! Not here: reading, writing, and any clock.

mod buckets;
mod disks;
mod map;
mod members;
mod node;
mod pool;
mod suspects;
mod words;

use crate::world::World;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use map::Change;
use moraine_crds::conditions::READY;
use moraine_crds::observation::find;
use moraine_crds::{BucketMapSpec, BucketMapStatus, StoragePool, StoragePoolStatus};
pub(crate) use node::NodeWord;
use std::collections::BTreeMap;
use std::time::Duration;
use suspects::Suspicions;

/// Something to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    /// The status of a pool.
    Pool {
        /// Name of the pool.
        name: String,
        /// All that this operator says of it.
        status: Box<StoragePoolStatus>,
        /// What is worth telling besides.
        news: Option<News>,
    },
    /// The BucketMap of a pool, which isn't there yet.
    NewMap {
        /// Name of the pool.
        name: String,
        /// What never changes of it.
        spec: Box<BucketMapSpec>,
    },
    /// The next version of a pool's map.
    Map {
        /// Name of the pool.
        name: String,
        /// The resource version of the object that it follows: a newer one is not overwritten.
        follows: String,
        /// The version.
        status: Box<BucketMapStatus>,
        /// Why, for the log.
        why: String,
    },
    /// The operator's part of a node's status.
    Node {
        /// Name of the StorageNode.
        name: String,
        /// All that this operator says of it.
        said: Box<NodeWord>,
    },
}

/// A change that people should hear of, as a log line and as an Event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct News {
    /// The object that it is about.
    pub(crate) about: ObjectReference,
    /// Whether it is good.
    pub(crate) good: bool,
    /// Why, in a word.
    pub(crate) reason: String,
    /// Why, in a sentence.
    pub(crate) note: String,
}

/// What one decision leaves for the next: the leader's own, made anew by whoever leads next. Nothing
/// that must not be lost is here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// When disks last refused an offer, by id.
    refused: BTreeMap<String, Timestamp>,
    /// When the status of each pool was last written.
    told: BTreeMap<String, Timestamp>,
    /// What engines could not reach.
    suspicions: Suspicions,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decision {
    /// What has to be written now.
    pub(crate) writes: Vec<Write>,
    /// When to look again though nothing was heard, if something waits for time to pass.
    pub(crate) again: Option<Duration>,
}

/// How soon is looked again at what waits for time.
const AGAIN: Duration = Duration::from_secs(1);

/// All that has to be done now; nothing while the world isn't wholly read.
pub(crate) fn decide(world: &World, memory: &mut Memory, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    if !world.unread().is_empty() {
        return decision;
    }
    memory.suspicions.hear(world, now);
    if memory.suspicions.waits() {
        decision.again = Some(AGAIN);
    }
    let writes = &mut decision.writes;
    for (name, pool) in world.pools.iter() {
        let outlook = map::outlook(pool, world, memory, now);
        if outlook.waits {
            decision.again = Some(AGAIN);
        }
        let status = pool::status(pool, world, &outlook, memory, now);
        // The map first: what the status says of it may wait, data can't.
        writes.extend(outlook.change.map(|change| map_write(name, change)));
        writes.extend(status.map(|status| Write::Pool {
            name: name.clone(),
            news: news(pool, &status),
            status: Box::new(status),
        }));
    }
    let holdings = node::holdings(world);
    for (name, node) in world.storage_nodes.iter() {
        let said = node::word(node, world.leases.life(&lease_of(name)), &holdings, now);
        writes.extend(said.map(|said| Write::Node {
            name: name.clone(),
            said: Box::new(said),
        }));
    }
    decision
}

fn map_write(pool: &str, change: Change) -> Write {
    let name = pool.to_owned();
    match change {
        Change::Make(spec) => Write::NewMap { name, spec },
        Change::Write {
            follows,
            status,
            why,
        } => Write::Map {
            name,
            follows,
            status,
            why,
        },
    }
}

/// The Lease of the agent on a node.
fn lease_of(node: &str) -> String {
    format!("moraine-node-{node}")
}

/// A pool's news: the reason of `Ready` isn't what it was.
fn news(pool: &StoragePool, status: &StoragePoolStatus) -> Option<News> {
    let before = pool.status.as_ref();
    let before = before.and_then(|status| find(&status.conditions, READY));
    let ready = find(&status.conditions, READY)?;
    if before.is_some_and(|before| before.reason == ready.reason) {
        return None;
    }
    Some(News {
        about: pool.object_ref(&()),
        good: ready.status == "True",
        reason: ready.reason.clone(),
        note: ready.message.clone(),
    })
}

#[cfg(test)]
mod tests;

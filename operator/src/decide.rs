//! What to write, from what is known: pure, so that every case is a value in a test.
//!
//! A decision compares what should be said with what the objects say, and asks for a write only where
//! they differ: an idle cluster is never written to. One module per kind.
//!
//! Not here: reading, writing, and any clock.

mod node;
mod pool;
mod words;

use crate::world::World;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use moraine_crds::conditions::READY;
use moraine_crds::observation::find;
use moraine_crds::{StoragePool, StoragePoolStatus};

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
    /// The operator's condition of a node.
    Node {
        /// Name of the StorageNode.
        name: String,
        /// The condition.
        condition: Condition,
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

/// All that has to be written now; nothing while the world isn't wholly read.
pub(crate) fn decide(world: &World, now: Timestamp) -> Vec<Write> {
    if !world.unread().is_empty() {
        return Vec::new();
    }
    let pools = world.pools.iter().filter_map(|(name, pool)| {
        let status = pool::status(pool, world, now)?;
        Some(Write::Pool {
            name: name.clone(),
            news: news(pool, &status),
            status: Box::new(status),
        })
    });
    let nodes = world.storage_nodes.iter().filter_map(|(name, node)| {
        let condition = node::ready(node, world.leases.life(&lease_of(name)), now)?;
        Some(Write::Node {
            name: name.clone(),
            condition,
        })
    });
    pools.chain(nodes).collect()
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

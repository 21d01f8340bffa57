//! The operator's word on a node: whether its agent lives, by its Lease.

use crate::leases::Life;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use moraine_crds::StorageNode;
use moraine_crds::conditions::READY;
use moraine_crds::observation::{Holds, Observation, find, to_seconds};

/// The condition `Ready` to write, if the node doesn't say so already. While nothing is known for
/// certain, what it says stands.
pub(super) fn ready(node: &StorageNode, life: Life, now: Timestamp) -> Option<Condition> {
    let (holds, reason, message) = verdict(node, life)?;
    let before = node.status.as_ref();
    let before = before.map_or(&[][..], |status| &status.conditions);
    let observation = Observation {
        condition: READY,
        holds,
        reason,
        message,
        generation: node.metadata.generation,
    };
    let condition = observation.following(before, now);
    (find(before, READY) != Some(&condition)).then_some(condition)
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

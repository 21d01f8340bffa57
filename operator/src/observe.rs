//! Brings what the API server tells into the world. Reading only; nothing here writes.

use crate::clock::Clock;
use crate::lead::Known;
use crate::lease;
use crate::world::World;
use futures::{Stream, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use moraine_crds::watch::{Heard, follow, trusted};
use std::fmt::Debug;
use tokio::sync::watch;

/// Follows all kinds for ever.
pub(crate) async fn world(
    client: Client,
    namespace: &str,
    clock: Clock,
    world: &watch::Sender<World>,
    own_lease: &watch::Sender<Known>,
) {
    let pools = follow("StoragePool", guarded(client.clone()), |heard| {
        if let Heard::Event(event) = heard {
            world.send_modify(|world| world.pools.apply(event));
        }
    });
    let maps = follow("BucketMap", guarded(client.clone()), |heard| {
        if let Heard::Event(event) = heard {
            world.send_modify(|world| world.maps.apply(event));
        }
    });
    let storage_nodes = follow("StorageNode", guarded(client.clone()), |heard| {
        if let Heard::Event(event) = heard {
            world.send_modify(|world| world.storage_nodes.apply(event));
        }
    });
    let labels: Api<PartialObjectMeta<Node>> = Api::all(client.clone());
    let nodes = follow("Node", watcher(labels, Config::default()), |heard| {
        if let Heard::Event(event) = heard {
            world.send_modify(|world| world.nodes.apply(trusted(event)));
        }
    });
    let api: Api<DeserializeGuard<Lease>> = Api::namespaced(client, namespace);
    let mut found = Found::default();
    let leases = follow("Lease", watcher(api, Config::default()), |heard| {
        if let Heard::Event(event) = &heard
            && let Some(known) = found.own(event)
        {
            own_lease.send_replace(known);
        }
        world.send_modify(|world| match heard {
            Heard::Event(event) => world.leases.apply(event, clock.monotonic()),
            Heard::Lost(_) => world.leases.lost(),
        });
    });
    tokio::join!(pools, maps, storage_nodes, nodes, leases);
}

fn guarded<K>(client: Client) -> impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + 'static,
    K: serde::de::DeserializeOwned,
    DeserializeGuard<K>: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client);
    watcher(api, Config::default()).boxed()
}

/// Picks the operator's own Lease out of the events.
#[derive(Default)]
struct Found {
    /// Whether the list under way had it.
    listed: bool,
}

impl Found {
    fn own(&mut self, event: &Event<DeserializeGuard<Lease>>) -> Option<Known> {
        let (Event::Apply(lease) | Event::InitApply(lease) | Event::Delete(lease)) = event else {
            return match event {
                Event::Init => {
                    self.listed = false;
                    None
                }
                _ => (!self.listed).then_some(Known::Absent),
            };
        };
        if lease.name_any() != lease::NAME {
            return None;
        }
        self.listed = true;
        match (event, &lease.0) {
            (Event::Delete(_), _) => Some(Known::Absent),
            (_, Ok(lease)) => Some(Known::Is(Box::new(lease.clone()))),
            // Not a Lease that a program wrote: it is looked at again when it changes.
            (_, Err(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lease(name: &str) -> DeserializeGuard<Lease> {
        let value = json!({"metadata": {"name": name}, "spec": {"holderIdentity": "x"}});
        serde_json::from_value(value).unwrap()
    }

    fn told(found: &mut Found, event: &Event<DeserializeGuard<Lease>>) -> Option<bool> {
        found.own(event).map(|known| matches!(known, Known::Is(_)))
    }

    #[test]
    fn that_there_is_no_lease_is_known_only_at_the_end_of_a_list() {
        let mut found = Found::default();
        assert_eq!(told(&mut found, &Event::Init), None);
        assert_eq!(
            told(&mut found, &Event::InitApply(lease("moraine-node-a"))),
            None
        );
        assert_eq!(told(&mut found, &Event::InitDone), Some(false));

        assert_eq!(told(&mut found, &Event::Init), None);
        assert_eq!(
            told(&mut found, &Event::InitApply(lease(lease::NAME))),
            Some(true)
        );
        assert_eq!(told(&mut found, &Event::InitDone), None);
        assert_eq!(
            told(&mut found, &Event::Apply(lease("moraine-node-a"))),
            None
        );
        assert_eq!(
            told(&mut found, &Event::Delete(lease(lease::NAME))),
            Some(false)
        );
        assert_eq!(
            told(&mut found, &Event::Apply(lease(lease::NAME))),
            Some(true)
        );
    }
}

//! What the agent knows, as one value, and the watches that keep it: the pools and their maps, its own
//! StorageNode, the labels of its own Node, what was found of devices, and what is to be said of the
//! disks. Reading only; nothing here writes.

use crate::serving::Said;
use futures::Stream;
use k8s_openapi::api::core::v1::Node;
use kube::core::{ClusterResourceScope, DeserializeGuard};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client, Resource};
use moraine_crds::watch::{Cache, Heard, follow};
use moraine_crds::{BucketMap, StorageNode, StoragePool, UnusedDevice};
use moraine_model::ClusterId;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::watch;

/// How often the labels of the Node are asked for: the agent may not watch Nodes.
const LABELS_EVERY: Duration = Duration::from_mins(1);
/// How soon they are asked for again when there was no answer.
const LABELS_RETRY: Duration = Duration::from_secs(5);
/// An answer that takes longer is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What the report is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// All pools.
    pub(crate) pools: Cache<StoragePool>,
    /// The map of each pool.
    pub(crate) maps: Cache<BucketMap>,
    /// The pools whose maps the data plane has: for these disks can be taken.
    pub(crate) mapped: BTreeSet<ClusterId>,
    /// This node's own object; one name at most.
    pub(crate) own: Cache<StorageNode>,
    /// The labels of this node; `None` until they are known.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// What was found for which pools; `None` until it was looked.
    pub(crate) found: Option<Looked>,
    /// What is to be said of the disks; `None` until those that were served before are again.
    pub(crate) disks: Option<Said>,
}

/// A look at the devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    /// What was looked for.
    pub(crate) wanted: Vec<Wanted>,
    /// What was found.
    pub(crate) devices: Vec<UnusedDevice>,
}

/// What a pool wants of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Name of the pool.
    pub(crate) pool: String,
    /// Its id; `None` until its map is made.
    pub(crate) id: Option<ClusterId>,
    /// Its patterns; none if it wants a file.
    pub(crate) paths: Vec<String>,
    /// Whether it takes what holds data.
    pub(crate) wipe: bool,
    /// Size of the file that it wants in place of devices.
    pub(crate) file_bytes: Option<u64>,
}

impl Known {
    /// What the pools want of this node, by the names of the pools; `None` while that isn't known.
    pub(crate) fn wanted(&self) -> Option<Vec<Wanted>> {
        let labels = self.labels.as_ref()?;
        if !self.pools.listed() || !self.maps.listed() {
            return None;
        }
        let pools = self.pools.iter().filter(|(_, pool)| {
            let mut selector = pool.spec.node_selector.iter();
            selector.all(|(key, value)| labels.get(key) == Some(value))
        });
        let wanted = pools.map(|(name, pool)| {
            let devices = &pool.spec.devices;
            let map = self.maps.get(name);
            let file = devices.file.as_ref();
            Wanted {
                pool: name.clone(),
                id: map
                    .and_then(|map| map.cluster().ok())
                    .filter(|id| self.mapped.contains(id)),
                paths: devices.paths.clone().unwrap_or_default(),
                wipe: devices.wipe,
                // The schema holds what is no size away.
                file_bytes: file.and_then(|file| file.size.bytes().ok()),
            }
        });
        Some(wanted.collect())
    }
}

impl Known {
    /// The ids of all pools that there are.
    pub(crate) fn pool_ids(&self) -> BTreeSet<ClusterId> {
        let ids = self.maps.values().filter_map(|map| map.cluster().ok());
        ids.chain(self.mapped.iter().copied()).collect()
    }
}

/// Follows for ever what concerns this node.
pub(crate) async fn known(client: Client, node: &str, known: &watch::Sender<Known>) {
    let all = Config::default();
    let pools = follow("StoragePool", guarded(client.clone(), all), |heard| {
        if let Heard::Event(event) = heard {
            known.send_modify(|known| known.pools.apply(event));
        }
    });
    let maps = follow(
        "BucketMap",
        guarded(client.clone(), Config::default()),
        |heard| {
            if let Heard::Event(event) = heard {
                known.send_modify(|known| known.maps.apply(event));
            }
        },
    );
    let own = Config::default().fields(&format!("metadata.name={node}"));
    let own = follow("StorageNode", guarded(client.clone(), own), |heard| {
        if let Heard::Event(event) = heard {
            known.send_modify(|known| known.own.apply(event));
        }
    });
    tokio::join!(pools, maps, own, labels(client.clone(), node, known));
}

fn guarded<K>(
    client: Client,
    config: Config,
) -> impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>> + Send
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + Send + 'static,
    K: DeserializeOwned,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client);
    watcher(api, config)
}

async fn labels(client: Client, node: &str, known: &watch::Sender<Known>) {
    let nodes: Api<Node> = Api::all(client);
    let mut failing = false;
    loop {
        let failure = match tokio::time::timeout(ANSWER_LIMIT, nodes.get_metadata(node)).await {
            Ok(Ok(found)) => {
                let labels = Some(found.metadata.labels.unwrap_or_default());
                known.send_if_modified(|known| {
                    let news = known.labels != labels;
                    known.labels = labels;
                    news
                });
                if std::mem::take(&mut failing) {
                    tracing::info!("the labels of the Node are known again");
                }
                tokio::time::sleep(LABELS_EVERY).await;
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if !std::mem::replace(&mut failing, true) {
            tracing::warn!(
                "the labels of the Node can't be read, and it is tried again: {failure}"
            );
        }
        tokio::time::sleep(LABELS_RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pool(name: &str, selector: &Value, devices: &Value) -> DeserializeGuard<StoragePool> {
        let value = json!({
            "apiVersion": "moraine.io/v1alpha1",
            "kind": "StoragePool",
            "metadata": {"name": name},
            "spec": {"devices": devices, "nodeSelector": selector},
        });
        let pool: DeserializeGuard<StoragePool> = serde_json::from_value(value).unwrap();
        assert!(pool.0.is_ok());
        pool
    }

    fn map(name: &str, id: u128) -> DeserializeGuard<BucketMap> {
        let spec = json!({"pool": name, "poolId": format!("{id:032x}"), "buckets": 4});
        let value = json!({"metadata": {"name": name}, "spec": spec});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn pools_want_what_their_selector_and_paths_say() {
        let disks = json!({"paths": ["/dev/sd?"]});
        let mut known = Known::default();
        assert_eq!(known.wanted(), None);
        for pool in [
            pool("all", &json!({}), &disks),
            pool(
                "fits",
                &json!({"disk": "nvme"}),
                &json!({"paths": ["/dev/nvme*"], "wipe": true}),
            ),
            pool("fits-not", &json!({"disk": "nvme", "row": "7"}), &disks),
            pool("of-files", &json!({}), &json!({"file": {"size": "10Gi"}})),
        ] {
            known.pools.apply(Event::InitApply(pool));
        }
        known.pools.apply(Event::InitDone);
        known.labels = Some([("disk".to_owned(), "nvme".to_owned())].into());
        assert_eq!(known.wanted(), None, "the maps aren't known");
        known.maps.apply(Event::InitApply(map("fits", 7)));
        known.maps.apply(Event::InitDone);
        known.labels = None;
        assert_eq!(known.wanted(), None, "the labels aren't known");
        known.labels = Some([("disk".to_owned(), "nvme".to_owned())].into());
        let wanted = known.wanted().unwrap();
        let names: Vec<_> = wanted
            .iter()
            .map(|wanted| (wanted.pool.as_str(), wanted.wipe))
            .collect();
        assert_eq!(names, [("all", false), ("fits", true), ("of-files", false)]);
        assert_eq!(wanted[1].paths, ["/dev/nvme*"]);
        assert_eq!(wanted[1].id, None, "the data plane hasn't its map");
        known.mapped.insert(ClusterId::new(7).unwrap());
        assert_eq!(known.wanted().unwrap()[1].id, ClusterId::new(7).ok());
        assert_eq!((wanted[0].id, wanted[0].file_bytes), (None, None));
        assert_eq!(wanted[2].file_bytes, Some(10 << 30));
        assert!(wanted[2].paths.is_empty());
    }
}

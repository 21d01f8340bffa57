//! Carries decisions out: server-side apply of status, one field manager, and one place that tells
//! people about changes.

use crate::decide::{News, NodeWord, Write};
use crate::metrics::{Metrics, WriteLabels};
use crate::world::World;
use anyhow::{Context, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use moraine_crds::{
    BucketMap, BucketMapSpec, BucketMapStatus, GROUP, StorageNode, StoragePool, VERSION,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;

/// The name under which the API server keeps what this program wrote.
const MANAGER: &str = "moraine-operator";
/// A write that takes longer is given up; what it was about is decided anew.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Writes for the leader.
pub(crate) struct Writer {
    pools: Api<StoragePool>,
    nodes: Api<StorageNode>,
    maps: Api<BucketMap>,
    events: Recorder,
    metrics: Metrics,
}

impl Writer {
    /// A writer that signs Events as `identity`.
    pub(crate) fn new(client: &Client, identity: &str, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self {
            pools: Api::all(client.clone()),
            nodes: Api::all(client.clone()),
            maps: Api::all(client.clone()),
            events: Recorder::new(client.clone(), reporter),
            metrics,
        }
    }

    /// Writes, tells the world what came of it, and people what is new. An object that is gone is no
    /// error: the watch will tell.
    pub(crate) async fn write(&self, write: Write, world: &watch::Sender<World>) -> Result<()> {
        match write {
            Write::Pool { name, status, news } => {
                let answer = self
                    .apply("StoragePool", &self.pools, &name, &status)
                    .await?;
                if let Some(pool) = answer {
                    world.send_modify(|world| world.pools.learn(pool));
                    if let Some(news) = news {
                        self.tell(&name, &news).await;
                    }
                }
            }
            Write::NewMap { name, spec } => self.make_map(&name, *spec).await?,
            Write::Map {
                name,
                follows,
                status,
                why,
            } => {
                tracing::info!(pool = name, epoch = status.epoch, "bucket map: {why}");
                if let Some(map) = self.write_map(&name, follows, *status, world).await? {
                    world.send_modify(|world| world.maps.learn(map));
                }
            }
            Write::Node { name, said } => self.write_node(&name, &said, world).await?,
        }
        Ok(())
    }

    async fn write_node(
        &self,
        name: &str,
        said: &NodeWord,
        world: &watch::Sender<World>,
    ) -> Result<()> {
        for condition in &said.conditions {
            let Condition {
                type_,
                status,
                reason,
                message,
                ..
            } = condition;
            tracing::info!(node = name, condition = type_, status, reason, "{message}");
        }
        let status = json!({
            "conditions": said.conditions,
            "evictedDisks": said.evicted_disks,
        });
        let answer = self
            .apply("StorageNode", &self.nodes, name, &status)
            .await?;
        if let Some(node) = answer {
            world.send_modify(|world| world.storage_nodes.learn(node));
        }
        Ok(())
    }

    /// Makes the BucketMap of a new pool. That it is there already is what was wanted: the watch will
    /// bring it.
    async fn make_map(&self, name: &str, spec: BucketMapSpec) -> Result<()> {
        let map = BucketMap::new(name, spec);
        let params = as_manager();
        let making = async {
            match self.maps.create(&params, &map).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(map.clone()),
                made => made,
            }
        };
        self.answered("BucketMap", making)
            .await
            .with_context(|| format!("making the BucketMap {name}"))?;
        tracing::info!(pool = name, "made its BucketMap");
        Ok(())
    }

    /// Writes the next version of a map, if the object still is what it follows. Replaced whole and
    /// not applied: a version is right only as a whole, and only after the one that it was made from.
    async fn write_map(
        &self,
        name: &str,
        follows: String,
        status: BucketMapStatus,
        world: &watch::Sender<World>,
    ) -> Result<Option<BucketMap>> {
        let Some(mut map) = world.borrow().maps.get(name).cloned() else {
            return Ok(None);
        };
        map.metadata.resource_version = Some(follows);
        map.metadata.managed_fields = None;
        map.status = Some(status);
        let params = as_manager();
        let written = self.maps.replace_status(name, &params, &map);
        self.answered("BucketMap", written)
            .await
            .with_context(|| format!("writing the BucketMap {name}"))
    }

    async fn apply<K>(
        &self,
        kind: &'static str,
        api: &Api<K>,
        name: &str,
        status: &impl Serialize,
    ) -> Result<Option<K>>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": kind,
            "metadata": {"name": name},
            "status": status,
        });
        // Each field has one writer, so whoever else has it in hand took it by mistake.
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&object);
        self.answered(kind, api.patch_status(name, &params, &patch))
            .await
            .with_context(|| format!("writing the status of {kind} {name}"))
    }

    /// Waits for the answer to a write, but not for ever, and counts it. `None`: the object is gone.
    async fn answered<K>(
        &self,
        kind: &'static str,
        write: impl Future<Output = kube::Result<K>>,
    ) -> Result<Option<K>> {
        let answer = tokio::time::timeout(WRITE_LIMIT, write).await;
        let (result, answer) = match answer {
            Ok(Ok(object)) => ("ok", Ok(Some(object))),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => ("gone", Ok(None)),
            Ok(Err(error)) => ("failed", Err(error.into())),
            Err(_) => ("failed", Err(anyhow::anyhow!("no answer in time"))),
        };
        let labels = WriteLabels { kind, result };
        self.metrics.writes.get_or_create(&labels).inc();
        answer
    }

    /// To the log and as an Event, which is for convenience: one that is lost isn't tried again.
    async fn tell(&self, pool: &str, news: &News) {
        let News {
            good, reason, note, ..
        } = news;
        tracing::info!(pool, ready = good, reason, "{note}");
        let event = Event {
            type_: if *good {
                EventType::Normal
            } else {
                EventType::Warning
            },
            reason: reason.clone(),
            // The most that the API server takes.
            note: Some(note.chars().take(1000).collect()),
            action: "Observe".to_owned(),
            secondary: None,
        };
        let publish = self.events.publish(&event, &news.about);
        let lost = match tokio::time::timeout(WRITE_LIMIT, publish).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(pool, reason, "the Event is lost: {lost}");
    }
}

/// How a whole object is written.
fn as_manager() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

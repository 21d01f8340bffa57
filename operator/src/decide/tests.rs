//! What the operator decides, as a table of worlds and the conditions they must give.

use super::*;
use crate::world::World;
use k8s_openapi::api::coordination::v1::Lease;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use moraine_crds::conditions::EVICTED;
use moraine_crds::watch::trusted;
use moraine_crds::{BucketMap, StorageNode};
use serde_json::{Value, json};
use std::time::Duration;

/// A world that was wholly read at second 0 and then told, in which what is said to live does.
struct Scene {
    world: World,
    memory: Memory,
    /// The second up to which time has passed.
    second: u64,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::default();
        world.pools.apply(Event::InitDone);
        world.maps.apply(Event::InitDone);
        world.storage_nodes.apply(Event::InitDone);
        world.nodes.apply(Event::InitDone);
        world.leases.apply(Event::InitDone, at(0));
        Self {
            world,
            memory: Memory::default(),
            second: 0,
        }
    }

    /// Nodes that carry a label `disk=nvme`, the zone, and an agent that lives and reports.
    fn nodes(mut self, nodes: &[(&str, &str)]) -> Self {
        for (name, zone) in nodes {
            self = self
                .labelled(name, zone)
                .said(name, &json!({}))
                .lives(name, 1);
        }
        self
    }

    fn labelled(mut self, name: &str, zone: &str) -> Self {
        let mut labels = json!({"kubernetes.io/hostname": name, "disk": "nvme"});
        if !zone.is_empty() {
            labels["topology.kubernetes.io/zone"] = zone.into();
        }
        let node = json!({"metadata": {"name": name, "labels": labels}});
        let node = serde_json::from_value(node).unwrap();
        self.world.nodes.apply(trusted(Event::Apply(node)));
        self
    }

    fn said(mut self, name: &str, status: &Value) -> Self {
        let node = json!({
            "apiVersion": "moraine.io/v1alpha1",
            "kind": "StorageNode",
            "metadata": {"name": name, "generation": 2},
            "spec": {},
            "status": status,
        });
        let node: DeserializeGuard<StorageNode> = serde_json::from_value(node).unwrap();
        assert!(node.0.is_ok());
        self.world.storage_nodes.apply(Event::Apply(node));
        self
    }

    fn lives(mut self, name: &str, second: u64) -> Self {
        let lease = lease(name, "agent", second);
        self.world.leases.apply(Event::Apply(lease), at(second));
        self
    }

    fn pool(mut self, spec: &Value) -> Self {
        self.world.pools.apply(Event::Apply(pool(spec)));
        self
    }

    /// Time passes, through which the operator's own Lease is renewed.
    fn until(mut self, second: u64) -> Self {
        for second in (self.second..=second).step_by(4).chain([second]) {
            let own = lease("", "operator", second);
            self.world.leases.apply(Event::Apply(own), at(second));
        }
        self.second = second;
        self
    }

    /// What a leader decides that has this scene's memory, which stays as it is.
    fn decide(&self, second: i64) -> Vec<Write> {
        let now = Timestamp::from_second(second).unwrap();
        decide(&self.world, &mut self.memory.clone(), now).writes
    }

    /// The pool's status as the next decision would write it.
    fn pool_status(&self) -> StoragePoolStatus {
        let written = self.decide(500).into_iter().find_map(|write| match write {
            Write::Pool { status, .. } => Some(*status),
            _ => None,
        });
        written.expect("a pool has something to say")
    }

    fn pool_word(&self) -> (String, String) {
        let status = self.pool_status();
        let [ready] = &status.conditions[..] else {
            panic!("one condition: {:?}", status.conditions);
        };
        assert_eq!(
            (ready.type_.as_str(), ready.status.as_str()),
            ("Ready", "False")
        );
        (ready.reason.clone(), ready.message.clone())
    }

    fn node_word(&self, node: &str) -> Option<(String, String, String)> {
        self.decide(500).into_iter().find_map(|write| match write {
            Write::Node { name, said } if name == node => {
                let ready = said.conditions[0].clone();
                assert_eq!(ready.type_, READY);
                Some((ready.status, ready.reason, ready.message))
            }
            _ => None,
        })
    }

    /// Does to the objects what a write does to the API server's.
    fn write(&mut self, write: &Write) {
        match write {
            Write::Pool { name, status, .. } => {
                let mut pool = self.world.pools[name].clone();
                pool.status = Some((**status).clone());
                self.world.pools.learn(pool);
            }
            Write::Node { name, said } => {
                let mut node = self.world.storage_nodes[name].clone();
                let status = node.status.get_or_insert_default();
                let own = [READY, EVICTED];
                status
                    .conditions
                    .retain(|held| !own.contains(&&*held.type_));
                status.conditions.extend(said.conditions.clone());
                status.evicted_disks.clone_from(&said.evicted_disks);
                self.world.storage_nodes.learn(node);
            }
            Write::NewMap { name, spec } => {
                let mut map = BucketMap::new(name, (**spec).clone());
                map.metadata.resource_version = Some("1".to_owned());
                self.world.maps.apply(trusted(Event::Apply(map)));
            }
            Write::Map { name, status, .. } => {
                let mut map = self.world.maps[name].clone();
                map.status = Some((**status).clone());
                self.world.maps.learn(map);
            }
        }
    }
}

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

fn lease(node: &str, holder: &str, second: u64) -> DeserializeGuard<Lease> {
    let name = match node {
        "" => "moraine-operator".to_owned(),
        node => format!("moraine-node-{node}"),
    };
    let second = i64::try_from(second).unwrap();
    let renewed = Timestamp::from_second(second).unwrap();
    let value = json!({
        "metadata": {"name": name},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 10,
            "renewTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(renewed),
        },
    });
    serde_json::from_value(value).unwrap()
}

fn pool(spec: &Value) -> DeserializeGuard<StoragePool> {
    let mut whole = json!({"devices": {"paths": ["/dev/sd?"]}, "replicas": 3});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let pool = json!({
        "apiVersion": "moraine.io/v1alpha1",
        "kind": "StoragePool",
        "metadata": {"name": "fast", "uid": "a-1", "generation": 5, "resourceVersion": "1"},
        "spec": whole,
    });
    let pool: DeserializeGuard<StoragePool> = serde_json::from_value(pool).unwrap();
    assert!(pool.0.is_ok());
    pool
}

fn device(path: &str, pool: &str, gibibytes: u64, reason: &str) -> Value {
    json!({
        "path": path, "pool": pool, "sizeBytes": gibibytes << 30, "reason": reason, "message": "m",
    })
}

const ABC: [(&str, &str); 3] = [("a", "z1"), ("b", "z1"), ("c", "z2")];

#[test]
fn a_pool_without_nodes_says_which_labels_it_looks_for() {
    let scene = Scene::new()
        .nodes(&ABC)
        .pool(&json!({"nodeSelector": {"disk": "hdd", "row": "7"}}));
    let (reason, message) = scene.pool_word();
    assert_eq!(reason, "NoNodes");
    assert!(message.contains("(disk=hdd,row=7)"), "{message}");
    assert!(
        message.contains("kubectl label node NAME disk=hdd row=7"),
        "{message}"
    );
    assert_eq!(scene.pool_status().summary.unwrap().nodes, "0/0");
}

#[test]
fn without_a_selector_the_nodes_are_those_that_run_an_agent() {
    let bare = Scene::new().labelled("a", "z1").pool(&json!({}));
    let (reason, message) = bare.pool_word();
    assert_eq!(reason, "NoNodes");
    assert!(message.contains("no node runs a node agent"), "{message}");
    let scene = bare.nodes(&[("b", "z1")]);
    assert_eq!(scene.pool_status().summary.unwrap().nodes, "1/1");
}

#[test]
fn nodes_that_are_silent_are_named_with_the_cause() {
    let selector = json!({"nodeSelector": {"disk": "nvme"}});
    let scene = Scene::new()
        .labelled("a", "z1")
        .nodes(&[("b", "z1")])
        .pool(&selector)
        .until(20);
    let (reason, message) = scene.pool_word();
    assert_eq!(reason, "NoAgents");
    assert!(message.contains("none of 2 nodes"), "{message}");
    assert!(
        message.contains("a (no agent was seen), b (its Lease is stale)"),
        "{message}"
    );
}

#[test]
fn too_few_failure_domains_are_counted_and_the_way_out_is_named() {
    let three = Scene::new().nodes(&ABC);
    let zones = json!({"failureDomain": "topology.kubernetes.io/zone"});
    let (reason, message) = three.pool(&zones).pool_word();
    assert_eq!(reason, "TooFewFailureDomains");
    assert!(message.contains("3 replicas of each block"), "{message}");
    assert!(
        message.contains("(topology.kubernetes.io/zone) and only 2 report: z1, z2"),
        "{message}"
    );
    assert!(message.contains("lower spec.replicas to 2"), "{message}");

    let unlabelled = Scene::new().nodes(&[("a", "z1"), ("b", "")]).pool(&zones);
    let (_, message) = unlabelled.pool_word();
    assert!(
        message.contains("without the label topology.kubernetes.io/zone: b"),
        "{message}"
    );

    let silent = Scene::new()
        .nodes(&ABC)
        .pool(&json!({}))
        .until(8)
        .lives("b", 9)
        .until(12);
    let (reason, message) = silent.pool_word();
    assert_eq!(reason, "TooFewFailureDomains");
    assert!(
        message.contains("only 1 reports: b: bring the silent nodes back"),
        "{message}"
    );

    let none = Scene::new().nodes(&[("a", "")]).pool(&zones);
    let (_, message) = none.pool_word();
    assert!(message.contains("none is there"), "{message}");
    assert!(!message.contains("lower spec.replicas"), "{message}");
}

#[test]
fn nodes_in_enough_domains_leave_only_their_disks_to_be_waited_for() {
    let found = json!({"unusedDevices": [
        device("/dev/sdb", "fast", 10, "Mounted"),
        device("/dev/sdc", "other", 10, "Mounted"),
    ]});
    let scene = Scene::new()
        .nodes(&ABC)
        .said("b", &found)
        .said("c", &found)
        .labelled("d", "z3")
        .pool(&json!({"nodeSelector": {"disk": "nvme"}}));
    let (reason, message) = scene.pool_word();
    assert_eq!(reason, "WaitingForDisks");
    assert!(
        message.starts_with("3 of 4 nodes report; silent: d (no agent was seen)"),
        "{message}"
    );
    assert!(
        message.contains(
            "0 disks taken, and a disk in each of 3 failure domains is needed; 2 devices can't"
        ),
        "{message}"
    );
    let summary = scene.pool_status().summary.unwrap();
    assert_eq!(
        (summary.nodes.as_str(), summary.disks.as_str()),
        ("3/4", "0/0")
    );
    assert_eq!(
        (summary.buckets.as_str(), summary.capacity.as_str()),
        ("0/1024", "0")
    );
    assert_eq!(scene.pool_status().observed_generation, Some(5));
}

#[test]
fn a_pool_of_files_waits_for_them() {
    let spec = json!({"devices": {"file": {"size": "10Gi"}}, "replicas": 1});
    let (reason, message) = Scene::new().nodes(&ABC).pool(&spec).pool_word();
    assert_eq!(reason, "WaitingForDisks");
    assert!(message.contains("0 disks made of a file"), "{message}");
}

#[test]
fn capacity_is_of_all_disks_and_serving_are_those_of_nodes_that_live() {
    let disk = |id: &str, pool: &str, health: &str| {
        json!({
            "id": id.repeat(32), "pool": pool, "path": "/dev/sdz", "health": health,
            "shards": 1, "epoch": 0, "sizeBytes": 4_u64 << 30, "usedBytes": 1_u64 << 30,
        })
    };
    let disks = json!({"disks": [
        disk("a", "fast", "Healthy"), disk("b", "fast", "Failed"), disk("c", "other", "Healthy"),
    ]});
    let scene = Scene::new()
        .nodes(&ABC)
        .said("a", &disks)
        .said("gone", &disks)
        .pool(&json!({"replicas": 1}));
    let status = scene.pool_status();
    assert_eq!(status.capacity_bytes, Some(16 << 30));
    assert_eq!(status.used_bytes, Some(4 << 30));
    let summary = status.summary.unwrap();
    assert_eq!(summary.disks, "1/4");
    assert_eq!(
        (summary.capacity.as_str(), summary.used.as_str()),
        ("16.0Gi", "4.0Gi (25%)")
    );
}

#[test]
fn a_nodes_readiness_follows_its_lease() {
    let scene = Scene::new().nodes(&ABC).said("new", &json!({}));
    let word = |scene: &Scene, node: &str| {
        let (status, reason, message) = scene.node_word(node).unwrap();
        (format!("{status} {reason}"), message)
    };
    let (alive, message) = word(&scene, "a");
    assert_eq!(alive, "True AgentAlive");
    assert!(message.contains("serves no data yet"), "{message}");
    let (never, message) = word(&scene, "new");
    assert_eq!(never, "False AgentNeverSeen");
    assert!(message.contains("(moraine-node-new)"), "{message}");

    let mut later = scene.until(12).lives("b", 13).until(16);
    let (stale, message) = word(&later, "a");
    assert_eq!(stale, "False LeaseStale");
    assert!(message.contains("1970-01-01T00:00:01Z"), "{message}");
    assert_eq!(word(&later, "b").0, "True AgentAlive");

    later
        .world
        .leases
        .apply(Event::Apply(lease("b", "", 17)), at(17));
    assert_eq!(word(&later, "b").0, "False AgentStopped");
}

#[test]
fn nothing_is_said_of_what_is_not_known_for_certain() {
    let mut unread = Scene::new().nodes(&ABC).pool(&json!({}));
    unread.world.leases = crate::leases::Leases::default();
    assert_eq!(unread.decide(500), []);

    // The Lease of `a` was found, and may be of a node that died long ago.
    let mut found = unread;
    found.world.leases.apply(Event::Init, at(100));
    found
        .world
        .leases
        .apply(Event::InitApply(lease("a", "agent", 1)), at(100));
    found.world.leases.apply(Event::InitDone, at(100));
    assert_eq!(found.node_word("a"), None);
    assert_eq!(found.node_word("b").unwrap().1, "AgentNeverSeen");
    let pools = |scene: &Scene| {
        let writes = scene.decide(500).into_iter();
        writes
            .filter(|write| matches!(write, Write::Pool { .. }))
            .count()
    };
    assert_eq!(pools(&found), 0);
    let known = found.lives("a", 101);
    assert_eq!(pools(&known), 1);
}

#[test]
fn what_is_written_once_is_not_written_again() {
    let mut scene = Scene::new().nodes(&ABC).pool(&json!({}));
    let writes = scene.decide(500);
    assert_eq!(writes.len(), 5, "the pool, its map and three nodes");
    for write in &writes {
        scene.write(write);
    }
    assert_eq!(scene.decide(600), []);
    // Renewals and time change nothing.
    let mut scene = scene.lives("a", 3).lives("b", 3).lives("c", 3);
    assert_eq!(scene.decide(700), []);
    // What others say doesn't either.
    let mut pool = scene.world.pools["fast"].clone();
    let status = pool.status.as_mut().unwrap();
    let mut other = status.conditions[0].clone();
    other.type_ = "Watched".to_owned();
    status.conditions.insert(0, other);
    scene.world.pools.learn(pool);
    assert_eq!(scene.decide(800), []);
}

#[test]
fn one_nodes_death_writes_that_node_and_the_pool_and_keeps_other_times() {
    let mut scene = Scene::new().nodes(&ABC).pool(&json!({"replicas": 2}));
    for write in scene.decide(500) {
        scene.write(&write);
    }
    let scene = scene.until(12).lives("a", 13).lives("b", 13).until(16);
    let writes = scene.decide(900);
    let [Write::Pool { status, news, .. }, Write::Node { name, said }] = &writes[..] else {
        panic!("{writes:?}");
    };
    let condition = &said.conditions[0];
    assert_eq!(
        (name.as_str(), condition.reason.as_str()),
        ("c", "LeaseStale")
    );
    assert_eq!(condition.last_transition_time.0.as_second(), 900);
    assert_eq!(status.conditions[0].last_transition_time.0.as_second(), 500);
    assert!(
        status.conditions[0]
            .message
            .starts_with("2 of 3 nodes report; silent: c")
    );
    assert_eq!(*news, None, "the reason is the same");
}

#[test]
fn people_hear_of_it_when_the_reason_changes() {
    let mut scene = Scene::new().nodes(&ABC).pool(&json!({}));
    let heard = |scene: &Scene| {
        scene.decide(500).into_iter().find_map(|write| match write {
            Write::Pool { news, .. } => news,
            _ => None,
        })
    };
    let first = heard(&scene).unwrap();
    assert_eq!(
        (first.reason.as_str(), first.good),
        ("WaitingForDisks", false)
    );
    assert_eq!(first.about.uid.as_deref(), Some("a-1"));
    for write in scene.decide(500) {
        scene.write(&write);
    }
    assert_eq!(heard(&scene), None);
    let gone = scene.world.nodes["c"].clone();
    scene.world.nodes.apply(trusted(Event::Delete(gone)));
    assert_eq!(heard(&scene).unwrap().reason, "TooFewFailureDomains");
}

mod maps;

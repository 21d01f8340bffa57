//! The life of a pool's map, with agents that do what the map says.

use super::*;
use moraine_crds::conditions::{AT_RISK, DEGRADED, REBALANCING, UNAVAILABLE};
use moraine_crds::observation::find;
use moraine_crds::{BucketMapStatus, BucketState, MoveStep};
use std::collections::BTreeMap;

/// A pool of small files, whose nodes have made them.
struct Life {
    scene: Scene,
    now: u64,
    /// The nodes, and whether their agents live.
    nodes: BTreeMap<String, bool>,
    /// Which node's engine can't reach which node.
    complaints: Vec<(&'static str, &'static str)>,
    /// Nodes that were made anew, with a new disk.
    anew: Vec<&'static str>,
}

fn id(node: &str) -> String {
    format!("{:032x}", u128::from(node.as_bytes()[0]))
}

impl Life {
    fn new(nodes: &[&str], spec: &Value) -> Self {
        let mut life = Self {
            scene: Scene::new(),
            now: 100,
            nodes: BTreeMap::new(),
            complaints: Vec::new(),
            anew: Vec::new(),
        };
        let mut whole = json!({
            "devices": {"file": {"size": "10Gi"}}, "replicas": 2, "buckets": 8,
        });
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        life.scene = life.scene.until(100).pool(&whole);
        for node in nodes {
            life.join(node);
        }
        life
    }

    fn join(&mut self, node: &str) {
        let scene = std::mem::replace(&mut self.scene, Scene::new());
        self.scene = scene.labelled(node, "z");
        self.nodes.insert(node.to_owned(), true);
        self.report(node, &[]);
    }

    /// The agent says of its disk what it says, and gives these answers.
    fn report(&mut self, node: &str, reports: &[Value]) {
        let before = self.scene.world.storage_nodes.get(node);
        let conditions = before
            .and_then(|node| node.status.clone())
            .unwrap_or_default();
        let mut conditions = serde_json::to_value(conditions.conditions).unwrap();
        let said = conditions.as_array_mut().unwrap();
        if !said.iter().any(|said| said["type"] == "DisksHealthy") {
            said.push(json!({
                "type": "DisksHealthy", "status": "True", "reason": "AllHealthy", "message": "",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            }));
        }
        let epoch = self.map().map_or(0, |map| map.epoch);
        let complaints = self
            .complaints
            .iter()
            .filter(|(reporter, _)| *reporter == node);
        let suspects = complaints.map(|(_, accused)| {
            json!({"node": accused, "since": "1970-01-01T00:00:00Z", "message": "refused"})
        });
        let status = json!({
            "suspects": suspects.collect::<Vec<_>>(),
            "addresses": ["10.0.0.1:7420"],
            "conditions": conditions,
            "disks": [{
                "id": self.disk_of(node), "pool": "fast", "path": "/x", "shards": 1, "epoch": epoch,
                "sizeBytes": 10_u64 << 30, "usedBytes": 1_u64 << 30, "health": "Healthy",
                "reports": reports,
            }],
        });
        let spec = before.map(|node| node.spec.clone()).unwrap_or_default();
        let scene = std::mem::replace(&mut self.scene, Scene::new());
        self.scene = scene.said(node, &status);
        self.spec(node, &serde_json::to_value(spec).unwrap());
    }

    fn disk_of(&self, node: &str) -> String {
        if self.anew.contains(&node) {
            return format!("{:0>32}", format!("{}ff", id(node).trim_start_matches('0')));
        }
        id(node)
    }

    /// A person orders something of a node.
    fn spec(&mut self, node: &str, spec: &Value) {
        let mut object = self.scene.world.storage_nodes[node].clone();
        object.spec = serde_json::from_value(spec.clone()).unwrap();
        self.scene.world.storage_nodes.learn(object);
    }

    fn map(&self) -> Option<BucketMapStatus> {
        self.scene.world.maps.get("fast")?.status.clone()
    }

    fn placed(&self) -> BucketMapStatus {
        self.map().expect("it is placed")
    }

    /// Seconds pass, in which agents that live renew and answer, and the operator decides each second.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            let alive: Vec<String> = self.alive();
            let now = self.now;
            let scene = std::mem::replace(&mut self.scene, Scene::new());
            let scene = alive
                .iter()
                .fold(scene, |scene, node| scene.lives(node, now));
            self.scene = scene.until(now);
            for node in &alive {
                let reports = self.answers(node);
                self.report(node, &reports);
            }
            self.decide();
        }
    }

    fn alive(&self) -> Vec<String> {
        let alive = self.nodes.iter().filter(|(_, alive)| **alive);
        alive.map(|(node, _)| node.clone()).collect()
    }

    /// What an agent says to the map as it stands: offers are accepted, copies are whole at once.
    fn answers(&self, node: &str) -> Vec<Value> {
        let Some(map) = self.map() else {
            return Vec::new();
        };
        let disk_id = self.disk_of(node);
        let here = map.disks.iter().position(|disk| disk.id == disk_id);
        let Some(here) = here.and_then(|here| u32::try_from(here).ok()) else {
            return Vec::new();
        };
        let mut said = Vec::new();
        for (number, bucket) in map.buckets.iter().enumerate() {
            let offered = bucket
                .moving
                .as_ref()
                .filter(|m| m.to == here && m.step == MoveStep::Offered);
            if let Some(offer) = offered {
                said.push(json!({"bucket": number, "epoch": offer.since, "answer": "Accepted"}));
            }
            if bucket.state_on(here) == Some(BucketState::Syncing) {
                let listed = bucket.in_sync.iter().chain(&bucket.syncing);
                let at = listed.clone().position(|&disk| disk == here).unwrap();
                let since = bucket.since[at];
                said.push(json!({"bucket": number, "epoch": since, "answer": "Synced"}));
            }
        }
        said
    }

    /// One decision, carried out.
    fn decide(&mut self) -> Vec<Write> {
        let now = Timestamp::from_second(i64::try_from(self.now).unwrap()).unwrap();
        let decision = decide(&self.scene.world, &mut self.scene.memory, now);
        for write in &decision.writes {
            if let Write::Map { status, .. } = write {
                let before = self.map().map_or(0, |map| map.epoch);
                assert!(status.epoch > before, "{} after {before}", status.epoch);
            }
            self.scene.write(write);
        }
        decision.writes
    }

    fn condition(&self, condition: &str) -> (String, String, String) {
        let status = self.scene.world.pools["fast"].status.clone().unwrap();
        let found = find(&status.conditions, condition).unwrap().clone();
        (found.status, found.reason, found.message)
    }

    fn word(&self, condition: &str) -> String {
        let (status, reason, _) = self.condition(condition);
        format!("{status} {reason}")
    }

    /// How many replicas each node has, in sync and syncing.
    fn counts(&self) -> BTreeMap<String, usize> {
        let map = self.placed();
        let mut counts = BTreeMap::new();
        for bucket in &map.buckets {
            for &disk in bucket.in_sync.iter().chain(&bucket.syncing) {
                let node = map.disks[disk as usize].node.clone();
                *counts.entry(node).or_default() += 1;
            }
        }
        counts
    }

    fn die(&mut self, node: &str) {
        self.nodes.insert(node.to_owned(), false);
    }
}

#[test]
fn a_pool_becomes_ready_when_its_disks_are_there() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    let writes = life.decide();
    let made = writes.iter().any(|write| match write {
        Write::NewMap { name, spec } => {
            (name.as_str(), spec.pool_id.as_str(), spec.buckets) == ("fast", "a1", 8)
        }
        _ => false,
    });
    assert!(made, "{writes:?}");
    life.pass(12);
    let map = life.placed();
    assert_eq!((map.epoch, map.healthy), (1, 8));
    assert_eq!(life.word(READY), "True Serving");
    assert_eq!(life.word(DEGRADED), "False AllInSync");
    let counts: Vec<usize> = life.counts().into_values().collect();
    assert!(
        counts.iter().all(|count| (5..=6).contains(count)),
        "{counts:?}"
    );
    life.pass(3);
    assert_eq!(life.decide(), [], "nothing is left to say");
}

#[test]
fn a_map_that_was_lost_is_not_made_anew_over_data() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    life.pass(12);
    let mut lost = life.scene.world.maps["fast"].clone();
    lost.status = None;
    life.scene.world.maps.learn(lost);
    for node in ["a", "b", "c"] {
        let mut node = life.scene.world.storage_nodes[node].clone();
        node.status.as_mut().unwrap().disks[0].epoch = 1;
        life.scene.world.storage_nodes.learn(node);
    }
    life.decide();
    assert_eq!(life.map(), None);
    assert_eq!(life.word(READY), "False MapLost");
}

#[test]
fn a_node_that_dies_is_dropped_awaited_and_taken_back() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    life.pass(15);
    let before = life.counts();
    life.die("b");
    life.pass(13);
    assert_eq!(life.counts().get("b"), None, "no write waits for it");
    assert_eq!(life.word(DEGRADED), "True ReplicasMissing");
    let (_, _, message) = life.condition(DEGRADED);
    assert!(
        message.contains(
            "not reached: b, whose copies are made again elsewhere when it is away for 10m"
        ),
        "{message}"
    );
    assert_eq!(life.word(AT_RISK), "True OneCopyLeft");
    assert_eq!(life.word(READY), "True Serving");
    assert_eq!(life.word(UNAVAILABLE), "False AllReachable");
    let epoch = life.placed().epoch;
    life.pass(60);
    assert_eq!(life.placed().epoch, epoch, "it is awaited");

    life.nodes.insert("b".to_owned(), true);
    life.pass(15);
    assert_eq!(life.counts(), before, "it has the buckets that it had");
    assert_eq!(life.word(DEGRADED), "False AllInSync");
}

#[test]
fn what_a_node_had_is_made_again_when_it_is_away_for_too_long() {
    let spec = json!({"recovery": {"downOutInterval": "1m"}});
    let mut life = Life::new(&["a", "b", "c"], &spec);
    life.pass(15);
    life.die("b");
    life.pass(90);
    let map = life.placed();
    assert_eq!(map.healthy, 8);
    assert_eq!(
        life.counts(),
        [("a".to_owned(), 8), ("c".to_owned(), 8)].into()
    );
    assert_eq!(life.word(DEGRADED), "False AllInSync");
    life.nodes.insert("b".to_owned(), true);
    life.pass(60);
    assert_eq!(life.counts()["b"], 5, "it is one that joins now");
}

#[test]
fn a_node_that_was_made_anew_is_one_that_joins_and_what_it_had_is_made_again() {
    let spec = json!({"recovery": {"downOutInterval": "1m"}});
    let mut life = Life::new(&["a", "b", "c"], &spec);
    life.pass(15);
    life.anew.push("b");
    life.pass(2);
    assert_eq!(
        life.word(DEGRADED),
        "True ReplicasMissing",
        "no write waits for the old disk"
    );
    life.pass(120);
    assert_eq!(life.word(DEGRADED), "False AllInSync");
    let map = life.placed();
    let new = life.disk_of("b");
    let place = map.disks.iter().position(|disk| disk.id == new).unwrap();
    let place = u32::try_from(place).unwrap();
    let held = map
        .buckets
        .iter()
        .filter(|bucket| bucket.state_on(place).is_some());
    assert!(held.count() >= 5, "the new disk has its share");
}

#[test]
fn that_the_object_of_a_living_node_is_deleted_moves_nothing() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    life.pass(15);
    let before = life.placed();
    let gone = life.scene.world.storage_nodes["b"].clone();
    let gone = DeserializeGuard(Ok(gone));
    life.scene.world.storage_nodes.apply(Event::Delete(gone));
    life.decide();
    assert_eq!(life.placed().buckets, before.buckets);
    let scene = std::mem::replace(&mut life.scene, Scene::new());
    life.scene = scene.said("b", &json!({}));
    life.decide();
    assert_eq!(life.placed().buckets, before.buckets);
    life.pass(20);
    assert_eq!(life.placed().buckets, before.buckets);
}

#[test]
fn a_node_that_joins_gets_its_share_a_few_buckets_at_a_time() {
    let spec = json!({"rebalance": {"maxConcurrentMoves": 1}});
    let mut life = Life::new(&["a", "b"], &spec);
    life.pass(15);
    life.join("c");
    let mut most = 0;
    for _ in 0..60 {
        life.pass(1);
        let map = life.placed();
        most = most.max(map.moving);
        assert_eq!(map.healthy, 8, "no bucket is without its copies meanwhile");
    }
    assert_eq!(most, 1);
    let counts: Vec<usize> = life.counts().into_values().collect();
    assert!(
        counts.iter().all(|count| (5..=6).contains(count)),
        "{counts:?}"
    );
    assert_eq!(life.word(REBALANCING), "False InBalance");
}

#[test]
fn a_plan_waits_for_its_approval_in_manual_mode() {
    let manual = json!({"rebalance": {"mode": "Manual"}});
    let mut life = Life::new(&["a", "b"], &manual);
    life.pass(15);
    life.join("c");
    life.pass(20);
    assert_eq!(life.counts().get("c"), None);
    assert_eq!(life.word(REBALANCING), "False AwaitsApproval");
    let mut pool = life.scene.world.pools["fast"].clone();
    let plan = pool.status.as_ref().unwrap().plan.clone().unwrap();
    assert_eq!(plan.buckets, 5);
    assert!(plan.first_moves[0].to.starts_with("c/"));
    pool.spec.rebalance.approved_plan = Some(plan.id);
    life.scene.world.pools.learn(pool);
    life.pass(30);
    assert_eq!(life.counts()["c"], 5);
}

#[test]
fn a_complaint_counts_when_it_lasts_or_another_node_says_the_same() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    life.pass(15);
    let hears = |life: &mut Life, complaints: &[(&'static str, &'static str)], seconds: u64| {
        life.complaints = complaints.to_vec();
        life.pass(seconds);
        life.counts().contains_key("b")
    };
    assert!(
        hears(&mut life, &[("a", "b")], 4),
        "it may be the reporter that is cut off"
    );
    assert!(!hears(&mut life, &[("a", "b")], 4), "it has lasted");
    // The engines don't use it any more, so they don't complain; it is left alone all the same.
    assert!(!hears(&mut life, &[], 40));
    assert!(hears(&mut life, &[], 40), "then it is tried again");
    assert!(
        !hears(&mut life, &[("a", "b"), ("c", "b")], 2),
        "two say it"
    );
    assert!(
        !hears(&mut life, &[], 100),
        "for longer than the first time"
    );
    assert!(hears(&mut life, &[], 40));
    assert_eq!(life.word(UNAVAILABLE), "False AllReachable");
}

#[test]
fn who_can_reach_nobody_is_not_believed_alone() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    life.pass(15);
    let before = life.counts();
    life.complaints = vec![("a", "b"), ("a", "c")];
    life.pass(30);
    assert_eq!(life.counts(), before);
    life.complaints.push(("b", "c"));
    life.pass(2);
    let counts = life.counts();
    assert!(
        !counts.contains_key("c") && counts.contains_key("b"),
        "{counts:?}"
    );
}

#[test]
fn the_word_of_one_who_died_counts_no_more() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    life.pass(15);
    life.die("a");
    life.pass(15);
    life.complaints = vec![("a", "b")];
    life.report("a", &[]);
    life.pass(15);
    assert!(life.counts().contains_key("b"));
    assert_eq!(life.word(READY), "True Serving");
}

#[test]
fn an_approved_plan_waits_too_while_a_disk_is_unknown() {
    let manual = json!({"rebalance": {"mode": "Manual"}});
    let mut life = Life::new(&["a", "b"], &manual);
    life.pass(15);
    life.join("c");
    life.pass(10);
    let scene = std::mem::replace(&mut life.scene, Scene::new());
    life.scene = scene.said("b", &json!({}));
    life.decide();
    let mut pool = life.scene.world.pools["fast"].clone();
    let plan = pool.status.as_ref().unwrap().plan.clone().unwrap();
    pool.spec.rebalance.approved_plan = Some(plan.id);
    life.scene.world.pools.learn(pool);
    let before = life.placed().buckets;
    life.now += 5;
    life.decide();
    assert_eq!(life.placed().buckets, before);
}

#[test]
fn an_evicted_node_is_emptied_and_says_so() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    life.pass(15);
    life.spec("a", &json!({"evict": true}));
    life.pass(2);
    let word = |life: &Life| {
        let status = life.scene.world.storage_nodes["a"].status.clone().unwrap();
        let evicted = find(&status.conditions, EVICTED).cloned();
        let evicted = evicted.map(|c| (c.status, c.reason, c.message));
        (evicted, status.evicted_disks)
    };
    let (told, disks) = word(&life);
    let (status, reason, message) = told.unwrap();
    assert_eq!((&*status, &*reason), ("False", "DataRemains"));
    assert!(message.contains("buckets of pool fast"), "{message}");
    assert!(disks.is_empty());
    life.pass(30);
    assert_eq!(life.counts().get("a"), None);
    assert_eq!(life.placed().healthy, 8);
    let (told, disks) = word(&life);
    assert_eq!(told.unwrap().1, "Empty");
    assert_eq!(disks, [id("a")]);
    life.spec("a", &json!({}));
    life.pass(30);
    assert_eq!(word(&life), (None, Vec::new()));
    assert!((5..=6).contains(&life.counts()["a"]));
}

#[test]
fn what_no_disk_can_take_stays_and_is_told() {
    let mut life = Life::new(&["a", "b", "c"], &json!({"replicas": 3}));
    life.pass(15);
    life.spec("a", &json!({"evict": true}));
    life.pass(20);
    assert_eq!(life.counts()["a"], 8, "nobody else could take it");
    let (status, reason, message) = life.condition(REBALANCING);
    assert_eq!((&*status, &*reason), ("False", "TooFewDomains"));
    assert!(
        message.starts_with(
            "8 buckets can't have 3 replicas in failure domains of their own, for only 2"
        ),
        "{message}"
    );
    life.spec("a", &json!({}));
    life.die("a");
    life.pass(700);
    let (_, _, message) = life.condition(DEGRADED);
    assert!(
        message.contains("8 of 8 buckets lack a replica in sync; 8 buckets can't have 3"),
        "{message}"
    );
}

#[test]
fn a_cordoned_node_keeps_what_it_has_and_takes_nothing() {
    let mut life = Life::new(&["a", "b"], &json!({}));
    life.pass(15);
    life.join("c");
    life.spec("c", &json!({"schedulable": false}));
    life.pass(20);
    assert_eq!(life.counts().get("c"), None);
    life.spec("c", &json!({}));
    life.spec("b", &json!({"schedulable": false}));
    life.pass(30);
    let counts = life.counts();
    assert_eq!(counts["c"], 5, "{counts:?}");
}

#[test]
fn buckets_without_a_copy_that_can_be_reached_are_named() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    life.pass(15);
    for node in ["a", "b", "c"] {
        life.die(node);
    }
    let epoch = life.placed().epoch;
    life.pass(30);
    assert_eq!(
        life.placed().epoch,
        epoch,
        "the last copies are never dropped"
    );
    assert_eq!(life.word(READY), "False BucketsUnavailable");
    let (status, _, message) = life.condition(UNAVAILABLE);
    assert_eq!(status, "True");
    assert!(message.contains("bring back a, b, c"), "{message}");
}

#[test]
fn a_leader_that_knows_nothing_yet_changes_nothing() {
    let mut life = Life::new(&["a", "b", "c"], &json!({}));
    life.pass(15);
    let mut leases = crate::leases::Leases::default();
    leases.apply(Event::Init, at(0));
    for node in ["a", "b", "c"] {
        leases.apply(Event::InitApply(lease(node, "agent", 1)), at(0));
    }
    leases.apply(Event::InitDone, at(0));
    life.scene.world.leases = leases;
    assert_eq!(life.decide(), []);
}

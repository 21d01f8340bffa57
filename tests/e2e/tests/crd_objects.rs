//! Good objects are accepted, get their defaults, and read like a status page in `kubectl get`;
//! `kubectl explain` says what each field is.
// Helpers of tests fail the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use anyhow::Result;
use moraine_crds::schema;
use moraine_e2e::{Case, install_definitions, kubectl, require, samples, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

fn put_status(object: &Value, status: &Value) -> Result<()> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    kubectl(["patch", "--type=merge", "--subresource=status"])
        .arg(format!("{kind}.v1alpha1.moraine.io"))
        .arg(name)
        .arg(format!("--patch={}", json!({"status": status})))
        .run()?;
    Ok(())
}

/// The columns of the table that kubectl shows for one object: names and cells.
fn table(resource: &str, name: &str, wide: bool) -> Result<(Vec<String>, Vec<String>)> {
    let output = if wide { "wide" } else { "" };
    let text = kubectl(["get", resource, name, "-o", output]).run()?;
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let row = lines.next().unwrap_or_default();
    require(!row.is_empty(), || {
        format!("nothing is shown for {resource} {name}")
    })?;
    // A cell begins where its heading does, and may hold spaces.
    let mut starts: Vec<usize> = Vec::new();
    for (place, _) in head.match_indices(|c: char| c != ' ') {
        if place == 0
            || head
                .get(..place)
                .is_some_and(|before| before.ends_with("  "))
        {
            starts.push(place);
        }
    }
    let cut = |line: &str| -> Vec<String> {
        let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
        starts
            .iter()
            .zip(ends)
            .map(|(&start, end)| {
                line.chars()
                    .skip(start)
                    .take(end - start)
                    .collect::<String>()
            })
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    Ok((cut(head), cut(row)))
}

/// Puts the status until the table shows it: an operator that runs may say something else of a pool
/// that has no nodes.
fn shows(object: &Value, status: &Value, resource: &str, expected: &[(&str, &str)]) {
    let name = object["metadata"]["name"].as_str().unwrap();
    let wide = true;
    wait_for(
        "the table to show the status",
        Duration::from_mins(1),
        || {
            put_status(object, status)?;
            let (head, row) = table(resource, name, wide)?;
            let shown: Vec<(&str, &str)> = head
                .iter()
                .zip(&row)
                .map(|(h, r)| (h.as_str(), r.as_str()))
                .collect();
            for cell in expected {
                require(shown.contains(cell), || {
                    format!("{cell:?} isn't shown: {shown:?}")
                })?;
            }
            Ok(())
        },
    )
    .unwrap();
}

fn ready(reason: &str, message: &str) -> Value {
    json!([{
        "type": "Ready", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }])
}

#[test]
fn a_pool_with_nothing_but_devices_gets_all_defaults() {
    install_definitions().unwrap();
    let case = Case::new("crd_pool_defaults");
    let mut pool = samples::storage_pool(&case);
    // What is not a person's to write is left out, as is a null.
    pool["status"] = json!({"epoch": 7});
    pool["spec"]["devices"]["paths"] = Value::Null;
    let made = case.create(&pool).unwrap();
    assert_eq!(
        made["spec"],
        json!({
            "nodeSelector": {"moraine.io/e2e": "no-such-node"},
            "devices": {"file": {"size": "10Gi"}, "wipe": false},
            "replicas": 3,
            "failureDomain": "kubernetes.io/hostname",
            "buckets": 1024,
            "rebalance": {"mode": "Auto", "maxConcurrentMoves": 8, "bandwidthPerNode": "100Mi"},
            "recovery": {"downOutInterval": "10m", "maxConcurrentBuckets": 32, "bandwidthPerNode": "400Mi"},
            "fullRatios": {"nearFullPercent": 80, "fullPercent": 92},
            "deletionPolicy": "Retain",
        })
    );
    assert!(
        made["status"]["epoch"].is_null(),
        "the status can be written at creation"
    );
    let read: moraine_crds::StoragePool = serde_json::from_value(made).unwrap();
    assert_eq!(
        read.spec.recovery.down_out_interval.duration(),
        Ok(Duration::from_mins(10))
    );
    assert_eq!(read.spec.devices.file.unwrap().size.bytes(), Ok(10 << 30));
}

#[test]
fn what_may_change_can_be_changed() {
    install_definitions().unwrap();
    let case = Case::new("crd_changes");
    let pool = case.create(&samples::storage_pool(&case)).unwrap();
    let volume = case.create(&samples::volume(&case)).unwrap();
    let patch = |object: &Value, spec: Value| {
        kubectl(["patch", "--type=merge"])
            .arg(format!(
                "{}.v1alpha1.moraine.io",
                object["kind"].as_str().unwrap()
            ))
            .arg(object["metadata"]["name"].as_str().unwrap())
            .arg(format!("--patch={}", json!({"spec": spec})))
            .json()
            .unwrap()
    };
    let grown = patch(
        &pool,
        json!({
            "replicas": 2,
            "failureDomain": "topology.kubernetes.io/zone",
            "devices": {"file": {"size": "20Gi"}},
            "rebalance": {"mode": "Manual", "approvedPlan": "p1"},
        }),
    );
    assert_eq!(grown["spec"]["devices"]["file"]["size"], "20Gi");
    let grown = patch(
        &volume,
        json!({"sizeBytes": 20_u64 << 30, "cut": 5, "replicas": 2}),
    );
    assert_eq!(grown["spec"]["cut"], 5);
}

#[test]
fn a_pool_reads_like_a_status_page() {
    install_definitions().unwrap();
    let case = Case::new("crd_pool_columns");
    let pool = case.create(&samples::storage_pool(&case)).unwrap();
    let status = json!({
        "epoch": 12,
        "buckets": {"total": 1024, "healthy": 1020, "degraded": 4, "unavailable": 0, "moving": 2},
        "summary": {
            "nodes": "2/3", "disks": "5/6", "buckets": "1020/1024", "capacity": "30.0Gi",
            "used": "1.2Gi (4%)", "atRisk": "812Mi",
        },
        "conditions": ready("SomeBucketsDegraded", "node n3 is away since 10:02"),
    });
    shows(
        &pool,
        &status,
        "storagepools",
        &[
            ("READY", "True"),
            ("STATUS", "SomeBucketsDegraded"),
            ("NODES", "2/3"),
            ("DISKS", "5/6"),
            ("REPLICAS", "3"),
            ("HEALTHY", "1020/1024"),
            ("MOVING", "2"),
            ("CAPACITY", "30.0Gi"),
            ("USED", "1.2Gi (4%)"),
            ("AT-RISK", "812Mi"),
            ("EPOCH", "12"),
            ("MESSAGE", "node n3 is away since 10:02"),
        ],
    );
    let (head, _) = table("mpool", pool["metadata"]["name"].as_str().unwrap(), false).unwrap();
    let expected = [
        "NAME", "READY", "STATUS", "NODES", "DISKS", "REPLICAS", "HEALTHY", "MOVING", "CAPACITY",
        "USED", "AGE",
    ];
    assert_eq!(head, expected);
}

#[test]
fn a_node_reads_like_a_status_page() {
    install_definitions().unwrap();
    let case = Case::new("crd_node_columns");
    let node = case.create(&samples::storage_node(&case)).unwrap();
    assert_eq!(node["spec"], json!({"schedulable": true, "evict": false}));
    let status = json!({
        "addresses": ["10.0.0.11:7420", "[fd00::11]:7420"],
        "bootId": "b1",
        "version": "0.1.0",
        "disks": [{
            "id": case.id(1), "pool": "p", "path": "/dev/sdb", "shards": 1, "epoch": 12, "sizeBytes": 10_u64 << 30,
            "usedBytes": 0, "health": "Healthy",
            "reports": [{"bucket": 4, "epoch": 12, "answer": "Accepted"}],
        }],
        "unusedDevices": [{
            "path": "/dev/sdc", "pool": "p", "sizeBytes": 1, "reason": "HasFileSystem",
            "message": "it holds an ext4 file system; set devices.wipe to format it",
        }],
        "suspects": [{"node": "n2", "since": "2026-01-01T00:00:00.5Z", "message": "connection refused"}],
        "volumes": [{
            "volume": "v", "generation": 1, "state": "Serving", "cutReached": 0, "sizeBytes": 4096,
            "frontend": "FuseLoop", "frontendReason": "the kernel has no ublk",
        }],
        "summary": {"disks": "1/1", "capacity": "10.0Gi", "used": "0 (0%)", "unusedDevices": "1"},
        "conditions": ready("Serving", "all disks serve"),
    });
    shows(
        &node,
        &status,
        "storagenodes",
        &[
            ("READY", "True"),
            ("STATUS", "Serving"),
            ("SCHEDULABLE", "true"),
            ("EVICT", "false"),
            ("DISKS", "1/1"),
            ("CAPACITY", "10.0Gi"),
            ("USED", "0 (0%)"),
            ("UNUSED", "1"),
            ("VERSION", "0.1.0"),
            ("MESSAGE", "all disks serve"),
        ],
    );
    let name = node["metadata"]["name"].as_str().unwrap();
    let read = kubectl(["get", "mnode", name]).json().unwrap();
    let read: moraine_crds::StorageNode = serde_json::from_value(read).unwrap();
    let told = serde_json::to_value(read.status.unwrap()).unwrap();
    assert_eq!(
        told["disks"], status["disks"],
        "what Rust reads and writes is what was written"
    );
    assert_eq!(told["volumes"], status["volumes"]);
}

#[test]
fn a_map_reads_like_a_status_page() {
    install_definitions().unwrap();
    let case = Case::new("crd_map_columns");
    let map = case.create(&samples::bucket_map(&case)).unwrap();
    let status = json!({
        "epoch": 9, "healthy": 1, "degraded": 1, "moving": 1,
        "changedAt": "2026-01-01T00:00:00Z",
        "disks": [
            {"node": "n1", "id": case.id(1), "shards": 1, "addresses": ["10.0.0.1:7420"]},
            {"node": "n2", "id": case.id(2), "shards": 2},
        ],
        "buckets": [
            {"epoch": 1, "inSync": [0, 1], "since": [1, 1]},
            {"epoch": 9, "inSync": [0], "syncing": [1], "since": [1, 9], "away": [2],
             "move": {"to": 1, "step": "Copying", "since": 9}},
        ],
    });
    shows(
        &map,
        &status,
        "bucketmaps",
        &[
            ("EPOCH", "9"),
            ("BUCKETS", "2"),
            ("HEALTHY", "1"),
            ("DEGRADED", "1"),
            ("MOVING", "1"),
        ],
    );
}

#[test]
fn a_volume_reads_like_a_status_page() {
    install_definitions().unwrap();
    let case = Case::new("crd_volume_columns");
    let volume = case.create(&samples::volume(&case)).unwrap();
    let node = case.name("node");
    let status = json!({
        "attachment": {"generation": 3, "node": node, "since": "2026-01-01T00:00:00Z", "clean": false},
        "cutReached": 4,
        "health": "Healthy",
        "sizeBytes": 10_u64 << 30,
        "device": {"frontend": "FuseLoop", "reason": "the kernel has no ublk"},
        "summary": {"size": "10.0Gi", "used": "1.0Gi (10%)"},
        "conditions": ready("Attachable", ""),
    });
    shows(
        &volume,
        &status,
        "volumes.moraine.io",
        &[
            ("HEALTH", "Healthy"),
            ("POOL", volume["spec"]["pool"].as_str().unwrap()),
            ("SIZE", "10.0Gi"),
            ("USED", "1.0Gi (10%)"),
            ("ATTACHED-TO", &node),
            ("CLAIM", "default/data-0"),
            ("GENERATION", "3"),
            ("CUT", "4"),
            ("FRONTEND", "FuseLoop"),
        ],
    );
    let by_node = format!("--field-selector=status.attachment.node={node}");
    let found = kubectl(["get", "mvol", "-o", "name", &by_node])
        .run()
        .unwrap();
    assert_eq!(
        found.trim(),
        format!("volume.moraine.io/{}", case.name("volume"))
    );
}

#[test]
fn a_snapshot_reads_like_a_status_page() {
    install_definitions().unwrap();
    let case = Case::new("crd_snapshot_columns");
    let snapshot = case.create(&samples::snapshot(&case)).unwrap();
    let status = json!({
        "ready": true, "takenAt": "2026-01-01T00:00:00Z", "summary": {"size": "10.0Gi"},
        "conditions": ready("CutReached", ""),
    });
    shows(
        &snapshot,
        &status,
        "snapshots.moraine.io",
        &[
            ("READY", "true"),
            ("VOLUME", snapshot["spec"]["volume"].as_str().unwrap()),
            ("SIZE", "10.0Gi"),
            ("CUT", "3"),
        ],
    );
    let of_volume = format!("--field-selector=spec.volume={}", case.name("volume"));
    let found = kubectl(["get", "msnap", "-o", "name", &of_volume])
        .run()
        .unwrap();
    assert_eq!(
        found.trim(),
        format!("snapshot.moraine.io/{}", case.name("snapshot"))
    );
}

#[test]
fn explain_says_what_each_field_is() {
    install_definitions().unwrap();
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for definition in schema::definitions() {
        let plural = definition["spec"]["names"]["plural"].as_str().unwrap();
        for part in ["", ".spec", ".status"] {
            let what = format!("{plural}{part}");
            // The server may take a moment to publish new definitions.
            wait_for(
                &format!("an explanation of {what}"),
                Duration::from_mins(1),
                || {
                    let told = kubectl([
                        "explain",
                        "--recursive=false",
                        "--api-version=moraine.io/v1alpha1",
                    ])
                    .arg(&what)
                    .run()?;
                    let told = squeeze(&told);
                    let depth = part.split('.').count();
                    for field in schema::fields(&definition) {
                        let path = format!(".{}", field.path);
                        let is_child = path.starts_with(&format!("{part}."))
                            && path.split('.').count() == depth + 1;
                        if !is_child || field.path.is_empty() || field.path.contains(['[', '{']) {
                            continue;
                        }
                        let said =
                            squeeze(field.schema["description"].as_str().unwrap_or_default());
                        require(told.contains(&said), || {
                            format!("{path} isn't explained by {said:?}: {told}")
                        })?;
                    }
                    Ok(())
                },
            )
            .unwrap();
        }
    }
}

#[test]
fn all_kinds_are_found_by_one_word() {
    install_definitions().unwrap();
    let case = Case::new("crd_category");
    let all = [
        samples::storage_pool(&case),
        samples::storage_node(&case),
        samples::bucket_map(&case),
        samples::volume(&case),
        samples::snapshot(&case),
    ];
    for object in &all {
        case.create(object).unwrap();
    }
    wait_for("the category to be known", Duration::from_mins(1), || {
        let found = kubectl(["get", "moraine", "-o", "name"]).run()?;
        for object in &all {
            let name = format!(
                "/{}",
                object["metadata"]["name"].as_str().unwrap_or_default()
            );
            require(found.lines().any(|line| line.ends_with(&name)), || {
                format!("{name} isn't in {found}")
            })?;
        }
        Ok(())
    })
    .unwrap();
}

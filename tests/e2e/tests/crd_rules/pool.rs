//! Bad storage pools.

use crate::{Request, Row};
use serde_json::{Value, json};

/// Fields that turn the good pool, which is on files, into one on disks.
fn on_disks() -> Value {
    json!({"devices": {"file": null, "paths": ["/dev/disk/by-id/nvme-*"]}})
}

pub(crate) fn rows() -> Vec<Row> {
    [
        limits(),
        devices(),
        paths(),
        files(),
        cross_fields(),
        status(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn limits() -> Vec<Row> {
    vec![
        Row::create(
            "no replica",
            &json!({"replicas": 0}),
            "spec.replicas in body should be greater than or equal to 1",
        ),
        Row::create(
            "six replicas",
            &json!({"replicas": 6}),
            "spec.replicas in body should be less than or equal to 5",
        ),
        Row::create(
            "no bucket",
            &json!({"buckets": 0}),
            "spec.buckets in body should be greater than or equal to 1",
        ),
        Row::create(
            "too many buckets",
            &json!({"buckets": 4097}),
            "spec.buckets in body should be less than or equal to 4096",
        ),
        Row::create(
            "no devices",
            &json!({"devices": null}),
            "spec.devices: Required value",
        ),
        Row::create(
            "a failure domain that is no label",
            &json!({"failureDomain": "a b"}),
            "spec.failureDomain in body should match",
        ),
        Row::create(
            "an unknown mode",
            &json!({"rebalance": {"mode": "Sometimes"}}),
            "supported values: \"Auto\", \"Manual\", \"Paused\"",
        ),
        Row::create(
            "no move at all",
            &json!({"rebalance": {"maxConcurrentMoves": 0}}),
            "should be greater than or equal to 1",
        ),
        Row::create(
            "a time without unit",
            &json!({"recovery": {"downOutInterval": "600"}}),
            "spec.recovery.downOutInterval in body should match",
        ),
        Row::create(
            "a ratio above 100",
            &json!({"fullRatios": {"fullPercent": 101}}),
            "should be less than or equal to 99",
        ),
        Row::create(
            "an unknown field",
            &json!({"replica": 2}),
            "unknown field \"spec.replica\"",
        ),
        Row::new(
            "a long name",
            Request::Create(json!({"metadata": {"name": "n".repeat(64)}})),
            "a StoragePool's name may have at most 63 characters, because it becomes a label value: choose a shorter one",
        ),
    ]
}

fn devices() -> Vec<Row> {
    let one_of = "set exactly one of devices.paths (disks of the nodes) and devices.file (a file on each node, for trials)";
    let wipe = "devices.wipe is about disks and can't be set with devices.file: leave it out";
    let kind = "a pool can't change between devices.paths and devices.file: make a second pool and move the volumes";
    vec![
        Row::create(
            "neither paths nor file",
            &json!({"devices": {"file": null}}),
            one_of,
        ),
        Row::create(
            "both paths and file",
            &json!({"devices": {"paths": ["/dev/sdb"]}}),
            one_of,
        ),
        Row::create(
            "wipe with a file",
            &json!({"devices": {"wipe": true}}),
            wipe,
        ),
        Row::update("a file that becomes disks", on_disks(), kind),
        Row::update(
            "disks that become a file",
            json!({"devices": {"paths": null, "file": {"size": "1Gi"}}}),
            kind,
        )
        .on(on_disks()),
    ]
}

fn paths() -> Vec<Row> {
    let path = "each of devices.paths must start with /dev/ and hold no '..': write for example /dev/disk/by-id/nvme-*";
    vec![
        Row::create(
            "a path elsewhere",
            &json!({"devices": {"paths": ["/tmp/disk"]}}),
            path,
        )
        .on(on_disks()),
        Row::create(
            "a path that climbs",
            &json!({"devices": {"paths": ["/dev/../etc"]}}),
            path,
        )
        .on(on_disks()),
        Row::create(
            "no path in paths",
            &json!({"devices": {"paths": []}}),
            "should have at least 1 items",
        )
        .on(on_disks()),
        Row::create(
            "a path twice",
            &json!({"devices": {"paths": ["/dev/sdb", "/dev/sdb"]}}),
            "Duplicate value",
        )
        .on(on_disks()),
    ]
}

fn files() -> Vec<Row> {
    let size = "devices.file.size must be from 1Gi to 16Ti";
    vec![
        Row::create(
            "a tiny file",
            &json!({"devices": {"file": {"size": "1023Mi"}}}),
            size,
        ),
        Row::create(
            "a huge file",
            &json!({"devices": {"file": {"size": "65Ti"}}}),
            size,
        ),
        Row::create(
            "a size that is none",
            &json!({"devices": {"file": {"size": "10GB"}}}),
            "spec.devices.file.size in body should match",
        ),
        Row::update(
            "a file that shrinks",
            json!({"devices": {"file": {"size": "9.9Gi"}}}),
            "devices.file.size can't shrink: to use less, make a second pool and move the volumes",
        ),
    ]
}

fn cross_fields() -> Vec<Row> {
    vec![
        Row::update(
            "another number of buckets",
            json!({"buckets": 2048}),
            "buckets is fixed when the pool is made, because blocks are found by it: make a second pool with the number you want and move the volumes",
        ),
        Row::create(
            "nearly full above full",
            &json!({"fullRatios": {"nearFullPercent": 92}}),
            "fullRatios.nearFullPercent must be below fullRatios.fullPercent: the warning has to come first",
        ),
        Row::create(
            "moves that crawl",
            &json!({"rebalance": {"bandwidthPerNode": "1M"}}),
            "rebalance.bandwidthPerNode must be at least 1Mi (bytes per second): to stop moves, set rebalance.mode to Paused",
        ),
        Row::create(
            "recovery that crawls",
            &json!({"recovery": {"bandwidthPerNode": "0"}}),
            "recovery.bandwidthPerNode must be at least 1Mi (bytes per second): less would leave data at risk for ever",
        ),
        Row::create(
            "replaced too soon",
            &json!({"recovery": {"downOutInterval": "29s"}}),
            "recovery.downOutInterval must be from 30s to 168h",
        ),
        Row::create(
            "replaced never",
            &json!({"recovery": {"downOutInterval": "169h"}}),
            "recovery.downOutInterval must be from 30s to 168h",
        ),
    ]
}

fn status() -> Vec<Row> {
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "AllBucketsHealthy", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let mut odd = condition.clone();
    odd["status"] = "Yes".into();
    vec![
        Row::new(
            "a condition twice",
            Request::Status(json!({"conditions": [condition, condition]})),
            "Duplicate value",
        ),
        Row::new(
            "a condition that is neither true nor false",
            Request::Status(json!({"conditions": [odd]})),
            "supported values: \"True\", \"False\", \"Unknown\"",
        ),
    ]
}

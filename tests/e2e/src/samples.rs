//! One good object of each kind. None of them asks anything of the programs that may be running: the
//! pools select no node.

use crate::Case;
use serde_json::{Value, json};

/// A pool on files of nodes that don't exist.
pub fn storage_pool(case: &Case) -> Value {
    object(
        "StoragePool",
        &case.name("pool"),
        &json!({
            "nodeSelector": {"moraine.io/e2e": "no-such-node"},
            "devices": {"file": {"size": "10Gi"}},
        }),
    )
}

/// A node that doesn't exist.
pub fn storage_node(case: &Case) -> Value {
    object("StorageNode", &case.name("node"), &json!({}))
}

/// The map of a pool that doesn't exist.
pub fn bucket_map(case: &Case) -> Value {
    let name = case.name("map");
    object(
        "BucketMap",
        &name,
        &json!({"pool": name, "poolId": case.id(1), "buckets": 2}),
    )
}

/// An empty volume of a pool that doesn't exist.
pub fn volume(case: &Case) -> Value {
    object(
        "Volume",
        &case.name("volume"),
        &json!({
            "pool": case.name("pool"),
            "id": case.id(2),
            "placementKey": case.id(2),
            "sizeBytes": 10_u64 << 30,
            "cut": 4,
            "claim": "default/data-0",
            "parameters": {"fsType": "ext4", "mkfsOptions": ["-m0"]},
        }),
    )
}

/// A snapshot of a volume that doesn't exist.
pub fn snapshot(case: &Case) -> Value {
    object(
        "Snapshot",
        &case.name("snapshot"),
        &json!({
            "pool": case.name("pool"),
            "volume": case.name("volume"),
            "volumeId": case.id(2),
            "placementKey": case.id(2),
            "cut": 3,
            "sizeBytes": 10_u64 << 30,
        }),
    )
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "moraine.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    })
}

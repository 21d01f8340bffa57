//! Bad storage nodes. The kind has no rules of its own yet, only limits.

use crate::{Request, Row};
use serde_json::json;

pub(crate) fn rows() -> Vec<Row> {
    let id = "0123456789abcdef0123456789abcdef";
    let disk = json!({
        "id": id, "pool": "p", "path": "/dev/sdb", "shards": 1, "epoch": 0, "sizeBytes": 1, "usedBytes": 0, "health": "Healthy",
    });
    let mut worn = disk.clone();
    worn["health"] = "Tired".into();
    vec![
        Row::create(
            "an order for a disk without id",
            &json!({"disks": [{"evict": true}]}),
            "spec.disks[0].id: Required value",
        ),
        Row::create(
            "an order for no disk's id",
            &json!({"disks": [{"id": "sdb"}]}),
            "spec.disks[0].id in body should be at least 32 chars long",
        ),
        Row::create(
            "two orders for a disk",
            &json!({"disks": [{"id": id}, {"id": id}]}),
            "Duplicate value",
        ),
        Row::new(
            "a disk twice",
            Request::Status(json!({"disks": [disk, disk]})),
            "Duplicate value",
        ),
        Row::new(
            "a health that is none",
            Request::Status(json!({"disks": [worn]})),
            "supported values: \"Healthy\", \"Failing\", \"Failed\", \"Missing\"",
        ),
        Row::new(
            "an address without port",
            Request::Status(json!({"addresses": ["10.0.0.1"]})),
            "status.addresses[0]: Invalid value: \"10.0.0.1\"",
        ),
        Row::new(
            "an engine's volume without generation",
            Request::Status(
                json!({"volumes": [{"volume": "v", "generation": 0, "state": "Serving", "cutReached": 0, "sizeBytes": 0}]}),
            ),
            "should be greater than or equal to 1",
        ),
    ]
}

//! Bad bucket maps.

use crate::{Request, Row};
use serde_json::{Value, json};

fn status(epoch: u64) -> Value {
    json!({
        "epoch": epoch, "healthy": 2, "degraded": 0, "moving": 0,
        "disks": [{"node": "n1", "id": "0123456789abcdef0123456789abcdef", "shards": 1}],
        "buckets": [{"epoch": 1, "inSync": [0], "since": [1]}, {"epoch": 1, "inSync": [0], "since": [1]}],
    })
}

pub(crate) fn rows() -> Vec<Row> {
    let fixed = "the spec of a BucketMap is fixed, because the disks depend on it: change the StoragePool instead";
    let one_each = "status.buckets must have one entry for each of spec.buckets: only the operator should write it";
    let mut empty = status(1);
    empty["buckets"][1]["inSync"] = json!([]);
    let mut short = status(1);
    short["buckets"] = json!([{"epoch": 1, "inSync": [0], "since": [1]}]);
    vec![
        Row::create(
            "another name than the pool's",
            &json!({"pool": "other"}),
            "a BucketMap has the name of its pool: the operator makes it; create a StoragePool instead",
        ),
        Row::update("another number of buckets", json!({"buckets": 3}), fixed),
        Row::update("another pool id", json!({"poolId": "f".repeat(32)}), fixed),
        Row::new(
            "a bucket without replica in sync",
            Request::Status(empty),
            "should have at least 1 items",
        ),
        Row::new("too few buckets", Request::Status(short), one_each),
        Row::new(
            "an epoch that goes back",
            Request::StatusFrom(status(7), status(6)),
            "the epoch never goes back: an older operator is writing; it must stop",
        ),
    ]
}

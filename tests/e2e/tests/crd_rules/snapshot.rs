//! Bad snapshots.

use crate::{Request, Row};
use serde_json::json;

pub(crate) fn rows() -> Vec<Row> {
    let fixed = "a Snapshot can't be changed: take a new one";
    vec![
        Row::new(
            "a long name",
            Request::Create(json!({"metadata": {"name": "n".repeat(64)}})),
            "a Snapshot's name may have at most 63 characters, because it becomes a label value: choose a shorter one",
        ),
        Row::create(
            "no volume",
            &json!({"volume": null}),
            "spec.volume: Required value",
        ),
        Row::update("another volume", json!({"volume": "other"}), fixed),
        Row::update("another cut", json!({"cut": 4}), fixed),
        Row::new(
            "no longer ready",
            Request::StatusFrom(json!({"ready": true}), json!({"ready": false})),
            "a snapshot that is ready stays ready: delete it if it isn't wanted",
        ),
    ]
}

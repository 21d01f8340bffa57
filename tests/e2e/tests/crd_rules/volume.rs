//! Bad volumes.

use crate::{Request, Row};
use serde_json::{Value, json};

const OTHER: &str = "ffffffffffffffffffffffffffffffff";

pub(crate) fn rows() -> Vec<Row> {
    [limits(), fixed(), sources(), attachments()]
        .into_iter()
        .flatten()
        .collect()
}

fn limits() -> Vec<Row> {
    vec![
        Row::new(
            "a long name",
            Request::Create(json!({"metadata": {"name": "n".repeat(64)}})),
            "a Volume's name may have at most 63 characters, because it becomes a label value: choose a shorter one",
        ),
        Row::create(
            "half a block",
            &json!({"sizeBytes": 10_241}),
            "sizeBytes must be a multiple of 4096: round it up",
        ),
        Row::create(
            "no block",
            &json!({"sizeBytes": 0}),
            "should be greater than or equal to 4096",
        ),
        Row::create(
            "too many blocks",
            &json!({"sizeBytes": (64_u64 << 40) + 4096}),
            "should be less than or equal to 70368744177664",
        ),
        Row::create(
            "six replicas",
            &json!({"replicas": 6}),
            "should be less than or equal to 5",
        ),
        Row::create("an id that is none", &json!({"id": "1"}), "spec.id"),
        Row::create(
            "an unknown file system",
            &json!({"parameters": {"fsType": "ntfs"}}),
            "supported values: \"ext4\", \"xfs\", \"btrfs\"",
        ),
        Row::create(
            "options for no file system",
            &json!({"parameters": {"fsType": null}}),
            "parameters.mkfsOptions needs parameters.fsType: name the file system too",
        ),
    ]
}

fn fixed() -> Vec<Row> {
    vec![
        Row::update(
            "another pool",
            json!({"pool": "other"}),
            "pool is fixed when the volume is made: make a volume in the other pool and copy the data",
        ),
        Row::update(
            "another id",
            json!({"id": OTHER}),
            "id is fixed when the volume is made, because its blocks are found by it",
        ),
        Row::update(
            "another placement key",
            json!({"placementKey": OTHER}),
            "placementKey is fixed when the volume is made, because its blocks are found by it",
        ),
        Row::update(
            "a smaller size",
            json!({"sizeBytes": 4096}),
            "a volume can't shrink: make a smaller one and copy the data",
        ),
        Row::update(
            "an older cut",
            json!({"cut": 3}),
            "the cut never goes back, because older snapshots depend on it",
        ),
        Row::update(
            "read-only from now on",
            json!({"readOnly": true}),
            "readOnly is fixed when the volume is made: make a new volume from a snapshot of this one",
        ),
        Row::update(
            "another file system",
            json!({"parameters": {"fsType": "xfs"}}),
            "parameters.fsType is fixed when the volume is made, since the file system is made once: make a new volume and copy the files",
        ),
    ]
}

fn from_snapshot() -> Value {
    json!({"source": {"snapshot": "s", "parentId": OTHER, "parentCut": 3}})
}

fn sources() -> Vec<Row> {
    let one_of = "set exactly one of source.snapshot and source.volume";
    let fixed = "source is fixed when the volume is made: make a new volume from the other source";
    vec![
        Row::create("two sources", &json!({"source": {"volume": "v"}}), one_of).on(from_snapshot()),
        Row::create(
            "no source in source",
            &json!({"source": {"snapshot": null}}),
            one_of,
        )
        .on(from_snapshot()),
        Row::create(
            "an ancestor's placement key without a source",
            &json!({"placementKey": OTHER}),
            "placementKey must equal id unless the volume has a source",
        ),
        Row::update("a source from now on", from_snapshot(), fixed),
        Row::update("no source any more", json!({"source": null}), fixed).on(from_snapshot()),
        Row::update("another source", json!({"source": {"parentCut": 4}}), fixed)
            .on(from_snapshot()),
    ]
}

fn attachments() -> Vec<Row> {
    let attached = |generation: u32, node: Option<&str>| {
        let since = "2026-01-01T00:00:00Z";
        json!({"attachment": {"generation": generation, "node": node, "since": since, "clean": false}})
    };
    let raise = "attaching to a node must raise status.attachment.generation, so that the former user is fenced";
    vec![
        Row::new(
            "attached without generation",
            Request::Status(attached(0, Some("n1"))),
            "should be greater than or equal to 1",
        ),
        Row::new(
            "moved without a new generation",
            Request::StatusFrom(attached(5, Some("n1")), attached(5, Some("n2"))),
            raise,
        ),
        Row::new(
            "attached again without a new generation",
            Request::StatusFrom(attached(5, None), attached(5, Some("n1"))),
            raise,
        ),
        Row::new(
            "an older generation",
            Request::StatusFrom(attached(5, Some("n1")), attached(4, Some("n1"))),
            "status.attachment.generation never goes back, because it fences former users",
        ),
        Row::new(
            "an attachment forgotten",
            Request::StatusFrom(attached(5, None), json!({"attachment": null})),
            "status.attachment can't be removed, because its generation fences former users: remove status.attachment.node instead",
        ),
    ]
}

//! Every rule of the custom resources refuses what it is there to refuse, with its own message.
//!
//! Each kind has a table of bad objects. A row is a patch of a good object or of its status; the real
//! API server must refuse it with the words given. Another test holds the tables against the schemas:
//! a rule without a row fails it.
// Helpers of tests fail the test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bucket_map;
mod pool;
mod snapshot;
mod storage_node;
mod volume;

use moraine_crds::schema;
use moraine_e2e::{Case, Outcome, install_definitions, kubectl};
use serde_json::{Value, json};

/// One bad object.
struct Row {
    /// What is wrong with it, for whoever reads a failure.
    what: &'static str,
    /// Merged into the good object's spec before all else.
    base: Value,
    /// The request that is to be refused.
    request: Request,
    /// Words of the refusal: for a rule, its message.
    refusal: &'static str,
}

enum Request {
    /// Making the object with this merged into it.
    Create(Value),
    /// Making the good object, then merging this into its spec.
    Update(Value),
    /// Making the good object, then merging this into its status.
    Status(Value),
    /// As `Status`, when the status already is the first of the two.
    StatusFrom(Value, Value),
}

impl Row {
    fn create(what: &'static str, spec: &Value, refusal: &'static str) -> Self {
        Self::new(what, Request::Create(json!({ "spec": spec })), refusal)
    }

    fn update(what: &'static str, spec: Value, refusal: &'static str) -> Self {
        Self::new(what, Request::Update(spec), refusal)
    }

    fn new(what: &'static str, request: Request, refusal: &'static str) -> Self {
        Self {
            what,
            base: json!({}),
            request,
            refusal,
        }
    }

    fn on(mut self, base: Value) -> Self {
        self.base = base;
        self
    }
}

/// As `kubectl patch --type merge` does it.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(fields) = target.as_object_mut() {
                fields.remove(key);
            }
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}

/// Runs a table. All rows are tried before it fails, so that one run shows everything.
fn refuse_all(test: &'static str, good: fn(&Case) -> Value, rows: Vec<Row>) {
    install_definitions().unwrap();
    let mut accepted = Vec::new();
    for row in rows {
        let case = Case::new(test);
        let outcome = try_row(&case, good(&case), &row);
        if outcome.succeeded || !outcome.stderr.contains(row.refusal) {
            accepted.push(format!(
                "{}: expected {:?}, got {}{}",
                row.what, row.refusal, outcome.stdout, outcome.stderr
            ));
        }
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
}

fn try_row(case: &Case, mut object: Value, row: &Row) -> Outcome {
    merge(&mut object["spec"], &row.base);
    if let Request::Create(patch) = &row.request {
        merge(&mut object, patch);
        return kubectl(["create", "--dry-run=server", "-f", "-"])
            .input(object.to_string())
            .outcome()
            .unwrap();
    }
    let made = case.create(&object).unwrap();
    let patch = |fields: &Value, options: [&str; 2]| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        kubectl(["patch", "--type=merge"])
            .arg(format!("{}.v1alpha1.moraine.io", text(&made["kind"])))
            .arg(text(&made["metadata"]["name"]))
            .arg(format!("--patch={fields}"))
            .arg(options[0])
            .arg(options[1])
    };
    let trial = "--dry-run=server";
    match &row.request {
        Request::Create(_) => unreachable!("made above"),
        Request::Update(spec) => patch(&json!({"spec": spec}), [trial, "--output=name"]),
        Request::Status(status) => {
            patch(&json!({"status": status}), [trial, "--subresource=status"])
        }
        Request::StatusFrom(first, then) => {
            let real = "--dry-run=none";
            patch(&json!({"status": first}), [real, "--subresource=status"])
                .run()
                .unwrap();
            patch(&json!({"status": then}), [trial, "--subresource=status"])
        }
    }
    .outcome()
    .unwrap()
}

#[test]
fn pools() {
    refuse_all(
        "crd_rules_pools",
        moraine_e2e::samples::storage_pool,
        pool::rows(),
    );
}

#[test]
fn storage_nodes() {
    refuse_all(
        "crd_rules_nodes",
        moraine_e2e::samples::storage_node,
        storage_node::rows(),
    );
}

#[test]
fn bucket_maps() {
    refuse_all(
        "crd_rules_maps",
        moraine_e2e::samples::bucket_map,
        bucket_map::rows(),
    );
}

#[test]
fn volumes() {
    refuse_all(
        "crd_rules_volumes",
        moraine_e2e::samples::volume,
        volume::rows(),
    );
}

#[test]
fn snapshots() {
    refuse_all(
        "crd_rules_snapshots",
        moraine_e2e::samples::snapshot,
        snapshot::rows(),
    );
}

#[test]
fn every_rule_has_a_row() {
    let tables = [
        ("StoragePool", pool::rows()),
        ("StorageNode", storage_node::rows()),
        ("BucketMap", bucket_map::rows()),
        ("Volume", volume::rows()),
        ("Snapshot", snapshot::rows()),
    ];
    let mut untried = Vec::new();
    for definition in schema::definitions() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let (_, rows) = tables.iter().find(|(name, _)| *name == kind).unwrap();
        for field in schema::fields(&definition) {
            for (rule, message) in field.rules() {
                if !rows.iter().any(|row| row.refusal == message) {
                    untried.push(format!("{kind}.{}: {rule} ({message})", field.path));
                }
            }
        }
    }
    assert!(
        untried.is_empty(),
        "rules without a row:\n{}",
        untried.join("\n")
    );
}

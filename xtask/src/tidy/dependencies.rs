//! Which crate may know which: the table below is the architecture's, and anything that is not in it is a finding.
//!
//! ```text
//! model   <- protocol, store, placement, methods, crds, node-agent
//! store   <- replica, node-agent     protocol <- engine, replica     placement <- operator, sim
//! engine  <- csi-driver, sim replica  <- node-agent, sim     device    <- csi-driver     methods <- node-agent
//! crds    <- operator, csi-driver, node-agent, e2e           tls       <- engine (its shell), node-agent
//! ```
//!
//! Tests (dev-dependencies, and the crates in `tests/`) may also name what lies below the crates they test, since they
//! make the values that these take; they may not reach upwards, and Kubernetes, gRPC and async stay where they are.

use super::tree::Tree;
use super::{Finding, versions};
use crate::packages::{Dependency, Package};
use std::collections::BTreeSet;

/// Where the table is, for the messages.
const HERE: &str = "xtask/src/tidy/dependencies.rs";

/// What a crate may depend on.
struct Row {
    folder: &'static str,
    ours: &'static [&'static str],
    others: &'static [Family],
}

/// Crates from outside that few of ours may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    Kube,
    Tonic,
    Tokio,
    /// tokio, but only as an optional dependency (the engine's shell) or in tests.
    TokioIfAsked,
}

use Family::{Kube, Tokio, TokioIfAsked, Tonic};

const TABLE: &[Row] = &[
    row("node-agent/model", &[], &[]),
    row("node-agent/protocol", &["node-agent/model"], &[]),
    row(
        "node-agent/protocol/fuzz",
        &["node-agent/protocol", "node-agent/model"],
        &[],
    ),
    row("node-agent/store", &["node-agent/model"], &[]),
    row(
        "node-agent/store/fuzz",
        &["node-agent/store", "node-agent/model"],
        &[],
    ),
    // Below the frames: it knows none of our crates, and both shells know it.
    row("node-agent/tls", &[], &[Tokio]),
    row("node-agent/methods", &["node-agent/model"], &[]),
    row("operator/placement", &["node-agent/model"], &[]),
    row("crds", &["node-agent/model"], &[Kube]),
    row(
        "node-agent/replica",
        &[
            "node-agent/model",
            "node-agent/store",
            "node-agent/protocol",
        ],
        &[],
    ),
    row(
        "node-agent/replica/fuzz",
        &[
            "node-agent/replica",
            "node-agent/model",
            "node-agent/store",
            "node-agent/protocol",
        ],
        &[],
    ),
    row(
        "csi-driver/engine",
        // TLS is its shell's.
        &["node-agent/model", "node-agent/protocol", "node-agent/tls"],
        &[TokioIfAsked],
    ),
    row(
        "csi-driver/engine-bench",
        &[
            "csi-driver/engine",
            "node-agent/model",
            "node-agent/protocol",
        ],
        &[Tokio],
    ),
    row("csi-driver/device", &[], &[]),
    row("csi-driver/codegen", &[], &[]),
    row("operator", &["operator/placement", "crds"], &[Kube, Tokio]),
    row(
        "node-agent",
        // The store and the model for `moraine-agent store`, which looks at a disk without a replica.
        &[
            "node-agent/model",
            "node-agent/store",
            "node-agent/protocol",
            "node-agent/replica",
            "node-agent/methods",
            "node-agent/tls",
            "crds",
        ],
        &[Kube, Tokio],
    ),
    row(
        "csi-driver",
        &["csi-driver/engine", "csi-driver/device", "crds"],
        &[Kube, Tokio, Tonic],
    ),
    row(
        "tests/sim",
        &[
            "operator/placement",
            "csi-driver/engine",
            "node-agent/replica",
        ],
        &[],
    ),
    row(
        "tests/data-plane",
        &["csi-driver/engine-bench", "node-agent/replica"],
        &[Tokio],
    ),
    // A model of the rules, not of the code: it sees none of it.
    row("tests/protocol-model", &[], &[]),
    // The protocol for the map as a file, by which a load outside of the cluster finds its disks.
    row("tests/e2e", &["crds", "node-agent/protocol"], &[]),
    row("xtask", &[], &[]),
];

/// The words of everything else: its identifiers and their forms on disk and wire.
const MODEL: &str = "node-agent/model";
const MODEL_MAY_SEE: &[&str] = &["crc32c", "serde"];

const fn row(
    folder: &'static str,
    ours: &'static [&'static str],
    others: &'static [Family],
) -> Row {
    Row {
        folder,
        ours,
        others,
    }
}

/// Checks every dependency of every crate against the table.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        let Some(row) = TABLE.iter().find(|row| row.folder == package.folder) else {
            let text = format!(
                "{} has no row in {HERE}: add one that says what it may depend on",
                package.name
            );
            findings.push(Finding::new(package.manifest(), 0, text));
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(text) = objection(row, package, dependency) {
                let line = versions::line_of(tree, package.manifest(), &dependency.name);
                findings.push(Finding::new(package.manifest(), line, text));
            }
        }
    }
    findings
}

fn objection(row: &Row, package: &Package, dependency: &Dependency) -> Option<String> {
    let (name, used) = (&package.name, &dependency.name);
    let of_tests = dependency.kind.as_deref() == Some("dev") || row.folder.starts_with("tests/");
    if let Some(folder) = dependency.path.as_deref() {
        let allowed = if of_tests {
            below(row)
        } else {
            row.ours.iter().copied().collect()
        };
        return (!allowed.contains(folder)).then(|| {
            let list: Vec<&str> = allowed.into_iter().collect();
            let list = if list.is_empty() {
                "none of our crates".to_owned()
            } else {
                list.join(", ")
            };
            format!("{name} may not depend on {used}, only on {list}; {HERE} has the table and its reasons")
        });
    }
    let family = family(used);
    if let Some(family) = family
        && !row.others.iter().any(|allowed| {
            let if_asked = *allowed == TokioIfAsked && (dependency.optional || of_tests);
            *allowed == family || (family == Tokio && if_asked)
        })
    {
        let who = users(family);
        return Some(format!("{name} may not see {used}: only {who} may"));
    }
    let normal = dependency.kind.is_none();
    if row.folder == MODEL && normal && !MODEL_MAY_SEE.contains(&used.as_str()) {
        return Some(format!(
            "{name} may depend on serde only, since every other crate carries what it depends on; not on {used}"
        ));
    }
    None
}

/// All that lies below a crate, by way of the table.
fn below(row: &Row) -> BTreeSet<&'static str> {
    let mut found: BTreeSet<&'static str> = BTreeSet::new();
    let mut open: Vec<&'static str> = row.ours.to_vec();
    while let Some(folder) = open.pop() {
        if found.insert(folder) {
            let rows = TABLE.iter().filter(|row| row.folder == folder);
            open.extend(rows.flat_map(|row| row.ours));
        }
    }
    found
}

fn family(name: &str) -> Option<Family> {
    // Generators of code, which xtask runs, are not the thing itself.
    let generator = name.ends_with("-build");
    if name == "kube" || name.starts_with("kube-") || name == "k8s-openapi" {
        Some(Kube)
    } else if name == "tonic" || (name.starts_with("tonic-") && !generator) {
        Some(Tonic)
    } else if name == "tokio" || name.starts_with("tokio-") {
        Some(Tokio)
    } else {
        None
    }
}

fn users(family: Family) -> String {
    let rows = TABLE.iter().filter(|row| row.others.contains(&family));
    let mut who: Vec<&str> = rows.map(|row| row.folder).collect();
    if family == Tokio {
        who.push("csi-driver/engine as an optional dependency");
    }
    who.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(package: Package) -> Vec<String> {
        let mut tree = Tree::of(&[]);
        tree.packages.push(package);
        let found = check(&tree);
        found.into_iter().map(|finding| finding.text).collect()
    }

    fn allowed(folder: &str, kind: &str, name: &str) -> bool {
        findings(Package::of(folder, &[]).with(kind, name)).is_empty()
    }

    #[test]
    fn only_rows_of_the_table_pass() {
        assert!(allowed("node-agent/replica", "", "node-agent/store"));
        assert!(!allowed("node-agent/store", "", "node-agent/replica"));
        assert!(!allowed("node-agent/store", "", "node-agent/protocol"));
        assert!(!allowed("operator", "", "node-agent/store"));
        assert!(!allowed("xtask", "", "crds"));
        assert!(!allowed("operator", "build", "node-agent/model"));
    }

    #[test]
    fn tests_may_look_down_but_not_up() {
        assert!(allowed("node-agent/replica", "dev", "node-agent/model"));
        assert!(allowed("tests/sim", "", "node-agent/model"));
        assert!(!allowed("node-agent/replica", "dev", "csi-driver/engine"));
        assert!(!allowed("tests/e2e", "", "node-agent/store"));
        assert!(!allowed("operator", "dev", "tests/sim"));
    }

    #[test]
    fn few_crates_see_kube_tonic_and_tokio() {
        assert!(allowed("crds", "", "kube") && allowed("operator", "", "k8s-openapi"));
        assert!(
            !allowed("tests/e2e", "", "kube") && !allowed("node-agent/store", "dev", "kube-core")
        );
        assert!(allowed("csi-driver", "", "tonic") && !allowed("node-agent", "", "tonic-prost"));
        assert!(allowed("xtask", "", "tonic-prost-build"));
        assert!(allowed("node-agent", "", "tokio-util") && !allowed("crds", "", "tokio"));
    }

    #[test]
    fn the_engine_has_tokio_only_if_asked() {
        assert!(allowed("csi-driver/engine", "optional", "tokio"));
        assert!(allowed("csi-driver/engine", "dev", "tokio"));
        assert!(!allowed("csi-driver/engine", "", "tokio"));
        assert!(!allowed("node-agent/replica", "optional", "tokio"));
    }

    #[test]
    fn the_model_depends_on_serde_only() {
        assert!(allowed(MODEL, "", "serde") && allowed(MODEL, "dev", "proptest"));
        assert!(!allowed(MODEL, "", "thiserror"));
    }

    #[test]
    fn a_new_crate_needs_a_row() {
        let found = findings(Package::of("node-agent/extras", &[]));
        assert!(found[0].contains("has no row"), "{found:?}");
    }
}

//! Installing, upgrading, uninstalling and installing again: no step takes an object away.
//!
//! This test has the cluster to itself while it runs (see the test runner's configuration), since it
//! takes away what the others stand on. It leaves the chart installed.
// Helpers of tests fail the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use anyhow::Result;
use moraine_e2e::{Case, Tool, chart, helm, kubectl, require, samples, wait_for};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(2);

fn release(arguments: [&str; 2]) -> Tool {
    helm(arguments).arg("--namespace").arg(chart::NAMESPACE)
}

fn uninstall_if_installed() {
    release(["uninstall", chart::RELEASE])
        .arg("--ignore-not-found")
        .run()
        .unwrap();
    wait_for("the former pods to go", LIMIT, || {
        let place = format!("--namespace={}", chart::NAMESPACE);
        let left = kubectl(["get", "pods", "-o", "name", &place]).run()?;
        require(left.trim().is_empty(), || left)
    })
    .unwrap();
}

/// A chart as an older release would have been: its pools know no full ratios. It names this
/// version's image, since no other may be had.
fn older_chart(folder: &Path) {
    copy(&chart::folder(), folder);
    let path = folder.join("Chart.yaml");
    let description = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        description.replace("\nversion: ", "\nversion: 0.0.1-older."),
    )
    .unwrap();
    let path = folder.join("files/crds/storagepools.yaml");
    let mut pools: Value = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let fields = spec_fields(&mut pools);
    fields
        .as_object_mut()
        .unwrap()
        .remove("fullRatios")
        .expect("pools have full ratios now");
    fs::write(&path, pools.to_string()).unwrap();
}

fn spec_fields(definition: &mut Value) -> &mut Value {
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    &mut schema["properties"]["spec"]["properties"]
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn knows_full_ratios() -> bool {
    let mut pools = kubectl(["get", "crd", "storagepools.moraine.io"])
        .json()
        .unwrap();
    spec_fields(&mut pools)["fullRatios"].is_object()
}

/// Identity and content of an object, as far as people and programs gave it.
fn essence(object: &Value) -> (String, Value) {
    let kind = format!("{}.v1alpha1.moraine.io", object["kind"].as_str().unwrap());
    let name = object["metadata"]["name"].as_str().unwrap();
    let now = kubectl(["get", &kind, name]).json().unwrap();
    (
        now["metadata"]["uid"].as_str().unwrap().to_owned(),
        now["spec"].clone(),
    )
}

fn field(kind: &str, name: &str, path: &str) -> Result<String> {
    let place = format!("--namespace={}", chart::NAMESPACE);
    let output = format!("--output=jsonpath={{{path}}}");
    kubectl(["get", kind, name, &place, &output]).run()
}

fn exists(kind: &str, name: &str) -> bool {
    let place = format!("--namespace={}", chart::NAMESPACE);
    kubectl(["get", kind, name, &place])
        .outcome()
        .unwrap()
        .succeeded
}

#[test]
fn no_step_takes_an_object_away() {
    let _turn = chart::turn().unwrap();
    let case = Case::new("chart_lifecycle");
    uninstall_if_installed();

    // An older release, with its values.
    let older = tempfile::tempdir().unwrap();
    older_chart(older.path());
    release(["install", chart::RELEASE])
        .arg("--create-namespace")
        .arg(older.path())
        .arg(chart::IMPORTED_IMAGE)
        .arg("--set=agent.rawDisks=false,storageClass.pool=fast")
        .run()
        .unwrap();
    assert!(!knows_full_ratios(), "the older definitions are in place");
    let objects = [
        case.create(&samples::storage_pool(&case)).unwrap(),
        case.create(&samples::storage_node(&case)).unwrap(),
        case.create(&samples::bucket_map(&case)).unwrap(),
        case.create(&samples::volume(&case)).unwrap(),
        case.create(&samples::snapshot(&case)).unwrap(),
    ];
    let before: Vec<_> = objects.iter().map(essence).collect();

    upgrade(&older_values());
    assert!(
        knows_full_ratios(),
        "an upgrade brings the newer definitions"
    );
    let after: Vec<_> = objects.iter().map(essence).collect();
    for ((old, new), object) in before.iter().zip(&after).zip(&objects) {
        assert_eq!(old.0, new.0, "{} is the same object", object["kind"]);
        let mut newer = new.1.clone();
        if object["kind"] == "StoragePool" {
            // What the newer version has by default.
            newer.as_object_mut().unwrap().remove("fullRatios");
        }
        assert_eq!(old.1, newer, "{} says the same", object["kind"]);
    }

    mistyped_values_change_nothing();

    release(["uninstall", chart::RELEASE]).run().unwrap();
    nothing_of_the_release_is_left();
    let uninstalled: Vec<_> = objects.iter().map(essence).collect();
    assert_eq!(
        uninstalled, after,
        "uninstalling leaves every object as it was"
    );

    release(["install", chart::RELEASE])
        .arg(chart::folder())
        .arg(chart::IMPORTED_IMAGE)
        .run()
        .unwrap();
    let reinstalled: Vec<_> = objects.iter().map(essence).collect();
    assert_eq!(reinstalled, after, "installing again takes them up");
    assert!(exists("deployment", "moraine-operator"));
}

fn nothing_of_the_release_is_left() {
    for (kind, name) in [
        ("deployment", "moraine-operator"),
        ("daemonset", "moraine-agent"),
        ("daemonset", "moraine-csi-node"),
        ("serviceaccount", "moraine-agent"),
        ("csidriver", "block.csi.moraine.io"),
        ("storageclass", "moraine"),
        ("clusterrole", "moraine-operator"),
        ("validatingadmissionpolicy", "moraine-node"),
    ] {
        assert!(!exists(kind, name), "{kind} {name} is left behind");
    }
}

fn older_values() -> [&'static str; 2] {
    // A StorageClass can't change in place, so its value has to stay.
    [
        "--set=storageClass.pool=fast",
        "--set=operator.replicas=3,logging.level=debug",
    ]
}

/// From the older chart and its values to this one with others.
fn upgrade(settings: &[&str]) {
    assert_eq!(
        field("daemonset", "moraine-agent", AGENT_PRIVILEGED).unwrap(),
        ""
    );
    let mut call = release(["upgrade", chart::RELEASE])
        .arg(chart::folder())
        .arg(chart::IMPORTED_IMAGE);
    for setting in settings {
        call = call.arg(setting);
    }
    call.run().unwrap();
    assert_eq!(
        field("deployment", "moraine-operator", ".spec.replicas").unwrap(),
        "3"
    );
    assert_eq!(
        field("daemonset", "moraine-agent", AGENT_PRIVILEGED).unwrap(),
        "true"
    );
}

const AGENT_PRIVILEGED: &str = ".spec.template.spec.containers[0].securityContext.privileged";

fn mistyped_values_change_nothing() {
    let revision = || {
        let status = release(["status", chart::RELEASE]).json().unwrap();
        (status["version"].clone(), status["info"]["status"].clone())
    };
    let before = revision();
    let outcome = release(["upgrade", chart::RELEASE])
        .arg(chart::folder())
        .arg("--set=operator.replics=5")
        .outcome()
        .unwrap();
    assert!(!outcome.succeeded);
    let refusal = "additional properties 'replics' not allowed";
    assert!(outcome.stderr.contains(refusal), "{}", outcome.stderr);
    assert_eq!(revision(), before);
    assert_eq!(before.1, "deployed");
}

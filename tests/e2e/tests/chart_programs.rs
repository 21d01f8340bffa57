//! The three programs as the chart runs them: what they tell of themselves, and that one's death is not the end.
//!
//! They act under the permissions and the admission policy that the chart gives them, so what they write here they
//! may write on a user's cluster.
// Helpers of tests fail the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use anyhow::{Context, Result};
use moraine_e2e::{Case, chart, condition, kubectl, require, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(2);

fn nodes() -> Vec<String> {
    let nodes = kubectl(["get", "nodes"]).json().unwrap();
    let items = nodes["items"].as_array().unwrap();
    let name = |node: &Value| node["metadata"]["name"].as_str().unwrap().to_owned();
    items.iter().map(name).collect()
}

fn pool(case: &Case, spec: &Value) -> String {
    let name = case.name("pool");
    let object = json!({
        "apiVersion": "moraine.io/v1alpha1",
        "kind": "StoragePool",
        "metadata": {"name": name},
        "spec": spec,
    });
    case.clear_later("bucketmap", &name);
    case.create(&object).unwrap();
    name
}

fn judged(pool: &str, reason: &str) -> Value {
    wait_for(&format!("the verdict {reason}"), LIMIT, || {
        let ready = condition("storagepool", pool, "Ready")?;
        require(ready["reason"] == reason, || ready.to_string())?;
        Ok(ready)
    })
    .unwrap()
}

#[test]
fn every_node_is_registered_and_alive() {
    chart::install().unwrap();
    for node in nodes() {
        let ready = wait_for(&format!("{node} to be Ready"), LIMIT, || {
            let ready = condition("storagenode", &node, "Ready")?;
            require(ready["status"] == "True", || ready.to_string())?;
            Ok(ready)
        })
        .unwrap();
        assert_eq!(ready["reason"], "AgentAlive");
        let boot_id = kubectl(["get", "storagenode", &node]).json().unwrap()["status"]["bootId"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(boot_id.len(), 36, "{boot_id}");
    }
}

#[test]
fn kubelet_knows_the_driver_on_every_node() {
    chart::install().unwrap();
    for node in nodes() {
        wait_for(
            &format!("the driver's registration on {node}"),
            LIMIT,
            || {
                let csi = kubectl(["get", "csinode", &node]).json()?;
                let drivers = csi["spec"]["drivers"].as_array();
                let ours = drivers
                    .into_iter()
                    .flatten()
                    .find(|driver| driver["name"] == "block.csi.moraine.io")
                    .with_context(|| format!("drivers: {}", csi["spec"]["drivers"]))?;
                require(ours["nodeID"] == node.as_str(), || ours.to_string())
            },
        )
        .unwrap();
    }
}

#[test]
fn a_pool_is_told_what_it_lacks() {
    chart::install().unwrap();
    let case = Case::new("chart_programs_pool");
    let file = json!({"file": {"size": "1Gi"}});
    let nowhere = pool(
        &case,
        &json!({"devices": file, "nodeSelector": {"moraine.test/none": "here"}}),
    );
    let told = judged(&nowhere, "NoNodes");
    assert_eq!(told["status"], "False");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("moraine.test/none"), "{message}");

    let case = Case::new("chart_programs_domains");
    let narrow = pool(&case, &json!({"devices": file, "replicas": 5}));
    let message = judged(&narrow, "TooFewFailureDomains")["message"].to_string();
    assert!(message.contains(&nodes().len().to_string()), "{message}");
}

#[test]
fn another_replica_leads_when_the_leader_dies() {
    chart::install().unwrap();
    let case = Case::new("chart_programs_leader");
    let place = format!("--namespace={}", chart::NAMESPACE);
    let holder = || -> Result<String> {
        let lease = kubectl(["get", "lease", "moraine-operator", &place]).json()?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        require(!holder.is_empty(), || "nobody leads".to_owned())?;
        Ok(holder.to_owned())
    };
    let first = wait_for("a leader", LIMIT, holder).unwrap();
    kubectl([
        "delete",
        "pod",
        &first,
        &place,
        "--grace-period=0",
        "--force",
    ])
    .run()
    .unwrap();
    wait_for("another leader", LIMIT, || {
        let now = holder()?;
        require(now != first, || format!("{now} still leads"))
    })
    .unwrap();
    let file = json!({"file": {"size": "1Gi"}});
    let later = pool(&case, &json!({"devices": file}));
    judged(&later, "Serving");
}

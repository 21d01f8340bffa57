//! A pool on files of the nodes: declared, placed, ready, and used while an agent comes and goes.

use anyhow::Result;
use moraine_e2e::{Case, Load, chart, kubectl, pool_becomes};
use serde_json::json;
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(3);

fn pool(case: &Case) -> Result<String> {
    let name = case.name("pool");
    let pool = json!({
        "apiVersion": "moraine.io/v1alpha1",
        "kind": "StoragePool",
        "metadata": {"name": name},
        "spec": {"devices": {"file": {"size": "2Gi"}}, "replicas": 3, "buckets": 16},
    });
    // It outlives its pool, so that no data is lost by a pool that is deleted by mistake.
    case.clear_later("bucketmap", &name);
    case.create(&pool)?;
    pool_becomes(&name, "Ready", "True", LIMIT)?;
    Ok(name)
}

#[test]
fn a_declared_pool_is_placed_and_reads_like_a_status_page() {
    chart::install().unwrap();
    let case = Case::new("pool_life_ready");
    let name = pool(&case).unwrap();
    pool_becomes(&name, "Degraded", "False", LIMIT).unwrap();
    let map = kubectl(["get", "bucketmap", &name]).json().unwrap();
    assert_eq!(map["status"]["healthy"], 16, "{}", map["status"]);
    assert_eq!(map["spec"]["pool"], name.as_str());
    let page = kubectl(["get", "storagepool", &name]).run().unwrap();
    for word in ["READY", "True", "Serving", "3/3", "16/16", "5.8Gi"] {
        assert!(page.contains(word), "{word} is missing:\n{page}");
    }
    let id = map["spec"]["poolId"].as_str().unwrap();
    let disks = map["status"]["disks"].as_array().unwrap();
    for disk in disks {
        let node = disk["node"].as_str().unwrap();
        let node = kubectl(["get", "storagenode", node]).json().unwrap();
        let disks = node["status"]["disks"].as_array().unwrap();
        let ours = disks.iter().find(|here| here["id"] == disk["id"]).unwrap();
        assert_eq!(ours["pool"], name.as_str());
        assert_eq!(ours["health"], "Healthy");
        assert!(ours["path"].as_str().unwrap().contains(id), "{ours}");
    }
}

#[test]
fn data_is_kept_while_an_agent_is_deleted_and_comes_back() {
    chart::install().unwrap();
    let case = Case::new("pool_life_agent");
    let name = pool(&case).unwrap();
    let mut load = Load::start(&name, 40).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    load.check().unwrap();
    let place = format!("--namespace={}", chart::NAMESPACE);
    let agents = "--selector=app.kubernetes.io/component=agent";
    let agent = kubectl(["get", "pods", &place, agents, "-o", "name"])
        .run()
        .unwrap();
    let agent = agent.lines().next().unwrap();
    kubectl(["delete", agent, &place, "--grace-period=1"])
        .run()
        .unwrap();
    pool_becomes(&name, "Degraded", "False", LIMIT).unwrap();
    let figures = load.finish().unwrap();
    eprintln!("{figures}");
}

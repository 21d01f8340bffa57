//! A node joins and takes its share of the buckets; then it loses its power, and what it had is made again.
//! Data is written and checked all the while.

use anyhow::{Context, Result};
use moraine_e2e::{
    Case, Load, add_node, chart, condition, kill_node, kubectl, pool_becomes, require, wait_for,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(4);

/// How many replicas in sync each node has.
fn counts(pool: &str) -> Result<BTreeMap<String, usize>> {
    let map = kubectl(["get", "bucketmap", pool]).json()?;
    let node = |place: &Value| {
        let place = usize::try_from(place.as_u64()?).ok()?;
        Some(map["status"]["disks"][place]["node"].as_str()?.to_owned())
    };
    let buckets = map["status"]["buckets"].as_array().into_iter().flatten();
    let mut counts = BTreeMap::new();
    for place in buckets.flat_map(|bucket| bucket["inSync"].as_array().into_iter().flatten()) {
        *counts
            .entry(node(place).context("a place without a disk")?)
            .or_default() += 1;
    }
    Ok(counts)
}

#[test]
fn a_node_joins_takes_its_share_dies_and_is_replaced_while_data_is_used() {
    chart::install().unwrap();
    let case = Case::new("failure_nodes");
    let name = case.name("pool");
    let pool = json!({
        "apiVersion": "moraine.io/v1alpha1",
        "kind": "StoragePool",
        "metadata": {"name": name},
        "spec": {
            "devices": {"file": {"size": "2Gi"}},
            "replicas": 2,
            "buckets": 16,
            "recovery": {"downOutInterval": "30s"},
        },
    });
    // It outlives its pool, so that no data is lost by a pool that is deleted by mistake.
    case.clear_later("bucketmap", &name);
    case.create(&pool).unwrap();
    pool_becomes(&name, "Ready", "True", LIMIT).unwrap();
    let mut load = Load::start(&name, 150).unwrap();

    let new = add_node().unwrap();
    wait_for("a share for the new node", LIMIT, || {
        load.check()?;
        let counts = counts(&name)?;
        let share = counts.get(&new).copied().unwrap_or_default();
        require(share == 8 && counts.values().sum::<usize>() == 32, || {
            format!("{counts:?}")
        })
    })
    .unwrap();

    kill_node(&new).unwrap();
    wait_for("a word that replicas are missing", LIMIT, || {
        load.check()?;
        let degraded = condition("storagepool", &name, "Degraded")?;
        require(degraded["status"] == "True", || degraded.to_string())
    })
    .unwrap();
    wait_for("the lost replicas elsewhere", LIMIT, || {
        load.check()?;
        let counts = counts(&name)?;
        let whole = !counts.contains_key(&new) && counts.values().sum::<usize>() == 32;
        require(whole, || format!("{counts:?}"))
    })
    .unwrap();
    let figures = load.finish().unwrap();
    eprintln!("{figures}");
    // The other tests know only of nodes that live.
    for kind in ["node", "storagenode"] {
        kubectl(["delete", kind, &new]).run().unwrap();
    }
}

//! What an object says of itself in its conditions.

use crate::{kubectl, require, wait_for};
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;

/// The condition of this type of an object.
pub fn condition(kind: &str, name: &str, wanted: &str) -> Result<Value> {
    let object = kubectl(["get", kind, name]).json()?;
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == wanted);
    found
        .cloned()
        .with_context(|| format!("there is no condition {wanted} yet"))
}

/// Waits until a pool's condition has this status.
pub fn pool_becomes(pool: &str, wanted: &str, status: &str, limit: Duration) -> Result<()> {
    wait_for(&format!("{wanted}={status} of {pool}"), limit, || {
        let condition = condition("storagepool", pool, wanted)?;
        require(condition["status"] == status, || condition.to_string())
    })
}

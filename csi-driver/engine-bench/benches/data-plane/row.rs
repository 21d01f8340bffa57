//! One figure, in the form that `cargo xtask bench` reads.

use serde_json::{Map, Value, json};

/// A figure with what it is held against, and its target.
pub(crate) struct Row(Value);

impl Row {
    /// A figure without a target yet.
    pub(crate) fn new(figure: &str, value: f64, unit: &str) -> Self {
        Self(json!({ "figure": figure, "value": value, "unit": unit, "target": Map::new() }))
    }

    /// The floor, measured in the same run.
    pub(crate) fn against(mut self, name: &str, value: f64) -> Self {
        self.0["against"] = json!({ "name": name, "value": value });
        self
    }

    /// Sets the bound: `at_least`, `at_most`, `ratio_at_least`, `ratio_at_most`.
    pub(crate) fn target(mut self, bound: &str, value: f64) -> Self {
        self.0["target"][bound] = json!(value);
        self
    }

    /// The row as one line.
    pub(crate) fn to_json(&self) -> &Value {
        &self.0
    }
}

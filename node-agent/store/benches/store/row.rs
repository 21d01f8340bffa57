//! One figure, in the form that `cargo xtask bench` reads.

use serde_json::{Map, Value, json};

/// A figure with what it is held against, and its target.
pub(crate) struct Row {
    figure: String,
    unit: &'static str,
    value: f64,
    against: Option<(&'static str, f64)>,
    target: Map<String, Value>,
}

impl Row {
    /// A figure without a target yet.
    pub(crate) fn new(figure: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            figure: figure.into(),
            unit,
            value,
            against: None,
            target: Map::new(),
        }
    }

    /// The floor or peer, measured in the same run.
    pub(crate) fn against(mut self, name: &'static str, value: f64) -> Self {
        self.against = Some((name, value));
        self
    }

    /// Adds a bound: `at_least`, `at_most`, `ratio_at_least`, `ratio_at_most`.
    pub(crate) fn target(mut self, bound: &'static str, value: f64) -> Self {
        self.target.insert(bound.to_owned(), json!(value));
        self
    }

    /// The row as one line.
    pub(crate) fn to_json(&self) -> Value {
        let mut row = json!({
            "figure": self.figure,
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
        });
        if let Some((name, value)) = self.against {
            row["against"] = json!({ "name": name, "value": value });
        }
        row
    }
}

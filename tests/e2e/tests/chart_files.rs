//! The chart's files agree with each other. Needs neither cluster nor helm.
// Helpers of tests fail the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use moraine_e2e::{chart, repository};
use serde_json::Value;
use std::collections::BTreeSet;

fn text(name: &str) -> String {
    let path = chart::folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(name: &str) -> Value {
    serde_yaml::from_str(&text(name)).unwrap()
}

/// Names of the values as a user sets them: `operator.resources`, without what is below, where the
/// content is Kubernetes' own.
fn names(values: &Value, path: &str, found: &mut BTreeSet<String>) {
    let kubernetes = ["resources", "nodeSelector", "tolerations"];
    let last = path.rsplit('.').next().unwrap_or_default();
    match values.as_object() {
        Some(fields) if !kubernetes.contains(&last) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                names(value, &path, found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn the_readme_describes_each_value_and_no_other() {
    let mut known = BTreeSet::new();
    names(&yaml("values.yaml"), "", &mut known);
    let readme = text("README.md");
    let (_, table) = readme.split_once("\n## Values\n").unwrap();
    let described: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(described, known);
}

#[test]
fn plain_defaults_in_the_readme_are_those_of_the_values() {
    let values = yaml("values.yaml");
    let readme = text("README.md");
    let mut compared = 0;
    for line in readme.lines() {
        let mut cells = line
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ', '`']));
        let (Some(name), Some(default)) = (cells.next(), cells.next()) else {
            continue;
        };
        let value = name.split('.').fold(&values, |value, part| &value[part]);
        let said = match value {
            Value::String(text) if text.is_empty() => "\"\"".to_owned(),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => continue,
        };
        assert_eq!(default, said, "{name}");
        compared += 1;
    }
    assert!(
        compared > 15,
        "only {compared} defaults were found in the table"
    );
}

#[test]
fn a_name_that_is_unknown_is_refused_everywhere() {
    let schema: Value = serde_json::from_str(&text("values.schema.json")).unwrap();
    let mut open = Vec::new();
    closed(&schema, "values", &mut open);
    // Helm's own, and maps whose keys are the user's.
    let expected = [
        "values.global",
        "values.$defs.nodeSelector",
        "values.$defs.quantities",
    ];
    assert_eq!(
        open.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        expected.into()
    );
}

/// Finds the objects that take any name.
fn closed(schema: &Value, path: &str, open: &mut Vec<String>) {
    if schema["type"] == "object" && schema["additionalProperties"] != Value::Bool(false) {
        open.push(path.to_owned());
    }
    for part in ["properties", "$defs"] {
        for (name, below) in schema[part].as_object().into_iter().flatten() {
            let mark = if part == "$defs" { "$defs." } else { "" };
            closed(below, &format!("{path}.{mark}{name}"), open);
        }
    }
    if schema["items"].is_object() {
        closed(&schema["items"], &format!("{path}[]"), open);
    }
}

#[test]
fn each_value_has_a_schema() {
    let schema: Value = serde_json::from_str(&text("values.schema.json")).unwrap();
    let mut known = BTreeSet::new();
    names(&yaml("values.yaml"), "", &mut known);
    for name in known {
        let mut place = &schema;
        for part in name.split('.') {
            place = &place["properties"][part];
        }
        assert!(place.is_object(), "{name} has no schema");
    }
}

#[test]
fn the_chart_has_the_version_of_the_workspace() {
    let chart = yaml("Chart.yaml");
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
    assert_eq!(chart["kubeVersion"], ">=1.34.0-0 <1.38.0-0");
}

#[test]
fn the_readme_names_the_list_of_permissions() {
    let path = "tests/e2e/tests/snapshots/rbac.txt";
    assert!(text("README.md").contains(path));
    assert!(repository().join(path).is_file());
}

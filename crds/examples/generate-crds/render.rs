//! What the generated files hold: YAML of the definitions, and the reference page.
//!
//! Shared by the generator and by the test that compares the files on disk with it.

use moraine_crds::schema::{self, Field};
use serde_json::Value;
use std::fmt::Write;
use std::path::PathBuf;

/// A generated file: its path from the top of the repository, and its content.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) content: String,
}

/// Folders that hold nothing but generated YAML, beside sources in the first one.
pub(crate) const YAML_FOLDERS: [&str; 2] = ["crds", "charts/moraine/files/crds"];

const HEAD: &str =
    "# Made by `cargo run -p moraine-crds --example generate-crds`; change crds/src instead.\n";

/// All generated files.
pub(crate) fn files() -> anyhow::Result<Vec<File>> {
    let definitions = schema::definitions();
    let mut files = Vec::new();
    for definition in &definitions {
        let content = format!("{HEAD}{}", serde_yaml::to_string(definition)?);
        let name = text(&definition["spec"]["names"]["plural"]);
        for folder in YAML_FOLDERS {
            let path = PathBuf::from(folder).join(format!("{name}.yaml"));
            files.push(File {
                path,
                content: content.clone(),
            });
        }
    }
    files.push(File {
        path: "docs/reference/crds.md".into(),
        content: reference(&definitions)?,
    });
    Ok(files)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn reference(definitions: &[Value]) -> anyhow::Result<String> {
    let mut page = String::from(
        "<!-- Made by `cargo run -p moraine-crds --example generate-crds`; change crds/src instead. -->\n\
         # Custom resources\n\n\
         Group `moraine.io`, version `v1alpha1`, all of them cluster-scoped, in the category `moraine`\n\
         (`kubectl get moraine` lists them all). `kubectl explain storagepool.spec` says the same as this page.\n\
         The API may still change in ways that break objects: that is what v1alpha1 means.\n\n\
         `[]` stands for each item of a list, `{}` for each value of a map. Fields in **bold** are required.\n",
    );
    for definition in definitions {
        kind(&mut page, definition)?;
    }
    Ok(page)
}

fn kind(page: &mut String, definition: &Value) -> anyhow::Result<()> {
    let names = &definition["spec"]["names"];
    let fields = schema::fields(definition);
    let root = fields.first().map_or(&Value::Null, |field| field.schema);
    writeln!(
        page,
        "\n## {}\n\n{}\n",
        text(&names["kind"]),
        text(&root["description"])
    )?;
    let short: Vec<&str> = names["shortNames"]
        .as_array()
        .into_iter()
        .flatten()
        .map(text)
        .collect();
    writeln!(
        page,
        "`kubectl get {}.moraine.io`, in short `kubectl get {}`.\n",
        text(&names["plural"]),
        short.join(", ")
    )?;
    writeln!(page, "| field | type | what it is |\n|---|---|---|")?;
    for field in fields.iter().filter(|field| is_listed(field)) {
        let name = if field.required {
            format!("**{}**", field.path)
        } else {
            field.path.clone()
        };
        writeln!(
            page,
            "| {name} | {} | {} |",
            type_of(field.schema),
            cell(text(&field.schema["description"]))
        )?;
    }
    let rules: Vec<(&str, &str, &str)> = fields
        .iter()
        .flat_map(|field| {
            field
                .rules()
                .into_iter()
                .map(|(rule, message)| (field.path.as_str(), rule, message))
        })
        .collect();
    writeln!(
        page,
        "\nRefused with a message:\n\n| at | unless | message |\n|---|---|---|"
    )?;
    for (path, rule, message) in rules {
        let path = if path.is_empty() { "the object" } else { path };
        writeln!(
            page,
            "| {path} | `{}` | {} |",
            rule.replace('|', "\\|"),
            cell(message)
        )?;
    }
    Ok(())
}

/// Whether a field gets a row: what every Kubernetes object has, and the inside of conditions, would
/// only hide the rest.
fn is_listed(field: &Field<'_>) -> bool {
    let path = field.path.as_str();
    let known = ["", "apiVersion", "kind", "metadata", "spec", "status"];
    !known.contains(&path)
        && !path.contains("conditions[]")
        && !path.ends_with("[]")
        && !path.ends_with("{}")
}

fn type_of(schema: &Value) -> String {
    let mut said = match text(&schema["type"]) {
        "array" => format!("list of {}", type_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", type_of(&schema["additionalProperties"]))
        }
        plain => plain.to_owned(),
    };
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<&str> = values.iter().map(text).collect();
        said = values.join(", ");
    }
    let limits: Vec<String> = [
        ("minimum", "from "),
        ("maximum", "to "),
        ("maxItems", "at most "),
        ("maxProperties", "at most "),
    ]
    .into_iter()
    .filter(|(key, _)| !schema[*key].is_null())
    .map(|(key, word)| format!("{word}{}", schema[key]))
    .collect();
    if !limits.is_empty() {
        said = format!("{said} ({})", limits.join(" "));
    }
    match &schema["default"] {
        Value::Null | Value::Object(_) => said,
        default => format!("{said}, default {}", default.to_string().trim_matches('"')),
    }
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

//! The custom resource definitions as the API server gets them, and a walk over their schemas.
//!
//! The derived schemas say a few things that Kubernetes doesn't know or means differently; they are
//! put right here, in one place. Not here: writing files, which the `generate-crds` example does.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// The schema of a 128-bit id.
pub(crate) fn id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 32, "maxLength": 32, "pattern": "^[0-9a-f]{32}$"})
}

/// The schema of a list of addresses with port.
pub(crate) fn addresses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "string",
            "maxLength": 64,
            "pattern": r"^([0-9.]+|\[[0-9a-f:.]+\]):[0-9]{1,5}$",
        },
    })
}

/// The schema of labels to select by.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// The definitions of all kinds, as JSON, in the order in which a person meets them.
pub fn definitions() -> Vec<Value> {
    [
        definition(&crate::StoragePool::crd()),
        definition(&crate::StorageNode::crd()),
        definition(&crate::BucketMap::crd()),
        definition(&crate::Volume::crd()),
        definition(&crate::Snapshot::crd()),
    ]
    .into()
}

fn definition(crd: &CustomResourceDefinition) -> Value {
    let mut value = serde_json::to_value(crd).expect("a definition is plain data");
    let mut fields = vec![root_of(&mut value)];
    while let Some(schema) = fields.pop() {
        put_right(schema);
        fields.extend(children_mut(schema));
    }
    // With the definitions in a chart, uninstalling it must not take the objects, and with them the
    // knowledge of where the data is, away.
    value["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();
    value
}

fn root_of(definition: &mut Value) -> &mut Value {
    &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// Makes one schema mean the same to the API server as to Rust.
fn put_right(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    // An absent field is written by leaving it out. Without `nullable` the API server drops an
    // explicit null, so that `has()` in a rule means what it says.
    fields.remove("nullable");
    // The name of the Rust type.
    fields.remove("title");
    for limit in ["minimum", "maximum"] {
        if let Some(value) = fields.get_mut(limit) {
            *value = whole(value);
        }
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = text
            .split("\n\n")
            .map(|part| part.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
    let format = fields
        .get("format")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // Kubernetes knows signed formats only, and warns about others.
    let signed = match format {
        "uint8" | "uint16" | "int8" | "int16" => "int32",
        "uint32" | "uint64" | "uint" | "int" => "int64",
        _ => return,
    };
    fields.insert("format".to_owned(), signed.into());
    fields.entry("minimum").or_insert(0.into());
}

/// A limit as a whole number, where it is one: `4096` rather than `4096.0`.
fn whole(limit: &Value) -> Value {
    let text = limit
        .as_f64()
        .map(|limit| format!("{limit:.0}"))
        .unwrap_or_default();
    match text.parse::<i64>() {
        Ok(number) if limit.as_f64() == text.parse().ok() => number.into(),
        _ => limit.clone(),
    }
}

fn children_mut(schema: &mut Value) -> Vec<&mut Value> {
    let Some(fields) = schema.as_object_mut() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (key, value) in fields {
        match key.as_str() {
            "properties" => found.extend(
                value
                    .as_object_mut()
                    .into_iter()
                    .flat_map(|p| p.values_mut()),
            ),
            "items" | "additionalProperties" if value.is_object() => found.push(value),
            _ => {}
        }
    }
    found
}

/// One field of a kind.
pub struct Field<'a> {
    /// Where it is, such as `spec.devices.paths`; `[]` stands for each item of a list, `{}` for each
    /// value of a map. The kind itself has an empty path.
    pub path: String,
    /// What the API server knows about it.
    pub schema: &'a Value,
    /// Whether an object without it is refused.
    pub required: bool,
}

impl Field<'_> {
    /// The rules on this field, each with its message.
    pub fn rules(&self) -> Vec<(&str, &str)> {
        let rules = self
            .schema
            .get("x-kubernetes-validations")
            .and_then(Value::as_array);
        rules
            .into_iter()
            .flatten()
            .map(|rule| {
                let text = |key| rule.get(key).and_then(Value::as_str).unwrap_or_default();
                (text("rule"), text("message"))
            })
            .collect()
    }
}

/// All fields of a definition, parents before children, in alphabetical order.
pub fn fields(definition: &Value) -> Vec<Field<'_>> {
    let root = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut found = Vec::new();
    walk(
        Field {
            path: String::new(),
            schema: root,
            required: true,
        },
        &mut found,
    );
    found
}

fn walk<'a>(field: Field<'a>, found: &mut Vec<Field<'a>>) {
    let (path, schema) = (field.path.clone(), field.schema);
    found.push(field);
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        walk(
            Field {
                path,
                schema,
                required: required.contains(&name.as_str()),
            },
            found,
        );
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(
                Field {
                    path: format!("{path}{mark}"),
                    schema: &schema[key],
                    required: true,
                },
                found,
            );
        }
    }
}

//! Every schema says what a person needs and stays within what the API server can check cheaply.
//! That the server accepts the schemas and that the rules work is tested against a real one.

use moraine_crds::schema::{self, Field};
use serde_json::Value;

/// Paths of the fields of all kinds for which `is_bad` holds, with the kind's name in front.
fn offenders(is_bad: impl Fn(&Field<'_>) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for definition in schema::definitions() {
        let kind = definition["spec"]["names"]["kind"]
            .as_str()
            .unwrap_or_default();
        let bad = schema::fields(&definition)
            .into_iter()
            .filter(|field| is_bad(field));
        found.extend(bad.map(|field| format!("{kind}.{}", field.path)));
    }
    found
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn every_field_has_a_description_of_more_than_a_word() {
    let bare = offenders(|field| {
        let is_named = !field.path.ends_with("[]") && !field.path.ends_with("{}");
        let words = field.schema["description"]
            .as_str()
            .unwrap_or_default()
            .split_whitespace();
        is_named && words.count() < 3
    });
    assert_eq!(bare, none());
}

#[test]
fn a_default_is_said_in_the_description() {
    let silent = offenders(|field| match &field.schema["default"] {
        Value::Null | Value::Object(_) => false,
        _ => !field.schema["description"]
            .as_str()
            .unwrap_or_default()
            .to_lowercase()
            .contains("default"),
    });
    assert_eq!(silent, none());
}

#[test]
fn every_list_map_and_text_is_bounded() {
    let unbounded = offenders(|field| {
        let missing = |limit: &str| field.schema[limit].is_null();
        match field.schema["type"].as_str() {
            Some("array") => missing("maxItems"),
            Some("string") => missing("maxLength") && missing("enum") && missing("format"),
            Some("object") => !missing("additionalProperties") && missing("maxProperties"),
            _ => false,
        }
    });
    assert_eq!(unbounded, none());
}

#[test]
fn schemas_are_structural() {
    let known = ["object", "array", "string", "integer", "boolean"];
    let untyped = offenders(|field| {
        !field.schema["type"]
            .as_str()
            .is_some_and(|t| known.contains(&t))
    });
    assert_eq!(untyped, none());
    let open = offenders(|field| {
        field.schema["type"] == "object"
            && field.schema["properties"].is_null()
            && field.schema["additionalProperties"].is_null()
    });
    assert_eq!(open, none(), "objects that would lose their content");
    let forms = [
        "nullable",
        "$ref",
        "oneOf",
        "anyOf",
        "allOf",
        "x-kubernetes-preserve-unknown-fields",
    ];
    let odd = offenders(|field| forms.iter().any(|form| !field.schema[form].is_null()));
    assert_eq!(odd, none());
    let formats = ["int32", "int64", "date-time"];
    let unknown = offenders(|field| {
        field.schema["format"]
            .as_str()
            .is_some_and(|format| !formats.contains(&format))
    });
    assert_eq!(
        unknown,
        none(),
        "the API server warns about formats it doesn't know"
    );
}

#[test]
fn every_rule_tells_the_user_what_to_do() {
    let silent = offenders(|field| {
        field
            .rules()
            .iter()
            .any(|(rule, message)| rule.is_empty() || message.split_whitespace().count() < 5)
    });
    assert_eq!(silent, none());
}

#[test]
fn short_names_are_nobody_elses() {
    // Those of Kubernetes itself, of its snapshot and gateway kinds, and of the cluster API, which
    // has `ms`, `mp` and `md`.
    let taken = [
        "cm",
        "cs",
        "ep",
        "ev",
        "limits",
        "ns",
        "no",
        "pvc",
        "pv",
        "po",
        "rc",
        "quota",
        "sa",
        "svc",
        "crd",
        "crds",
        "ds",
        "deploy",
        "rs",
        "sts",
        "hpa",
        "cj",
        "csr",
        "ing",
        "netpol",
        "pdb",
        "pc",
        "sc",
        "vac",
        "vs",
        "vss",
        "vsc",
        "vscs",
        "vsclass",
        "vsclasses",
        "vgs",
        "vgsc",
        "vgsclass",
        "gw",
        "gc",
        "ma",
        "md",
        "mp",
        "ms",
        "mhc",
    ];
    let mut seen = Vec::new();
    for definition in schema::definitions() {
        for name in definition["spec"]["names"]["shortNames"]
            .as_array()
            .unwrap()
        {
            let name = name.as_str().unwrap().to_owned();
            assert!(!taken.contains(&name.as_str()), "{name}");
            assert!(!seen.contains(&name), "{name} twice");
            seen.push(name);
        }
    }
    assert_eq!(seen.len(), 5);
}

#[test]
fn every_column_shows_a_field_that_exists() {
    for definition in schema::definitions() {
        let paths: Vec<String> = schema::fields(&definition)
            .into_iter()
            .map(|f| f.path)
            .collect();
        let version = &definition["spec"]["versions"][0];
        let columns = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter();
        let selectable = version["selectableFields"].as_array().into_iter().flatten();
        for shown in columns.chain(selectable) {
            let path = shown["jsonPath"].as_str().unwrap();
            // A condition is picked by its type, which is no field of its own.
            let path = match path.split_once("[?(") {
                Some((list, rest)) => format!("{list}[]{}", rest.split_once(")]").unwrap().1),
                None => path.to_owned(),
            };
            let path = path.strip_prefix('.').unwrap();
            let known = path.starts_with("metadata.") || paths.iter().any(|known| known == path);
            assert!(
                known,
                "{} of {} is no field",
                path, definition["metadata"]["name"]
            );
        }
    }
}

//! The generated files on disk are what the types say, and nothing else lies where `kubectl apply -f
//! crds/` would find it.

#[path = "../examples/generate-crds/render.rs"]
mod render;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn generated_files_are_up_to_date() {
    let stale: Vec<String> = render::files()
        .unwrap()
        .into_iter()
        .filter(|file| {
            std::fs::read_to_string(top().join(&file.path)).ok() != Some(file.content.clone())
        })
        .map(|file| file.path.display().to_string())
        .collect();
    assert!(
        stale.is_empty(),
        "out of date: {}; run `cargo run -p moraine-crds --example generate-crds`",
        stale.join(", ")
    );
}

#[test]
fn kubectl_apply_finds_the_definitions_and_nothing_else() {
    let generated: BTreeSet<PathBuf> = render::files()
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        .collect();
    for folder in render::YAML_FOLDERS {
        for entry in std::fs::read_dir(top().join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            let path = Path::new(folder).join(&name);
            let kubectl_reads_it = path
                .extension()
                .is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
            assert!(
                !kubectl_reads_it || generated.contains(&path),
                "{} is no generated definition: remove it",
                path.display()
            );
        }
    }
}

//! Writes what is generated from the types of this crate: the YAML in `crds` and in the chart, and
//! the reference page in `docs`. Run from anywhere in the repository. With `--check` it writes nothing
//! and fails if a file differs.

mod render;

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let check = std::env::args()
        .skip(1)
        .any(|argument| argument == "--check");
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in render::files()? {
        let path = top.join(&file.path);
        if check {
            let current = std::fs::read_to_string(&path).is_ok_and(|text| text == file.content);
            anyhow::ensure!(current, "{} is out of date", file.path.display());
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, file.content)?;
        println!("{}", file.path.display());
    }
    Ok(())
}

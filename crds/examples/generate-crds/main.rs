//! Writes what is generated from the types of this crate: the YAML in `crds` and in the chart, and
//! the reference page in `docs`. Run from anywhere in the repository.

mod render;

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in render::files()? {
        let path = top.join(&file.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, file.content)?;
        println!("{}", file.path.display());
    }
    Ok(())
}

//! Generates the Rust of the two gRPC interfaces that Kubernetes demands: CSI and kubelet's plugin registration.
//!
//! The result is checked in, so that a build of the driver needs neither this crate nor protoc (protox compiles the
//! `.proto` files in Rust). With `--check` nothing is written; the exit code says whether the files are up to date.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The interfaces: the file in `proto/`, and the Rust file that its package becomes.
const INTERFACES: [(&str, &str); 2] = [
    ("csi.proto", "csi.v1.rs"),
    ("pluginregistration.proto", "pluginregistration.rs"),
];

fn main() -> ExitCode {
    let check = std::env::args().skip(1).any(|arg| arg == "--check");
    match run(check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(check: bool) -> Result<()> {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let fresh = generate(&driver.join("proto"))?;
    for (name, text) in fresh {
        let path = driver.join("src/proto").join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            bail!(
                "{} is out of date: run `cargo run -p moraine-csi-codegen`",
                path.display()
            );
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// The generated files: name and text.
fn generate(protos: &Path) -> Result<Vec<(String, String)>> {
    let scratch = tempfile::tempdir().context("making a scratch folder")?;
    let mut files = Vec::new();
    for (proto, generated) in INTERFACES {
        let descriptors =
            protox::compile([proto], [protos]).with_context(|| format!("compiling {proto}"))?;
        tonic_prost_build::configure()
            .build_client(true)
            .build_server(true)
            .out_dir(scratch.path())
            .compile_fds(descriptors)
            .with_context(|| format!("generating Rust from {proto}"))?;
        let name: PathBuf = scratch.path().join(generated);
        let text = fs::read_to_string(&name).with_context(|| format!("reading {generated}"))?;
        let file = generated.replace('.', "_").replace("_rs", ".rs");
        files.push((
            file,
            format!("// @generated from proto/{proto} by moraine-csi-codegen\n{text}"),
        ));
    }
    Ok(files)
}

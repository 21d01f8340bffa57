//! `cargo xtask image`: Moraine's container image, without a container engine or a registry.
//!
//! ```text
//! cargo build --release  -> binaries --\
//! Debian packages        -> packages ---+-> root folder -> oci::write_archive
//! crates' licences       -> notices ---/
//! ```
//!
//! The Dockerfile runs the same code with `--rootfs`, so both ways give the same root. It deliberately does not
//! push: the archive is handed to ctr, skopeo or docker, which know registries.

mod binaries;
mod elf;
mod notices;
mod packages;
mod root;
mod testbox;

use crate::oci::{self, Digest, ImageSpec};
use crate::places;
use crate::proc::Cmd;
use crate::progress::Step;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the image is published; `cargo xtask image` gives it this name, too.
const REPOSITORY: &str = "ghcr.io/moraine-storage/moraine";

/// The tag that the chart names when it is told no other.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What to make, and where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Archive to write [default: target/image/moraine-TAG.tar]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Tag of the image [default: the version of the workspace]
    #[arg(long)]
    tag: Option<String>,
    /// Write only the root folder, which must be empty or missing, and no archive
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "tag"])]
    rootfs: Option<PathBuf>,
    /// Pack this test image instead of Moraine's
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tag", "rootfs"])]
    test: Option<String>,
}

/// Does what the command line asks.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(name) = &options.test {
        let out = options.out.clone();
        let out = out.unwrap_or_else(|| folder().join(format!("test-{name}.tar")));
        let (full, digest) = write_test(name, &out)?;
        println!("{full}\n{digest}\n{}", out.display());
        return Ok(());
    }
    if let Some(rootfs) = &options.rootfs {
        fill(rootfs)?;
        return Ok(());
    }
    let tag = options.tag.as_deref().unwrap_or(VERSION);
    let out = options.out.clone();
    let out = out.unwrap_or_else(|| folder().join(format!("moraine-{tag}.tar")));
    let name = format!("{REPOSITORY}:{tag}");
    let digest = write(&name, &out)?;
    println!("{name}\n{digest}\n{}", out.display());
    Ok(())
}

/// Builds Moraine's image as the archive `out` under the full name `name`.
fn write(name: &str, out: &Path) -> Result<Digest> {
    let scratch = packages::scratch()?;
    let rootfs = scratch.path().join("root");
    fill(&rootfs)?;
    let spec = ImageSpec {
        name: name.to_owned(),
        labels: labels(),
        ..ImageSpec::default()
    };
    let step = Step::start("packing the image");
    let digest = oci::write_archive(&rootfs, &spec, out)?;
    step.done(&mebibytes(fs::metadata(out)?.len()));
    Ok(digest)
}

/// Builds Moraine's image under the name that the chart has by default; returns the archive in `folder`.
pub(crate) fn write_ours(folder: &Path) -> Result<PathBuf> {
    let out = folder.join(format!("moraine-{VERSION}.tar"));
    write(&format!("{REPOSITORY}:{VERSION}"), &out)?;
    Ok(out)
}

/// Packs the test image with this short name (`box`) as the archive `out`; returns its full name and its digest.
pub(crate) fn write_test(short: &str, out: &Path) -> Result<(&'static str, Digest)> {
    let image = testbox::find(short)?;
    Ok((image.name, testbox::write(image, out)?))
}

/// Builds the programs and fills the root folder with them and all they need.
fn fill(rootfs: &Path) -> Result<()> {
    if fs::read_dir(rootfs).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} is not empty: name a new folder for the root",
            rootfs.display()
        );
    }
    let binaries = binaries::build()?;
    let packages = packages::Packages::gather(&root::PACKAGES)?;
    let sizes = root::assemble(&binaries, &packages, rootfs)?;
    eprintln!("{}", table(&sizes));
    Ok(())
}

fn labels() -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("title", "Moraine".to_owned()),
        (
            "description",
            "Replicated block storage for Kubernetes".to_owned(),
        ),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("licenses", env!("CARGO_PKG_LICENSE").to_owned()),
    ]);
    // A tree without its history (a release's tarball) has no revision to name.
    if let Ok(revision) = revision() {
        labels.insert("revision", revision);
    }
    let full = |(name, value)| (format!("org.opencontainers.image.{name}"), value);
    labels.into_iter().map(full).collect()
}

/// The commit, with `-dirty` behind it if the tree differs from it.
fn revision() -> Result<String> {
    Cmd::new("git", "read the commit of this checkout")
        .args([
            "describe",
            "--always",
            "--abbrev=40",
            "--exclude=*",
            "--dirty",
        ])
        .dir(places::repository())
        .read()
}

fn folder() -> PathBuf {
    places::repository().join("target/image")
}

fn table(sizes: &BTreeMap<String, u64>) -> String {
    let mut lines: Vec<String> = sizes
        .iter()
        .map(|(what, size)| format!("    {what:<24}{:>12}", mebibytes(*size)))
        .collect();
    let total = mebibytes(sizes.values().sum());
    lines.push(format!("    {:<24}{total:>12}", "root folder"));
    lines.join("\n")
}

/// A size in MiB with one decimal, exact in integers.
fn mebibytes(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Writes a file and the folders it lies in.
fn put(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

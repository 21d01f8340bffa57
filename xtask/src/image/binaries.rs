//! The programs of the image, built so that the same commit gives the same bytes in every checkout.
//!
//! Paths of this machine would otherwise get into panic messages and symbol names, so the compiler is told to write
//! other names for them.

use crate::image::notices;
use crate::places;
use crate::proc::Cmd;
use crate::progress::Step;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What the image ships, in `/usr/bin`.
const NAMES: [&str; 3] = ["moraine-operator", "moraine-agent", "moraine-csi"];

/// The built programs and the notices that their crates ask for.
pub(super) struct Binaries {
    /// Path of each program; its file name is the program's name.
    pub(super) programs: Vec<PathBuf>,
    /// Licence texts of all crates linked into them.
    pub(super) notices: String,
    /// Those of Rust's standard library, which is linked as well (HTML).
    pub(super) library_notices: Vec<u8>,
}

/// What `cargo metadata` says, as far as it matters here and to the notices.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    pub(super) resolve: Resolve,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    pub(super) source: Option<String>,
    pub(super) manifest_path: PathBuf,
    targets: Vec<Target>,
}

impl Package {
    /// Does a target of it have this kind (`bin`, `proc-macro`)?
    pub(super) fn makes(&self, kind: &str) -> bool {
        self.targets.iter().any(|target| target.is(kind))
    }
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Target {
    fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}

#[derive(Deserialize)]
pub(super) struct Resolve {
    pub(super) nodes: Vec<Node>,
}

#[derive(Deserialize)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) deps: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(super) struct Dependency {
    pub(super) pkg: String,
    pub(super) dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
pub(super) struct Kind {
    /// None for what is linked, else `build` or `dev`.
    pub(super) kind: Option<String>,
}

/// Builds them all in release.
pub(super) fn build() -> Result<Binaries> {
    let metadata = metadata()?;
    let owners = owners(&metadata.packages)?;
    let target = &metadata.target_directory;
    let sysroot = sysroot()?;
    let log = target.join("image/build.log");
    let mut step = Step::start("building the programs in release");
    let mut cargo = Cmd::new("cargo", "build the programs of the image")
        .args(["build", "--release", "--locked"])
        .dir(places::repository())
        .env("CARGO_ENCODED_RUSTFLAGS", flags(target, &sysroot)?)
        .env("CARGO_TARGET_DIR", target);
    for (name, owner) in NAMES.iter().zip(&owners) {
        cargo = cargo.args(["--package", &owner.name, "--bin", name]);
    }
    cargo.run_logged(&log, &mut step)?;
    step.done("");
    let roots: Vec<&str> = owners.iter().map(|owner| owner.id.as_str()).collect();
    Ok(Binaries {
        programs: NAMES
            .iter()
            .map(|name| target.join("release").join(name))
            .collect(),
        notices: notices::of_crates(&metadata, &roots)?,
        library_notices: notices::of_library(&sysroot)?,
    })
}

/// The package of each program.
fn owners(packages: &[Package]) -> Result<Vec<&Package>> {
    let builds = |package: &&Package, name: &str| {
        let mut targets = package.targets.iter();
        package.source.is_none() && targets.any(|target| target.name == name && target.is("bin"))
    };
    let mut owners = Vec::new();
    for name in NAMES {
        match packages.iter().find(|package| builds(package, name)) {
            Some(package) => owners.push(package),
            None => bail!("the workspace has no program {name}, which the image must hold"),
        }
    }
    Ok(owners)
}

fn metadata() -> Result<Metadata> {
    let version = Cmd::new("rustc", "ask the compiler for its version")
        .arg("-vV")
        .dir(places::repository())
        .read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc -vV names no host")?;
    let text = Cmd::new("cargo", "list the crates of the workspace")
        .args(["metadata", "--locked", "--format-version=1"])
        .args(["--filter-platform", host])
        .dir(places::repository())
        .read()?;
    serde_json::from_str(&text).context("reading the output of cargo metadata")
}

/// Where the compiler and its library are installed.
fn sysroot() -> Result<PathBuf> {
    Cmd::new("rustc", "ask the compiler where it is installed")
        .args(["--print", "sysroot"])
        .dir(places::repository())
        .read()
        .map(PathBuf::from)
}

/// Compiler flags that replace this machine's paths; where two match, the later one counts.
fn flags(target: &Path, sysroot: &Path) -> Result<String> {
    let pairs = [
        (places::cargo_home()?, "/cargo"),
        (sysroot.join("lib/rustlib/src/rust"), "/rust"),
        (places::repository(), "/moraine"),
        (target.to_path_buf(), "/moraine/target"),
    ];
    let flags = pairs.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    // Unlike RUSTFLAGS, this variable takes paths with spaces.
    Ok(flags.join("\x1f"))
}

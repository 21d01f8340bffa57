//! The cargo tools that our checks need, built from crates.io at a fixed version when they are first wanted.
//!
//! They go into the cache, each into a folder named by its version, never into the user's own cargo. They are built
//! without optimisation: cargo-deny and cargo-nextest spend their time waiting for others, and build in a third of it.

use crate::places;
use crate::proc::Cmd;
use crate::progress::Step;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A tool that can be had.
#[derive(Clone, Copy)]
pub(crate) enum Tool {
    /// Checks what we depend on.
    Deny,
    /// Runs tests, each in a process of its own with a time limit.
    Nextest,
}

impl Tool {
    const fn name(self) -> &'static str {
        match self {
            Self::Deny => "cargo-deny",
            Self::Nextest => "cargo-nextest",
        }
    }

    const fn version(self) -> &'static str {
        match self {
            Self::Deny => "0.20.2",
            Self::Nextest => "0.9.151",
        }
    }

    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Deny => &[],
            // Without the updater, which would bring an HTTP client and TLS.
            Self::Nextest => &["--no-default-features"],
        }
    }
}

/// The program, built first if the cache has it not.
pub(crate) fn ensure(tool: Tool) -> Result<PathBuf> {
    let (name, version) = (tool.name(), tool.version());
    let folder = places::cache()?.join("tools");
    let home = folder.join(format!("{name}-{version}"));
    let program = home.join("bin").join(name);
    if program.exists() {
        return Ok(program);
    }
    let mut step = Step::start(format!("building {name} {version} (once)"));
    let building = Building::new(&folder, name)?;
    let root = building.0.join("root");
    Cmd::new("cargo", format!("build {name} {version} from crates.io"))
        .args(["install", "--locked", "--debug", "--root"])
        .arg(&root)
        .arg(format!("{name}@{version}"))
        .args(tool.options())
        .env("CARGO_TARGET_DIR", building.0.join("target"))
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("CARGO_PROFILE_DEV_INCREMENTAL", "false")
        .dir(&building.0)
        .run_logged(&folder.join(format!("{name}-{version}.log")), &mut step)?;
    // Whole or not at all; if another run was faster, its build is as good.
    if fs::rename(&root, &home).is_err() && !program.exists() {
        fs::rename(&root, &home)
            .with_context(|| format!("moving the build to {}", home.display()))?;
    }
    step.done("");
    Ok(program)
}

/// A folder to build in, gone afterwards.
struct Building(PathBuf);

impl Building {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(format!("building-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

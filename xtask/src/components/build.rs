//! Building one component into the cache.
//!
//! Everything happens in a folder whose name starts with `building-`; the last act renames it to its final name. A
//! crash leaves such a folder, and the next build (under the lock) removes it. Nothing half built is ever used.

use super::recipe::Component;
use crate::oci::{self, ImageSpec};
use crate::places;
use crate::proc::Cmd;
use crate::progress::Step;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

const BUILDING: &str = "building-";

/// Where `go mod download -json` put a module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    dir: PathBuf,
    go_mod: PathBuf,
}

/// Go's caches, which a build fills.
pub(super) struct GoCaches {
    pub(super) builds: PathBuf,
    pub(super) modules: PathBuf,
}

/// Asks Go for its caches.
pub(super) fn go_caches(go: &Path) -> Result<GoCaches> {
    let printed = Cmd::new(go, "ask Go for its caches")
        .args(["env", "GOCACHE", "GOMODCACHE"])
        .env("GOTOOLCHAIN", "local")
        .read()?;
    let (builds, modules) = printed
        .split_once('\n')
        .with_context(|| format!("go env printed {printed:?}"))?;
    Ok(GoCaches {
        builds: PathBuf::from(builds),
        modules: PathBuf::from(modules),
    })
}

/// Builds `component` into its folder under `root`. The caller holds the lock.
pub(super) fn build(go: &Path, component: &Component, root: &Path, place: &str) -> Result<()> {
    remove_abandoned(root)?;
    let scratch = root.join(format!("{BUILDING}{}", component.name));
    let output = scratch.join("output");
    fs::create_dir_all(output.join("bin"))
        .with_context(|| format!("making {}", output.display()))?;
    let title = format!("{place} {} v{} building", component.name, component.version);
    let mut build = Build {
        go,
        component,
        scratch: &scratch,
        output: &output,
        step: Step::start(title),
    };
    build.go_programs()?;
    if component.pause {
        build.pause()?;
    }
    for (module, version, folder) in component.manifests {
        build.manifests(module, version, folder)?;
    }
    if component.image {
        build.image()?;
    }
    build.step.done("built");
    let folder = root.join(component.folder());
    fs::rename(&output, &folder).with_context(|| format!("naming {}", folder.display()))?;
    fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))
}

fn remove_abandoned(root: &Path) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(BUILDING) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}

struct Build<'a> {
    go: &'a Path,
    component: &'a Component,
    scratch: &'a Path,
    output: &'a Path,
    step: Step,
}

impl Build<'_> {
    fn go_programs(&mut self) -> Result<()> {
        let component = self.component;
        let upstream = self.download(component.module, component.version)?;
        let upstream = fs::read_to_string(&upstream.go_mod)
            .with_context(|| format!("reading {}", upstream.go_mod.display()))?;
        for (name, text) in [
            ("go.mod", component.go_mod(&upstream)),
            ("tools.go", component.tools_go()),
        ] {
            let file = self.scratch.join(name);
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        self.go("tidy", &["mod", "tidy"])?;
        let flags = component.linker_flags();
        for program in component.programs {
            let package = component.package(program);
            let target = self.output.join("bin").join(program.name);
            let target = target.to_string_lossy();
            let arguments = [
                "build",
                "-trimpath",
                "-tags",
                component.tags,
                "-ldflags",
                &flags,
                "-o",
                &target,
                &package,
            ];
            self.go(program.name, &arguments)?;
        }
        Ok(())
    }

    fn download(&mut self, module: &str, version: &str) -> Result<Module> {
        let wanted = format!("{module}@v{version}");
        self.go("download", &["mod", "download", &wanted])?;
        let found = self
            .command(&["mod", "download", "-json", &wanted])
            .read()?;
        serde_json::from_str(&found).with_context(|| format!("go mod download printed {found:?}"))
    }

    fn go(&mut self, stage: &str, arguments: &[&str]) -> Result<()> {
        let log = places::cache()?.join(format!("logs/build/{}-{stage}.log", self.component.name));
        let done = self.command(arguments).run_logged(&log, &mut self.step);
        let Err(error) = done else { return Ok(()) };
        // A Ctrl-C is no failure of the build.
        crate::interrupt::check()?;
        let output = fs::read(&log).unwrap_or_default();
        match explain(&String::from_utf8_lossy(&output)) {
            Some(reason) => bail!(
                "could not build {}: {reason} (the whole output is in {})",
                self.component.name,
                log.display()
            ),
            None => Err(error),
        }
    }

    fn command(&self, arguments: &[&str]) -> Cmd {
        Cmd::new(self.go, format!("build {}", self.component.name))
            .args(arguments)
            .dir(self.scratch)
            .env("GOFLAGS", "-mod=mod -buildvcs=false")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", if self.component.cgo { "1" } else { "0" })
    }

    /// The program that holds a pod's namespaces, and its image.
    fn pause(&mut self) -> Result<()> {
        let module = self.download(self.component.module, self.component.version)?;
        let rootfs = self.folder("pause")?;
        Cmd::new("gcc", "build the pause program")
            .args(["-Os", "-Wall", "-static", "-s"])
            .arg(format!("-DVERSION={}", self.component.version))
            .arg("-o")
            .arg(rootfs.join("pause"))
            .arg(module.dir.join("build/pause/linux/pause.c"))
            .run()?;
        self.pack(&rootfs, super::PAUSE_IMAGE, "/pause")
    }

    /// The image of a sidecar: its program and nothing else.
    fn image(&mut self) -> Result<()> {
        let rootfs = self.folder("rootfs")?;
        let name = self.component.name;
        fs::copy(self.output.join("bin").join(name), rootfs.join(name))
            .with_context(|| format!("copying {name}"))?;
        self.pack(&rootfs, &self.component.image_name(), &format!("/{name}"))
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.scratch.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }

    fn pack(&mut self, rootfs: &Path, name: &str, entrypoint: &str) -> Result<()> {
        self.step.tick();
        let spec = ImageSpec {
            name: name.to_owned(),
            entrypoint: vec![entrypoint.to_owned()],
            ..ImageSpec::default()
        };
        let out = self.output.join(format!("images{entrypoint}.tar"));
        oci::write_archive(rootfs, &spec, &out)?;
        Ok(())
    }

    fn manifests(&mut self, module: &str, version: &str, path: &str) -> Result<()> {
        let module = self.download(module, version)?;
        let target = self.output.join("manifests");
        fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
        for file in manifest_files(&module.dir.join(path))? {
            let name = file.file_name().context("a file has a name")?;
            // Not a copy: the module cache is read-only, and so would the copy be.
            fs::read(&file)
                .and_then(|text| fs::write(target.join(name), text))
                .with_context(|| format!("copying {}", file.display()))?;
        }
        Ok(())
    }
}

/// The file itself, or the manifests in a folder.
fn manifest_files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
        let file = entry?.path();
        let is_yaml = file.extension().is_some_and(|ending| ending == "yaml");
        if is_yaml && !file.ends_with("kustomization.yaml") {
            found.push(file);
        }
    }
    Ok(found)
}

/// Go's commonest troubles, in one sentence.
fn explain(output: &str) -> Option<&'static str> {
    let has = |texts: &[&str]| texts.iter().any(|text| output.contains(text));
    if has(&["no space left on device"]) {
        return Some("the disk is full");
    }
    if has(&[
        "GOTOOLCHAIN=local",
        "toolchain not available",
        "download go1.",
    ]) {
        return Some(
            "it needs a newer Go, which this Go may not or could not fetch by itself: \
             unset GOTOOLCHAIN (go env -u GOTOOLCHAIN) and be online, or install the newest Go",
        );
    }
    let offline = [
        "dial tcp",
        "no such host",
        "network is unreachable",
        "i/o timeout",
        "TLS handshake timeout",
        "connection reset by peer",
        "unexpected EOF",
    ];
    has(&offline).then_some("Go modules could not be fetched: is this machine offline?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_troubles_have_a_sentence() {
        let starts = |output: &str| explain(output).map(|text| text.split(' ').next().unwrap());
        let disk = "link: mapping output file failed: no space left on device";
        assert_eq!(starts(disk), Some("the"));
        let go = "go: go.mod requires go >= 1.26.8 (running go 1.24.1; GOTOOLCHAIN=local)";
        assert_eq!(starts(go), Some("it"));
        let lookup =
            "Get \"https://proxy.golang.org/x\": dial tcp: lookup proxy.golang.org: no such host";
        assert_eq!(starts(lookup), Some("Go"));
        assert_eq!(starts("x.go:1: undefined: y"), None);
    }

    #[test]
    fn an_abandoned_build_is_removed_and_a_built_one_is_kept() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("building-x/output/bin")).unwrap();
        fs::create_dir_all(root.path().join("x-1.0.0-abcd")).unwrap();
        remove_abandoned(root.path()).unwrap();
        let left: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["x-1.0.0-abcd"]);
    }
}

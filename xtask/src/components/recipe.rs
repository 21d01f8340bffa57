//! How a component is built, as a value; what differs in it gets another folder.

use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Raised when the way of building changes for all components.
const FORMAT: u32 = 1;

/// One row of the table.
pub(crate) struct Component {
    /// What we call it.
    pub(crate) name: &'static str,
    /// Its version, without the leading `v`.
    pub(crate) version: &'static str,
    /// How much disk a first build takes, Go's caches included.
    pub(super) disk_gib: u64,
    pub(super) module: &'static str,
    pub(super) programs: &'static [Program],
    /// Go build tags.
    pub(super) tags: &'static str,
    /// Whether it needs a C compiler.
    pub(super) cgo: bool,
    /// The Go variable that holds the version it prints; empty for none.
    pub(super) version_variable: &'static str,
    /// Whether its program is packed as the image that users' clusters pull.
    pub(super) image: bool,
    /// Whether Kubernetes' pause program is built beside it.
    pub(super) pause: bool,
    /// `(module, version, path)` of a YAML file, or of a folder of them, to keep under `manifests`.
    pub(super) manifests: &'static [(&'static str, &'static str, &'static str)],
}

/// A program of a component.
pub(super) struct Program {
    pub(super) name: &'static str,
    folder: &'static str,
}

impl Program {
    /// `folder` is the package's folder in its module.
    pub(super) const fn at(name: &'static str, folder: &'static str) -> Self {
        Self { name, folder }
    }
}

impl Component {
    pub(super) const fn of(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            disk_gib: 1,
            module: "",
            programs: &[],
            tags: "",
            cgo: false,
            version_variable: "",
            image: false,
            pause: false,
            manifests: &[],
        }
    }

    /// The name that a user's cluster pulls it under.
    pub(crate) fn image_name(&self) -> String {
        format!(
            "registry.k8s.io/sig-storage/{}:v{}",
            self.name, self.version
        )
    }

    /// The folder in the cache, which names the recipe.
    pub(super) fn folder(&self) -> String {
        let programs: Vec<_> = self
            .programs
            .iter()
            .map(|program| (program.name, self.package(program)))
            .collect();
        let recipe = json!([
            FORMAT,
            self.module,
            programs,
            self.tags,
            self.cgo,
            self.linker_flags(),
            self.image,
            self.pause,
            self.manifests,
        ]);
        let hash = Sha256::digest(recipe.to_string());
        let short = hash.iter().take(4).fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            text
        });
        format!("{}-{}-{short}", self.name, self.version)
    }

    /// The Go package of a program.
    pub(super) fn package(&self, program: &Program) -> String {
        match program.folder {
            "" => self.module.to_owned(),
            folder => format!("{}/{folder}", self.module),
        }
    }

    /// Flags of Go's linker: no symbol tables, and the version that the program shall print.
    pub(super) fn linker_flags(&self) -> String {
        let version = self.version;
        let mut flags = "-s -w".to_owned();
        let mut set = |variable: &str, value: &str| {
            write!(flags, " -X {variable}={value}").expect("writing to a String cannot fail");
        };
        if !self.version_variable.is_empty() {
            set(self.version_variable, &format!("v{version}"));
        }
        if self.module == "k8s.io/kubernetes" {
            let mut parts = version.split('.');
            let base = "k8s.io/component-base/version";
            set(&format!("{base}.gitVersion"), &format!("v{version}"));
            set(
                &format!("{base}.gitMajor"),
                parts.next().unwrap_or_default(),
            );
            set(
                &format!("{base}.gitMinor"),
                parts.next().unwrap_or_default(),
            );
        }
        flags
    }

    /// The go.mod to build it with. `upstream` is the module's own go.mod: a main module's replacements do not hold
    /// for those that require it, so Kubernetes' staging modules are replaced by their published versions.
    pub(super) fn go_mod(&self, upstream: &str) -> String {
        let go = upstream
            .lines()
            .find(|line| line.starts_with("go "))
            .unwrap_or("go 1.21");
        let Self {
            name,
            module,
            version,
            ..
        } = self;
        let mut text =
            format!("module moraine.io/components/{name}\n\n{go}\n\nrequire {module} v{version}\n");
        if let Some(staging) = version
            .strip_prefix("1.")
            .filter(|_| *module == "k8s.io/kubernetes")
        {
            for replaced in staging_modules(upstream) {
                writeln!(text, "replace {replaced} => {replaced} v0.{staging}")
                    .expect("writing to a String cannot fail");
            }
        }
        text
    }

    /// A Go file that imports what is built, so that `go mod tidy` keeps it.
    pub(super) fn tools_go(&self) -> String {
        let imports: Vec<String> = self
            .programs
            .iter()
            .map(|program| format!("import _ \"{}\"\n", self.package(program)))
            .collect();
        format!("//go:build tools\n\npackage tools\n\n{}", imports.concat())
    }
}

/// Modules that `go_mod` replaces by folders under `staging`.
fn staging_modules(go_mod: &str) -> Vec<&str> {
    go_mod
        .lines()
        .filter_map(|line| {
            line.trim()
                .trim_start_matches("replace ")
                .split_once(" => ./staging/")
        })
        .map(|(module, _)| module)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::table::{KUBERNETES_COMPONENT, all};
    use super::*;
    use std::collections::HashSet;

    const UPSTREAM: &str = "module k8s.io/kubernetes\n\ngo 1.26.0\n\nreplace (\n\
        \tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/client-go => ./staging/src/k8s.io/client-go\n\
        \texample.com/x => example.com/y v1.0.0\n)\n";

    #[test]
    fn staging_modules_follow_the_version_of_kubernetes() {
        let component = Component {
            version: "1.40.3",
            ..Component::of("kubernetes", "")
        };
        let component = Component {
            module: "k8s.io/kubernetes",
            ..component
        };
        assert_eq!(
            component.go_mod(UPSTREAM),
            "module moraine.io/components/kubernetes\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.40.3\n\
             replace k8s.io/api => k8s.io/api v0.40.3\nreplace k8s.io/client-go => k8s.io/client-go v0.40.3\n"
        );
        assert!(
            component
                .linker_flags()
                .ends_with("gitMajor=1 -X k8s.io/component-base/version.gitMinor=40")
        );
    }

    #[test]
    fn another_recipe_is_another_folder() {
        let plain = Component {
            tags: "a",
            ..Component::of("thing", "1.0.0")
        };
        let other = Component {
            tags: "b",
            ..Component::of("thing", "1.0.0")
        };
        assert_ne!(plain.folder(), other.folder());
        assert!(plain.folder().starts_with("thing-1.0.0-"));
        let folders: HashSet<String> = all().iter().map(|one| one.folder()).collect();
        assert_eq!(folders.len(), all().len());
    }

    #[test]
    fn each_program_is_imported() {
        let text = KUBERNETES_COMPONENT.tools_go();
        assert!(text.contains("import _ \"k8s.io/kubernetes/cmd/kubelet\"\n"));
        assert!(text.starts_with("//go:build tools\n\n"));
    }
}

//! Generated files are checked in and up to date: each generator has a mode that compares and writes nothing.

use super::tree::Tree;
use super::{Finding, Verdict};
use crate::places;
use crate::proc::Cmd;
use anyhow::Result;

/// A crate that generates, and the program in it, which takes `--check`.
struct Generator {
    folder: &'static str,
    package: &'static str,
    /// `--bin` or `--example`.
    kind: &'static str,
    program: &'static str,
}

const GENERATORS: &[Generator] = &[
    Generator {
        folder: "crds",
        package: "moraine-crds",
        // An example, so that what only the generator needs stays out of the operator.
        kind: "--example",
        program: "generate-crds",
    },
    Generator {
        folder: "csi-driver/codegen",
        package: "moraine-csi-codegen",
        kind: "--bin",
        program: "moraine-csi-codegen",
    },
];

/// Runs every generator that this checkout has.
pub(super) fn check(tree: &Tree) -> Result<Verdict> {
    check_with(tree, |generator| {
        Cmd::new(
            "cargo",
            format!("check what {} generates", generator.program),
        )
        .args(["run", "--quiet", "--package", generator.package])
        .args([generator.kind, generator.program, "--", "--check"])
        .dir(places::repository())
        .run()
    })
}

fn check_with(tree: &Tree, run: impl Fn(&Generator) -> Result<()>) -> Result<Verdict> {
    let mut findings = Vec::new();
    for generator in GENERATORS {
        let there = tree
            .packages
            .iter()
            .any(|package| package.folder == generator.folder);
        if !there {
            continue;
        }
        if let Err(error) = run(generator) {
            crate::interrupt::check()?;
            let Generator {
                package,
                kind,
                program,
                ..
            } = generator;
            let text = format!(
                "run `cargo run --package {package} {kind} {program}` and commit what it writes: {error:#}"
            );
            findings.push(Finding::new(generator.folder, 0, text));
        }
    }
    Ok(Verdict::Checked(findings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::Package;
    use anyhow::bail;

    fn count(tree: &Tree, run: impl Fn(&Generator) -> Result<()>) -> usize {
        match check_with(tree, run).unwrap() {
            Verdict::Checked(findings) => findings.len(),
            Verdict::Skipped(why) => panic!("{why}"),
        }
    }

    #[test]
    fn a_generator_that_objects_is_a_finding() {
        let mut tree = Tree::of(&[]);
        assert_eq!(count(&tree, |_| bail!("it is not there")), 0);
        tree.packages.push(Package::of("crds", &[]));
        assert_eq!(count(&tree, |_| Ok(())), 0);
        assert_eq!(count(&tree, |_| bail!("pool.yaml differs")), 1);
    }
}

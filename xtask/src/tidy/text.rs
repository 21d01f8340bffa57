//! Text hygiene: what makes diffs noisy, and files that are too large for a source repository.

use super::Finding;
use super::tree::Tree;

/// Larger files belong into a release or are made when needed.
const LARGEST_BYTES: u64 = 1024 * 1024;
/// Where a tab is never meant.
const NO_TABS: &[&str] = &["rs", "yaml", "yml", "toml", "md"];
/// What we keep as it came: output that tests compare with, and the interfaces of others.
const AS_IT_CAME: &[&str] = &["snap", "proto"];

/// Checks every file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| file.size_bytes > LARGEST_BYTES)
    {
        let text = format!(
            "{} KiB, more than the 1024 that a file here may have: make it when it is needed",
            file.size_bytes / 1024
        );
        findings.push(Finding::new(&file.path, 0, text));
    }
    for (file, text) in tree.texts() {
        let is_one_of = |list: &[&str]| list.iter().any(|end| file.has_extension(end));
        if is_one_of(AS_IT_CAME) {
            continue;
        }
        let no_tabs = is_one_of(NO_TABS);
        for (index, line) in text.split('\n').enumerate() {
            if line.ends_with(|letter: char| letter.is_whitespace()) {
                let text = "remove the spaces at the end of the line";
                findings.push(Finding::new(&file.path, index + 1, text));
            }
            if no_tabs && line.contains('\t') {
                let text = "indent with spaces, not tabs";
                findings.push(Finding::new(&file.path, index + 1, text));
            }
        }
        let last = text.lines().count();
        if !text.is_empty() && !text.ends_with('\n') {
            findings.push(Finding::new(
                &file.path,
                last,
                "end the file with a line end",
            ));
        }
        if text.ends_with("\n\n") {
            findings.push(Finding::new(
                &file.path,
                last,
                "remove the empty lines at the end",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)]))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn noise_is_found() {
        assert_eq!(
            findings("a.md", "a \nb\n"),
            ["a.md:1: remove the spaces at the end of the line"]
        );
        assert_eq!(findings("a.md", "a\r\n").len(), 1);
        assert_eq!(
            findings("a.yaml", "a\n\tb\n"),
            ["a.yaml:2: indent with spaces, not tabs"]
        );
        assert_eq!(findings("a.go", "a\n\tb\n").len(), 0);
        assert_eq!(
            findings("a.rs", "a\nb"),
            ["a.rs:2: end the file with a line end"]
        );
        assert_eq!(findings("a.rs", "a\n\n").len(), 1);
        assert_eq!(
            findings("a.rs", "").len() + findings("a.snap", "a \n").len(),
            0
        );
    }

    #[test]
    fn large_files_are_found_even_if_not_text() {
        let large = "\0".repeat(1024 * 1024 + 1);
        assert!(findings("a.bin", &large)[0].starts_with("a.bin: 1024 KiB"));
        assert!(findings("a.bin", &large[1..]).is_empty());
    }
}

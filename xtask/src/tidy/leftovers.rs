//! Leftovers: what was meant to be done later and has no owner, and traces of the machine it was written on.

use super::Finding;
use super::tree::{File, Tree};

/// Each is put together here so that this file is not its own finding.
const LATER: &str = concat!("TO", "DO");
const BROKEN: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];
const HOMES: [&str; 3] = [
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
];

/// Checks every line of every text file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.texts().filter(|(file, _)| !is_foreign(file)) {
        for (index, line) in text.lines().enumerate() {
            let texts = line_findings(line);
            findings.extend(
                texts
                    .into_iter()
                    .map(|text| Finding::new(&file.path, index + 1, text)),
            );
        }
    }
    for (file, source) in tree.sources() {
        for (word, line) in source.words() {
            if word == "ignore" && is_bare_ignore(file, line) {
                let text = "an ignored test needs its reason: `#[ignore = \"reason\"]`";
                findings.push(Finding::new(&file.path, line, text));
            }
        }
    }
    findings
}

/// Text that is not ours: licences and lock files.
fn is_foreign(file: &File) -> bool {
    file.has_extension("lock") || file.path == "LICENSE"
}

fn line_findings(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in after_word(line, LATER) {
        if !has_owner(rest) {
            found.push(format!("write {LATER}(name): reason, or do it now"));
        }
    }
    for word in BROKEN {
        if !after_word(line, word).is_empty() {
            found.push(format!("{word}: mend it, or open an issue and remove this"));
        }
    }
    let macro_call = concat!("to", "do!");
    if !after_word(line, &macro_call[..4])
        .iter()
        .all(|rest| !rest.starts_with('!'))
    {
        found.push(format!("{macro_call}: write it, or leave the function out"));
    }
    for home in HOMES {
        if let Some(at) = line.find(home)
            && is_path_start(&line[..at])
        {
            found.push(format!(
                "{home}... is somebody's own folder: take it from the environment"
            ));
        }
    }
    found
}

/// What follows each place where the word stands alone.
fn after_word<'a>(line: &'a str, word: &str) -> Vec<&'a str> {
    let alone = |at: usize| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let part = |letter: char| letter.is_alphanumeric() || letter == '_';
        !before.is_some_and(part) && !after.is_some_and(part)
    };
    let places = line.match_indices(word).filter(|(at, _)| alone(*at));
    places.map(|(at, _)| &line[at + word.len()..]).collect()
}

/// `(name): reason`.
fn has_owner(rest: &str) -> bool {
    let inside = rest
        .strip_prefix('(')
        .and_then(|rest| rest.split_once("): "));
    inside.is_some_and(|(name, reason)| !name.trim().is_empty() && !reason.trim().is_empty())
}

/// Not the middle of a longer path or of an address.
fn is_path_start(before: &str) -> bool {
    !before
        .chars()
        .next_back()
        .is_some_and(|letter| letter.is_alphanumeric() || "._-~/}".contains(letter))
}

fn is_bare_ignore(file: &File, line: usize) -> bool {
    let text = file
        .text
        .as_deref()
        .and_then(|text| text.lines().nth(line - 1));
    text.is_some_and(|text| text.trim() == "#[ignore]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, line: &str) -> usize {
        check(&Tree::of(&[(path, &format!("{line}\n"))])).len()
    }

    #[test]
    fn later_needs_an_owner_and_a_reason() {
        assert_eq!(count("a.rs", &format!("// {LATER}: this")), 1);
        assert_eq!(count("a.rs", &format!("// {LATER}(ann):")), 1);
        assert_eq!(count("a.md", &format!("{LATER} this")), 1);
        assert_eq!(
            count("a.rs", &format!("// {LATER}(ann): when kube 6 is out")),
            0
        );
        assert_eq!(count("a.rs", "// MASTODON"), 0);
    }

    #[test]
    fn markers_of_broken_code_are_found() {
        assert_eq!(count("a.yaml", &format!("# {}", BROKEN[0])), 1);
        assert_eq!(count("a.rs", &format!("// {} odd", BROKEN[1])), 1);
        assert_eq!(
            count("a.sh", &format!("mktemp /tmp/a.{}{}", BROKEN[1], BROKEN[1])),
            0
        );
        assert_eq!(count("a.rs", concat!("fn a() { to", "do!() }")), 1);
    }

    #[test]
    fn homes_are_found() {
        for home in HOMES {
            assert_eq!(
                count("a.toml", &format!("path = \"{home}ann/b\"")),
                1,
                "{home}"
            );
            assert_eq!(
                count("a.md", &format!("see https://example.org{home}ann")),
                0,
                "{home}"
            );
            assert_eq!(count("Cargo.lock", &format!("{home}ann")), 0, "{home}");
        }
    }

    #[test]
    fn an_ignored_test_needs_a_reason() {
        assert_eq!(count("a.rs", "#[ignore]\nfn a() {}"), 1);
        assert_eq!(count("a.rs", "#[ignore = \"needs a disk\"]\nfn a() {}"), 0);
    }
}

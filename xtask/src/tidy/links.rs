//! Links between documents: what a Markdown file links to is there, and is part of the repository.
//!
//! Addresses on the web are not tried: a test must not depend on somebody else's server.

use super::Finding;
use super::modules::join;
use super::tree::Tree;

/// Checks the relative links of every Markdown file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.texts().filter(|(file, _)| file.has_extension("md")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut in_code = false;
        for (index, line) in text.lines().enumerate() {
            in_code ^= line.trim_start().starts_with("```");
            for target in targets(line).filter(|_| !in_code) {
                let path = join(folder, target);
                if !exists(tree, &path) {
                    let text = format!("the link to {target} leads nowhere: mend it");
                    findings.push(Finding::new(&file.path, index + 1, text));
                }
            }
        }
    }
    findings
}

/// The `target` of each `](target)` that is a path, without its `#section`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .filter_map(|(target, _)| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains(':'))
}

fn exists(tree: &Tree, path: &str) -> bool {
    let inside = |file: &str| {
        file.strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    tree.files
        .iter()
        .any(|file| file.path == path || inside(&file.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_somewhere_inside() {
        let text = "[a](b.md#part) [c](../src/) [web](https://example.org) [here](#part)\n\n[gone](gone.md) \
                    [out](../../other/x.md)\n```\n[code](x.md)\n```\n";
        let tree = Tree::of(&[("docs/a.md", text), ("docs/b.md", ""), ("src/c.rs", "")]);
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "docs/a.md:3: the link to gone.md leads nowhere: mend it",
                "docs/a.md:3: the link to ../../other/x.md leads nowhere: mend it",
            ]
        );
    }
}

//! Lengths: a file has at most 500 lines without its tests and 800 with them, a function at most 70.
//!
//! clippy's `too_many_lines` counts a function's code; here every line counts, from `fn` to the last brace, since that
//! is what has to fit on a reader's screen. Files that a program wrote are not measured.

use super::Finding;
use super::exceptions::{Exception, Exceptions, LIST};
use super::syntax::{Source, lines};
use super::tree::Tree;
use anyhow::Result;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, Signature, TraitItemFn};

const CODE_LINES: usize = 500;
const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;

/// Something with a length.
struct Measured {
    path: String,
    /// Empty for a file.
    name: String,
    line: usize,
    lines: usize,
}

/// Measures everything and compares it with the limits and the list of exceptions.
pub(super) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let exceptions = Exceptions::read(tree)?;
    let (mut code, mut files, mut functions) = (Vec::new(), Vec::new(), Vec::new());
    for (file, source) in tree.sources().filter(|(file, _)| !file.is_generated()) {
        let whole = |lines| Measured {
            path: file.path.clone(),
            name: String::new(),
            line: 0,
            lines,
        };
        let total = file.text.as_deref().map_or(0, |text| text.lines().count());
        files.push(whole(total));
        if !file.is_tests() {
            code.push(whole(total - source.test_lines().len()));
        }
        functions.extend(measure_functions(&file.path, source));
    }
    let mut findings = Vec::new();
    let limit = Limit {
        what: "lines without its tests",
        most: CODE_LINES,
        advice: "split it by subject",
    };
    limit.compare(&code, &exceptions.code, &mut findings);
    let limit = Limit {
        what: "lines with its tests",
        most: FILE_LINES,
        advice: "split it by subject, or move its tests into a file of their own",
    };
    limit.compare(&files, &exceptions.files, &mut findings);
    let limit = Limit {
        what: "lines",
        most: FUNCTION_LINES,
        advice: "keep the decisions here and move the work into functions",
    };
    limit.compare(&functions, &exceptions.functions, &mut findings);
    Ok(findings)
}

/// A rule about one kind of length.
struct Limit {
    what: &'static str,
    most: usize,
    advice: &'static str,
}

impl Limit {
    fn compare(&self, all: &[Measured], list: &[Exception], findings: &mut Vec<Finding>) {
        for measured in all.iter().filter(|measured| measured.lines > self.most) {
            let listed = list.iter().find(|entry| measured.is(entry));
            let limit = listed.map_or(self.most, |entry| entry.lines);
            if measured.lines > limit {
                let text = format!(
                    "{} has {} {}, the limit is {limit}: {}",
                    measured.subject(),
                    measured.lines,
                    self.what,
                    self.advice
                );
                findings.push(Finding::new(&measured.path, measured.line, text));
            }
        }
        for entry in list {
            let found = all.iter().filter(|measured| measured.is(entry));
            let lines = found.map(|measured| measured.lines).max();
            let subject = format!("the exception for {} {}", entry.path, entry.name);
            let subject = subject.trim_end();
            let text = match lines {
                None => format!("{subject} is for something that is gone: remove it"),
                Some(lines) if lines <= self.most => {
                    format!("{subject} is no longer needed: remove it")
                }
                Some(lines) if lines < entry.lines => {
                    format!(
                        "{subject} allows {}, but there are {lines}: lower it",
                        entry.lines
                    )
                }
                Some(_) if entry.reason.trim().is_empty() => {
                    format!("{subject} has no reason: give it")
                }
                Some(_) => continue,
            };
            findings.push(Finding::new(LIST, 0, text));
        }
    }
}

impl Measured {
    fn is(&self, entry: &Exception) -> bool {
        self.path == entry.path && self.name == entry.name
    }

    fn subject(&self) -> String {
        if self.name.is_empty() {
            "the file".to_owned()
        } else {
            format!("`{}`", self.name)
        }
    }
}

fn measure_functions(path: &str, source: &Source) -> Vec<Measured> {
    let mut finder = Functions {
        path,
        found: Vec::new(),
    };
    finder.visit_file(&source.tree);
    finder.found
}

struct Functions<'a> {
    path: &'a str,
    found: Vec<Measured>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let (first, last) = (*lines(signature).start(), *lines(body).end());
        self.found.push(Measured {
            path: self.path.to_owned(),
            name: signature.ident.to_string(),
            line: first,
            lines: last - first + 1,
        });
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let found = check(&Tree::of(files)).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    fn function(lines: usize) -> String {
        format!(
            "/// Doc.\nfn long() {{\n{}}}\n",
            "    a();\n".repeat(lines - 2)
        )
    }

    #[test]
    fn a_function_of_71_lines_is_too_long() {
        assert!(findings(&[("a/src/b.rs", &function(70))]).is_empty());
        let found = findings(&[("a/src/b.rs", &function(71))]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("a/src/b.rs:2: `long` has 71 lines, the limit is 70"),
            "{found:?}"
        );
        let method = format!("impl A {{\n{}}}\n", function(71));
        assert_eq!(findings(&[("a/src/b.rs", &method)]).len(), 1);
    }

    #[test]
    fn tests_count_only_in_the_whole() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(200));
        let code = "\n".repeat(500);
        assert!(findings(&[("a/src/b.rs", &format!("{code}{tests}"))]).is_empty());
        let found = findings(&[("a/src/b.rs", &format!("{code}fn a() {{}}\n{tests}"))]);
        assert!(
            found[0].starts_with("a/src/b.rs: the file has 501 lines without its tests"),
            "{found:?}"
        );
        assert!(findings(&[("a/src/b/tests.rs", &"\n".repeat(800))]).is_empty());
        assert_eq!(
            findings(&[("a/src/b/tests.rs", &"\n".repeat(801))]).len(),
            1
        );
    }

    #[test]
    fn the_list_of_exceptions_is_exact() {
        let list = |lines| {
            format!(
                "[[function]]\npath = \"a/src/b.rs\"\nname = \"long\"\nlines = {lines}\nreason = \"a\"\n"
            )
        };
        let with =
            |length, lines| findings(&[("a/src/b.rs", &function(length)), (LIST, &list(lines))]);
        assert!(with(90, 90).is_empty());
        assert!(with(91, 90)[0].contains("the limit is 90"));
        assert!(with(89, 90)[0].contains("allows 90, but there are 89: lower it"));
        assert!(with(70, 90)[0].contains("no longer needed"));
        assert!(findings(&[(LIST, &list(90))])[0].contains("is gone"));
        let silent = list(90).replace("\"a\"\n", "\" \"\n");
        assert!(
            findings(&[("a/src/b.rs", &function(90)), (LIST, &silent)])[0].contains("no reason")
        );
    }

    #[test]
    fn what_a_program_wrote_is_not_measured() {
        let text = format!("// @generated by prost\n{}", function(300));
        assert!(findings(&[("a/src/b.rs", &text)]).is_empty());
    }
}

//! A Rust file as tokens and as a syntax tree, with the questions that several rules ask of it.

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ItemFn, ItemImpl, ItemMod, Meta};

/// A parsed file.
pub(super) struct Source {
    pub(super) tree: syn::File,
    pub(super) tokens: TokenStream,
}

impl Source {
    /// Parses a file; the error is a line and a message.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let tokens: TokenStream = text.parse().map_err(|error: LexError| {
            let line = error.span().start().line;
            (line, error.to_string())
        })?;
        let tree = syn::parse2(tokens.clone())
            .map_err(|error: syn::Error| (error.span().start().line, error.to_string()))?;
        Ok(Self { tree, tokens })
    }

    /// The lines that only tests use.
    pub(super) fn test_lines(&self) -> BTreeSet<usize> {
        let mut finder = TestLines::default();
        finder.visit_file(&self.tree);
        finder.0
    }

    /// Every identifier of the file with its line, those in macros too.
    pub(super) fn words(&self) -> Vec<(String, usize)> {
        let mut words = Vec::new();
        collect_words(self.tokens.clone(), &mut words);
        words
    }
}

/// Whether these attributes make an item one that only tests see.
pub(super) fn only_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => demands_test(list.tokens.clone()),
        _ => false,
    })
}

/// `test`, or `all(...)` with `test` among its conditions.
fn demands_test(condition: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = condition.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(all), TokenTree::Group(list)]
            if all == "all" && list.delimiter() == Delimiter::Parenthesis =>
        {
            let list: Vec<TokenTree> = list.stream().into_iter().collect();
            list.split(is_comma)
                .any(|part| demands_test(part.iter().cloned().collect()))
        }
        [TokenTree::Ident(test)] => test == "test",
        _ => false,
    }
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',')
}

fn collect_words(tokens: TokenStream, words: &mut Vec<(String, usize)>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => words.push((word.to_string(), word.span().start().line)),
            TokenTree::Group(group) => collect_words(group.stream(), words),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The lines of a piece of syntax.
pub(super) fn lines(node: &impl Spanned) -> RangeInclusive<usize> {
    let span = node.span();
    span.start().line..=span.end().line
}

#[derive(Default)]
struct TestLines(BTreeSet<usize>);

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if only_tests(&item.attrs) {
            self.0.extend(lines(item));
        } else {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if only_tests(&item.attrs) {
            self.0.extend(lines(item));
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if only_tests(&item.attrs) {
            self.0.extend(lines(item));
            return;
        }
        for inner in &item.items {
            if let syn::ImplItem::Fn(function) = inner
                && only_tests(&function.attrs)
            {
                self.0.extend(lines(function));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn test_modules_and_functions_count_as_tests() {
        let text = "fn a() {}\n#[cfg(test)]\nfn b() {}\n#[cfg(all(unix, test))]\nmod c {\n    fn d() {}\n}\n\
                    #[cfg(not(test))]\nfn e() {}\n#[cfg(any(test, unix))]\nfn f() {}\n";
        let source = Source::parse(text).unwrap();
        let lines: Vec<usize> = source.test_lines().into_iter().collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_file_that_is_not_rust_says_where() {
        let (line, _) = Source::parse("fn a() {}\nfn {").err().unwrap();
        assert_eq!(line, 2);
    }
}

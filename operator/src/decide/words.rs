//! Words that several messages share.

use std::fmt::Display;

/// The most names that a message lists.
const NAMES: usize = 8;

/// Names in a row, such as `a, b and 3 more`; they stay in their order.
pub(super) fn names<T: AsRef<str>>(all: &[T]) -> String {
    let shown: Vec<&str> = all.iter().take(NAMES).map(AsRef::as_ref).collect();
    let shown = shown.join(", ");
    match all.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A number with its noun, such as `1 node` or `2 nodes`.
pub(super) fn count(number: impl Display, noun: &str) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_rows_are_cut() {
        assert_eq!(names::<&str>(&[]), "");
        assert_eq!(names(&["a", "b"]), "a, b");
        let many: Vec<String> = (0..11).map(|n| format!("n{n}")).collect();
        assert_eq!(names(&many), "n0, n1, n2, n3, n4, n5, n6, n7 and 3 more");
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(count(0, "node"), "0 nodes");
        assert_eq!(count(1, "node"), "1 node");
        assert_eq!(count(2, "node"), "2 nodes");
    }
}

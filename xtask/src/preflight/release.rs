//! Which distribution this is, from /etc/os-release.

use std::collections::HashMap;

/// The tried releases, as `(ID, VERSION_ID)`.
const TRIED: [(&str, &str); 2] = [("debian", "12"), ("ubuntu", "24.04")];

/// How much we know of a distribution.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Support {
    /// One of those we try.
    Tried,
    /// Has apt and Debian's package names, so it may well work.
    Untried,
    /// Has other packages.
    Unsupported,
}

/// What os-release says.
pub(super) struct Release(HashMap<String, String>);

impl Release {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let unquoted = |value: &str| value.trim().trim_matches(['"', '\'']).to_owned();
        Self(
            pairs
                .map(|(key, value)| (key.trim().to_owned(), unquoted(value)))
                .collect(),
        )
    }

    pub(super) fn support(&self) -> Support {
        if TRIED.contains(&(self.get("ID"), self.get("VERSION_ID"))) {
            return Support::Tried;
        }
        let mut family = self.get("ID_LIKE").split(' ').chain([self.get("ID")]);
        if family.any(|id| id == "debian" || id == "ubuntu") {
            Support::Untried
        } else {
            Support::Unsupported
        }
    }

    pub(super) fn name(&self) -> &str {
        match self.get("PRETTY_NAME") {
            "" => "a system without a name in /etc/os-release",
            name => name,
        }
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn support(text: &str) -> Support {
        Release::parse(text).support()
    }

    #[test]
    fn distributions_are_told_apart() {
        assert_eq!(support("ID=debian\nVERSION_ID=\"12\"\n"), Support::Tried);
        assert_eq!(
            support("ID=ubuntu\nVERSION_ID='24.04'\nID_LIKE=debian"),
            Support::Tried
        );
        assert_eq!(support("ID=debian\nVERSION_ID=13"), Support::Untried);
        assert_eq!(
            support("ID=linuxmint\nID_LIKE=\"ubuntu debian\""),
            Support::Untried
        );
        assert_eq!(support("ID=fedora\nVERSION_ID=12"), Support::Unsupported);
        assert_eq!(support(""), Support::Unsupported);
    }

    #[test]
    fn it_has_a_name_even_without_one() {
        assert_eq!(
            Release::parse("PRETTY_NAME=\"Fedora 44\"").name(),
            "Fedora 44"
        );
        assert!(!Release::parse("").name().is_empty());
    }
}

//! The version of the protocol, its history, and how the next one is made.
//!
//! | version | what it brought |
//! |---|---|
//! | 1 | the first: frames, the handshake, everything in `docs/wire.md` |
//!
//! # How to make the next version
//!
//! What never changes, since peers must understand it before they have agreed on a version: the 32
//! bytes of a frame's header, and the bodies of the handshake, which say version
//! [`HANDSHAKE_VERSION`] in their headers.
//!
//! Everything else may change, as follows.
//! 1. Raise [`VERSION`] and add a line to the history above. Leave [`VERSION_MIN`] where it is, so
//!    that agents and engines can be upgraded one after another: for one release at least, each
//!    speaks both.
//! 2. Hand the version that the handshake chose to `encode_request` and `encode_reply`, and let
//!    [`crate::Header::decode`] take each version from the least to the newest. What is decoded
//!    knows its version by its header.
//! 3. A new kind of message gets a new number in [`crate::Kind`]; a changed body too, unless it
//!    merely grew at its end. Numbers are never used again. What a peer of an older version can't
//!    be told, it must not be told: the sender decides that, not the codec.
//! 4. Leave the golden bytes of older versions in `tests/fixtures` as they are, and add those of the
//!    new one. Give `docs/wire.md` the new tables beside the old ones.
//! 5. When no release that speaks only the old version is supported any more, raise [`VERSION_MIN`]
//!    and remove what it needed.

use moraine_model::OutOfRange;

/// The newest version that this code speaks.
pub const VERSION: u16 = 1;
/// The oldest version that this code speaks.
pub const VERSION_MIN: u16 = 1;
/// What the headers of the handshake say instead of a version: no version changes their layout.
pub const HANDSHAKE_VERSION: u16 = 0;

/// The versions that a peer speaks, from the oldest to the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    min: u16,
    max: u16,
}

impl Versions {
    /// Those of this code.
    pub const OURS: Self = Self {
        min: VERSION_MIN,
        max: VERSION,
    };

    /// From `min` to `max`, neither of them the handshake's.
    pub fn new(min: u16, max: u16) -> Result<Self, OutOfRange> {
        if min == HANDSHAKE_VERSION || min > max {
            return Err(OutOfRange {
                what: "range of versions",
                value: format!("{min} to {max}"),
                allowed: "the oldest first, and none below 1",
            });
        }
        Ok(Self { min, max })
    }

    /// The oldest.
    pub const fn min(self) -> u16 {
        self.min
    }

    /// The newest.
    pub const fn max(self) -> u16 {
        self.max
    }

    /// Whether the version is one of these.
    pub const fn contains(self, version: u16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The newest version that both speak.
    pub fn newest_of_both(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (self.contains(newest) && other.contains(newest)).then_some(newest)
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.min == self.max {
            return write!(f, "version {}", self.min);
        }
        write!(f, "versions {} to {}", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_agree_on_the_newest_version_that_both_speak() {
        let of = |min, max| Versions::new(min, max).unwrap();
        assert_eq!(of(1, 3).newest_of_both(of(2, 5)), Some(3));
        assert_eq!(of(2, 5).newest_of_both(of(1, 3)), Some(3));
        assert_eq!(of(1, 1).newest_of_both(of(1, 1)), Some(1));
        assert_eq!(of(1, 2).newest_of_both(of(3, 4)), None);
        assert_eq!(of(3, 4).newest_of_both(of(1, 2)), None);
        assert!(
            Versions::new(0, 1).is_err(),
            "the handshake's is no version"
        );
        assert!(Versions::new(2, 1).is_err());
    }
}

//! Names of things: clusters, disks, volumes and buckets.
//!
//! The 128-bit ids are made elsewhere (a UUID of an object); here they are only held, ordered and
//! written as 32 hexadecimal digits.

use crate::{BUCKETS_MAX, OutOfRange};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! wide_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u128);

        impl $name {
            /// The id with this value; zero names nothing and is refused.
            pub fn new(value: u128) -> Result<Self, OutOfRange> {
                if value == 0 {
                    return Err(OutOfRange {
                        what: $what,
                        value: "0".to_owned(),
                        allowed: "any 128-bit number but zero",
                    });
                }
                Ok(Self(value))
            }

            /// The id as a number.
            pub const fn get(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = OutOfRange;

            /// Reads hexadecimal digits, with or without the hyphens of a UUID.
            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                let digits: String = text.chars().filter(|&c| c != '-').collect();
                let refused = || OutOfRange {
                    what: $what,
                    value: text.to_owned(),
                    allowed: "1 to 32 hexadecimal digits, not all zero",
                };
                if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                    return Err(refused());
                }
                let value = u128::from_str_radix(&digits, 16).map_err(|_| refused())?;
                Self::new(value).map_err(|_| refused())
            }
        }

        impl TryFrom<String> for $name {
            type Error = OutOfRange;

            fn try_from(text: String) -> Result<Self, OutOfRange> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

wide_id!(
    /// One Moraine cluster. A disk belongs to one for life.
    ClusterId,
    "cluster id"
);
wide_id!(
    /// One formatted disk.
    DiskId,
    "disk id"
);
wide_id!(
    /// One volume. An id is never given to a second volume.
    VolumeId,
    "volume id"
);

/// One bucket of a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct BucketId(u32);

impl BucketId {
    /// The bucket with this number, below [`BUCKETS_MAX`].
    pub fn new(value: u32) -> Result<Self, OutOfRange> {
        if value >= BUCKETS_MAX {
            return Err(OutOfRange {
                what: "bucket",
                value: value.to_string(),
                allowed: "0 to 65535",
            });
        }
        Ok(Self(value))
    }

    /// The number of the bucket.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for BucketId {
    type Error = OutOfRange;

    fn try_from(value: u32) -> Result<Self, OutOfRange> {
        Self::new(value)
    }
}

impl From<BucketId> for u32 {
    fn from(bucket: BucketId) -> u32 {
        bucket.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_id_survives_its_text() {
        let id = VolumeId::new(0x1234_5678_9abc).unwrap();
        assert_eq!(id.to_string().parse::<VolumeId>().unwrap(), id);
        let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        assert_eq!(
            uuid.parse::<VolumeId>().unwrap().to_string(),
            uuid.replace('-', "")
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        assert!(VolumeId::new(0).is_err());
        for text in [
            "",
            "-",
            "0",
            "xyz",
            "+1",
            "123456789012345678901234567890123",
        ] {
            assert!(text.parse::<VolumeId>().is_err(), "{text:?} was taken");
        }
        assert!(BucketId::new(BUCKETS_MAX).is_err());
        assert_eq!(
            BucketId::new(BUCKETS_MAX - 1).unwrap().get(),
            BUCKETS_MAX - 1
        );
    }
}

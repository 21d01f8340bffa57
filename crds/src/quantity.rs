//! Sizes and times as people type them: `10Gi`, `10m`.
//!
//! What only programs write is an integer with its unit in the name (`sizeBytes`) instead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is wrong with a size or a time, in words for who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text is no size.
    #[error("{0:?} is no size: write digits and a unit, such as 512Mi, 10Gi or 2T")]
    NotASize(String),
    /// The size is above 2^63 - 1 bytes, the most that Kubernetes can hold.
    #[error("{0:?} is too large: the most is 8191Pi")]
    TooLarge(String),
    /// The text is no time.
    #[error("{0:?} is no time: write digits and a unit, such as 30s, 10m or 2h")]
    NotATime(String),
}

/// A number of bytes as Kubernetes writes it: digits, at most three of them behind a point, and a
/// unit of 1024 (Ki, Mi, Gi, Ti, Pi) or of 1000 (k, M, G, T, P).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ByteSize(
    #[schemars(
        length(max = 24),
        regex(pattern = r"^[0-9]+(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$")
    )]
    String,
);

impl ByteSize {
    /// The size that this text says; whether it says one is found out by [`ByteSize::bytes`].
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, as it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes, rounded up to a whole one.
    pub fn bytes(&self) -> Result<u64, QuantityError> {
        let refused = || QuantityError::NotASize(self.0.clone());
        let digits = self.0.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: u128 = match self.0.get(digits.len()..).ok_or_else(refused)? {
            "" => 1,
            "k" => 1000,
            "M" => 1000_u128.pow(2),
            "G" => 1000_u128.pow(3),
            "T" => 1000_u128.pow(4),
            "P" => 1000_u128.pow(5),
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            "Pi" => 1 << 50,
            _ => return Err(refused()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !numeric(whole) || !numeric(fraction) || fraction.len() > 3 {
            return Err(refused());
        }
        let too_large = || QuantityError::TooLarge(self.0.clone());
        // Thousandths, so that the fraction is exact.
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let fraction: u64 = format!("{fraction:0<3}").parse().map_err(|_| refused())?;
        let thousandths = u128::from(whole) * 1000 + u128::from(fraction);
        let bytes = thousandths
            .checked_mul(unit)
            .ok_or_else(too_large)?
            .div_ceil(1000);
        let largest = i64::MAX.unsigned_abs();
        u64::try_from(bytes)
            .ok()
            .filter(|&bytes| bytes <= largest)
            .ok_or_else(too_large)
    }
}

/// A span of time as Kubernetes writes it: digits and a unit (ms, s, m, h), one or several times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Interval(
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))] String,
);

impl Interval {
    /// The time that this text says; whether it says one is found out by [`Interval::duration`].
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, as it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The span of time.
    pub fn duration(&self) -> Result<Duration, QuantityError> {
        let refused = || QuantityError::NotATime(self.0.clone());
        let parsed: kube::core::Duration = self.0.parse().map_err(|_| refused())?;
        // The parser takes an empty text for zero.
        if self.0.is_empty() || parsed.is_negative() {
            return Err(refused());
        }
        Ok(parsed.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_kubernetes_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1k", 1000),
            ("512Mi", 512 << 20),
            ("10Gi", 10 << 30),
            ("2T", 2_000_000_000_000),
            ("1.5Gi", 3 << 29),
            ("0.001Ki", 2),
            ("8191Pi", 8191 << 50),
        ] {
            assert_eq!(ByteSize::new(text).bytes(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "Gi", ".5Gi", "1.Gi", "1.2345", "-1Gi", "+1", "10GB", "10gi", "1 Gi", "1e3",
        ] {
            let refused = Err(QuantityError::NotASize(text.to_owned()));
            assert_eq!(ByteSize::new(text).bytes(), refused, "{text}");
        }
        for text in ["8192Pi", "99999999999999999999", "18446744073709551615P"] {
            let refused = Err(QuantityError::TooLarge(text.to_owned()));
            assert_eq!(ByteSize::new(text).bytes(), refused, "{text}");
        }
    }

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("1h30m", 5400), ("0s", 0)] {
            assert_eq!(
                Interval::new(text).duration(),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in ["", "10", "-10m", "ten minutes"] {
            let refused = Err(QuantityError::NotATime(text.to_owned()));
            assert_eq!(Interval::new(text).duration(), refused, "{text}");
        }
    }
}

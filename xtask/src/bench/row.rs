//! A row of a benchmark, and whether it meets its target.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One figure, as a benchmark reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// What was measured.
    pub(super) figure: String,
    pub(super) value: f64,
    pub(super) unit: String,
    /// What it is held against, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) against: Option<Against>,
    pub(super) target: Target,
}

/// A floor (what the machine can do at best) or a peer (what another program does), measured in the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Against {
    pub(super) name: String,
    pub(super) value: f64,
}

/// What is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    /// The value itself, in its unit.
    AtMost(f64),
    /// The value itself, in its unit.
    AtLeast(f64),
    /// The value divided by what it is held against.
    RatioAtMost(f64),
    /// The value divided by what it is held against.
    RatioAtLeast(f64),
}

/// A row with its verdict.
#[derive(Debug, Serialize)]
pub(super) struct Judged {
    #[serde(flatten)]
    pub(super) row: Row,
    /// The value divided by what it is held against.
    pub(super) ratio: Option<f64>,
    pub(super) verdict: Verdict,
}

/// Whether the target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Verdict {
    #[serde(rename = "ok")]
    Ok,
    #[serde(rename = "SHORT")]
    Short,
}

impl Row {
    /// Holds the figure against its target; a figure that is not a number never meets it.
    pub(super) fn judge(self) -> Result<Judged> {
        let ratio = self
            .against
            .as_ref()
            .map(|against| self.value / against.value);
        let of_ratio = |met: &dyn Fn(f64) -> bool| match ratio {
            Some(ratio) => Ok(ratio.is_finite() && met(ratio)),
            None => bail!(
                "{}: a target of a ratio needs something to hold it against",
                self.figure
            ),
        };
        let met = match self.target {
            Target::AtMost(most) => self.value.is_finite() && self.value <= most,
            Target::AtLeast(least) => self.value.is_finite() && self.value >= least,
            Target::RatioAtMost(most) => of_ratio(&|ratio| ratio <= most)?,
            Target::RatioAtLeast(least) => of_ratio(&|ratio| ratio >= least)?,
        };
        let verdict = if met { Verdict::Ok } else { Verdict::Short };
        Ok(Judged {
            row: self,
            ratio,
            verdict,
        })
    }
}

impl Judged {
    /// Whether the target is met.
    pub(super) fn is_ok(&self) -> bool {
        self.verdict == Verdict::Ok
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ok => "ok",
            Self::Short => "SHORT",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, against: Option<f64>, target: Target) -> Row {
        let against = against.map(|value| Against {
            name: "floor".to_owned(),
            value,
        });
        Row {
            figure: "write".to_owned(),
            value,
            unit: "s".to_owned(),
            against,
            target,
        }
    }

    fn verdict(value: f64, against: Option<f64>, target: Target) -> Verdict {
        row(value, against, target).judge().unwrap().verdict
    }

    #[test]
    fn targets_are_met_at_their_limit_and_not_beyond() {
        use Target::{AtLeast, AtMost, RatioAtLeast, RatioAtMost};
        assert_eq!(verdict(5.0, None, AtMost(5.0)), Verdict::Ok);
        assert_eq!(verdict(5.1, None, AtMost(5.0)), Verdict::Short);
        assert_eq!(verdict(4.9, None, AtLeast(5.0)), Verdict::Short);
        assert_eq!(verdict(8.0, Some(10.0), RatioAtLeast(0.8)), Verdict::Ok);
        assert_eq!(verdict(7.9, Some(10.0), RatioAtLeast(0.8)), Verdict::Short);
        assert_eq!(verdict(12.0, Some(10.0), RatioAtMost(1.1)), Verdict::Short);
    }

    #[test]
    fn what_is_no_number_is_short() {
        assert_eq!(verdict(f64::NAN, None, Target::AtMost(5.0)), Verdict::Short);
        assert_eq!(
            verdict(f64::INFINITY, None, Target::AtLeast(5.0)),
            Verdict::Short
        );
        assert_eq!(
            verdict(1.0, Some(0.0), Target::RatioAtLeast(0.5)),
            Verdict::Short
        );
    }

    #[test]
    fn a_ratio_needs_its_other_half() {
        assert!(row(1.0, None, Target::RatioAtMost(1.0)).judge().is_err());
    }
}

//! How many checks and tests passed and failed.

use std::ops::AddAssign;

/// Counts of one stage, or of all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Tally {
    /// Counts one more.
    pub(crate) fn add(&mut self, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Whether something ran and nothing failed: a run of no test at all has shown nothing.
    pub(crate) fn good(self) -> bool {
        self.passed > 0 && self.failed == 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_run_without_tests_is_not_good() {
        assert!(!Tally::default().good());
        let mut tally = Tally::default();
        tally.add(true);
        assert!(tally.good());
        tally.add(false);
        assert!(!tally.good());
    }
}

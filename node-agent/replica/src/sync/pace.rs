//! How fast copies may ask for data.

/// Bytes that may be asked for now: they come with time, up to a second's worth.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_s: u64,
    bytes: i128,
    at_ms: Option<u64>,
}

impl Pace {
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s,
            bytes: 0,
            at_ms: None,
        }
    }

    /// Takes the time.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let Some(before) = self.at_ms.replace(now_ms) else {
            self.bytes = i128::from(self.bytes_per_s);
            return;
        };
        let passed = i128::from(now_ms.saturating_sub(before));
        let come = passed * i128::from(self.bytes_per_s) / 1000;
        if come == 0 {
            // Too little time for a byte: it counts from before.
            self.at_ms = Some(before);
        }
        self.bytes = (self.bytes + come).min(i128::from(self.bytes_per_s));
    }

    /// Takes bytes, if any are left: then all of them, and what is too much is waited for after.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        if self.bytes <= 0 {
            return false;
        }
        self.bytes -= i128::try_from(bytes).unwrap_or(i128::MAX / 2);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_with_time_and_no_faster() {
        let mut pace = Pace::new(1_000_000);
        let mut taken = 0;
        for now_ms in 0..10_000 {
            pace.tick(now_ms);
            while pace.take(4096) {
                taken += 4096;
            }
        }
        // Ten seconds, the second's worth at the start, and one that was too much.
        assert!((10_900_000..=11_010_000).contains(&taken), "{taken}");
    }

    #[test]
    fn a_slow_pace_gets_there_too() {
        let mut pace = Pace::new(10);
        pace.tick(0);
        assert!(pace.take(4096));
        let free = (1..1_000_000).find(|now_ms| {
            pace.tick(*now_ms);
            pace.take(1)
        });
        assert_eq!(free, Some(408_700));
    }
}

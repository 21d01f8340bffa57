//! A value that only grows, and what of it is on the disk.

/// A value in memory, with how far the disk has followed.
///
/// The notes of one value are written in the order of the log, so what ends last is the newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept<T> {
    now: T,
    writing: T,
    durable: T,
}

impl<T: Ord + Copy> Kept<T> {
    /// A value that was read from the disk, or the least one.
    pub(crate) fn new(value: T) -> Self {
        Self {
            now: value,
            writing: value,
            durable: value,
        }
    }

    /// The value.
    pub(crate) fn now(&self) -> T {
        self.now
    }

    /// What of it survives a crash.
    pub(crate) fn durable(&self) -> T {
        self.durable
    }

    /// Whether the value itself survives a crash.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable == self.now
    }

    /// Takes a greater value; others change nothing.
    pub(crate) fn raise(&mut self, value: T) {
        self.now = self.now.max(value);
    }

    /// The value, if it is neither on the disk nor on its way: it is on its way from now on.
    pub(crate) fn write(&mut self) -> Option<T> {
        if self.writing >= self.now {
            return None;
        }
        self.writing = self.now;
        Some(self.now)
    }

    /// Writing the value has ended.
    pub(crate) fn ended(&mut self, value: T, durable: bool) {
        if durable {
            self.durable = self.durable.max(value);
        } else {
            // What was written after it may still arrive; then one note too many is written.
            self.writing = self.durable;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_once_and_again_if_that_failed() {
        let mut kept = Kept::new(1);
        assert_eq!(kept.write(), None);
        kept.raise(3);
        kept.raise(2);
        assert_eq!((kept.now(), kept.durable(), kept.write()), (3, 1, Some(3)));
        assert_eq!(kept.write(), None);
        kept.raise(4);
        assert_eq!(kept.write(), Some(4));
        kept.ended(3, true);
        assert_eq!((kept.durable(), kept.is_durable()), (3, false));
        kept.ended(4, false);
        assert_eq!(kept.write(), Some(4));
        kept.ended(4, true);
        assert!(kept.is_durable());
        assert_eq!(kept.write(), None);
    }
}

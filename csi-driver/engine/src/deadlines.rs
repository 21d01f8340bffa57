//! Things that are due after a time that is the same for all, in the order in which they began.
//! Most are over long before: those are skipped when they reach the front, and swept out when they
//! outnumber the living, so that nothing is allocated or sorted for each.

use std::collections::VecDeque;

/// A queue of what is due.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    queue: VecDeque<(u64, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
        }
    }
}

impl<K: Copy> Deadlines<K> {
    /// Adds one that is due not before all others; `living` is how many are not over.
    pub(crate) fn push(&mut self, due: u64, key: K, living: usize, lives: impl Fn(K) -> bool) {
        if self.queue.len() >= 2 * living + 64 {
            self.queue.retain(|(_, key)| lives(*key));
        }
        self.queue.push_back((due, key));
    }

    /// The first one that is not over.
    pub(crate) fn first(&mut self, lives: impl Fn(K) -> bool) -> Option<(u64, K)> {
        while let Some(first) = self.queue.front() {
            if lives(first.1) {
                return Some(*first);
            }
            self.queue.pop_front();
        }
        None
    }

    /// When the next may be due, perhaps too early.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.queue.front().map(|(due, _)| *due)
    }

    /// All with their times, in order, those that are over too.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, K)> {
        self.queue.iter().copied()
    }

    /// Takes all, in order, those that are over too.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = K> {
        self.queue.drain(..).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_skipped_and_swept_out() {
        let mut deadlines = Deadlines::default();
        deadlines.push(10, 0, 1, |_| true);
        for key in 1..10_000 {
            deadlines.push(10, key, 2, |key: i32| key == 0);
        }
        assert!(deadlines.queue.len() < 100, "{}", deadlines.queue.len());
        assert_eq!(deadlines.first(|key| key == 0), Some((10, 0)));
        assert_eq!(deadlines.first(|key| key == 9999), Some((10, 9999)));
        assert_eq!(deadlines.first(|_| false), None);
    }
}

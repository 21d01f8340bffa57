//! What each block of a verified load must hold, by the writes that were acknowledged.
//!
//! Blocks with an operation under way are not used by another one, so that what a read must find is
//! certain, save where a write ended with an error: it may or may not have been done, until a read
//! has seen which.

use super::pattern::Found;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// The blocks of a load.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The last acknowledged write of each block, 0 for none of this run.
    last: Vec<u64>,
    busy: Vec<bool>,
    /// Writes that ended with an error, and may have been done.
    doubtful: BTreeMap<usize, Vec<u64>>,
    sequence: u64,
    first_wrong: Option<Wrong>,
    wrong: u64,
}

/// A block that held what it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    /// Its number in the volume.
    pub block: u64,
    /// What it held.
    pub found: Found,
    /// The write that was acknowledged last; 0: none of this run.
    pub acknowledged: u64,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} holds {:?}", self.block, self.found)?;
        match self.acknowledged {
            0 => write!(f, ", and no write of this run"),
            last => write!(f, ", but write {last} was acknowledged"),
        }
    }
}

impl Ledger {
    /// A ledger of so many blocks, none written yet by this run.
    pub(crate) fn new(blocks: usize) -> Self {
        Self {
            last: vec![0; blocks],
            busy: vec![false; blocks],
            doubtful: BTreeMap::new(),
            sequence: 0,
            first_wrong: None,
            wrong: 0,
        }
    }

    /// Takes blocks for an operation; false if another one has some of them.
    pub(crate) fn take(&mut self, blocks: Range<usize>) -> bool {
        if self.busy[blocks.clone()].contains(&true) {
            return false;
        }
        self.busy[blocks].fill(true);
        true
    }

    /// The sequence of a new write.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// A write has ended.
    pub(crate) fn written(&mut self, blocks: Range<usize>, sequence: u64, acknowledged: bool) {
        self.busy[blocks.clone()].fill(false);
        for block in blocks {
            if acknowledged {
                self.last[block] = sequence;
                self.doubtful.remove(&block);
            } else {
                self.doubtful.entry(block).or_default().push(sequence);
            }
        }
    }

    /// A read has ended; `found` is what each block held, or nothing if it failed.
    pub(crate) fn read(&mut self, blocks: Range<usize>, found: impl Iterator<Item = Found>) {
        self.busy[blocks.clone()].fill(false);
        for (block, found) in blocks.zip(found) {
            let last = self.last[block];
            let doubtful = self.doubtful.get(&block);
            let may_be = |sequence: u64| doubtful.is_some_and(|all| all.contains(&sequence));
            let is_right = match found {
                Found::Garbage => false,
                Found::Zeros => last == 0,
                // Of an earlier run with the same seed, which nothing is known of.
                Found::Write(sequence) => last == 0 || sequence == last || may_be(sequence),
            };
            if !is_right {
                self.wrong += 1;
                let acknowledged = last;
                let block = block as u64;
                self.first_wrong.get_or_insert(Wrong {
                    block,
                    found,
                    acknowledged,
                });
            } else if let Found::Write(sequence) = found
                && may_be(sequence)
            {
                // Once seen, it stays.
                self.last[block] = sequence;
                self.doubtful.remove(&block);
            }
        }
    }

    /// Blocks that must hold a write of this run.
    pub(crate) fn written_blocks(&self) -> Vec<usize> {
        let written = self.last.iter().enumerate().filter(|(_, last)| **last > 0);
        written.map(|(block, _)| block).collect()
    }

    /// How many reads of a block were wrong, and the first.
    pub(crate) fn verdict(&self) -> (u64, Option<Wrong>) {
        (self.wrong, self.first_wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(ledger: &Ledger) -> u64 {
        ledger.verdict().0
    }

    #[test]
    fn an_acknowledged_write_must_be_found() {
        let mut ledger = Ledger::new(4);
        assert!(ledger.take(1..3));
        assert!(!ledger.take(2..4), "one block is in use");
        ledger.written(1..3, 7, true);
        ledger.read(1..3, [Found::Write(7); 2].into_iter());
        assert_eq!(wrong(&ledger), 0);
        ledger.read(2..3, [Found::Write(6)].into_iter());
        ledger.read(2..3, [Found::Zeros].into_iter());
        ledger.read(0..1, [Found::Garbage].into_iter());
        assert_eq!(wrong(&ledger), 3);
        assert_eq!(ledger.written_blocks(), [1, 2]);
    }

    #[test]
    fn a_write_that_failed_may_be_found_but_stays_when_seen() {
        let mut ledger = Ledger::new(1);
        ledger.written(0..1, 1, true);
        ledger.written(0..1, 2, false);
        ledger.read(0..1, [Found::Write(1)].into_iter());
        ledger.read(0..1, [Found::Write(2)].into_iter());
        assert_eq!(wrong(&ledger), 0);
        ledger.read(0..1, [Found::Write(1)].into_iter());
        assert_eq!(wrong(&ledger), 1);
    }
}

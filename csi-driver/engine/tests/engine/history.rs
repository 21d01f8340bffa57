//! Whether what was read and written fits an order: each block is a register whose values are all
//! different, so that the zones of Gibbons and Korach decide it.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
}

/// What happened to one block.
#[derive(Debug, Default)]
pub(crate) struct Register {
    writes: BTreeMap<u64, Span>,
    reads: Vec<(u64, Span)>,
}

/// What happened to all blocks.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) clock: u64,
    pub(crate) blocks: BTreeMap<u64, Register>,
}

impl History {
    pub(crate) fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(crate) fn write_begins(&mut self, block: u64, value: u64) {
        let start = self.now();
        let span = Span {
            start,
            end: u64::MAX,
        };
        self.blocks
            .entry(block)
            .or_default()
            .writes
            .insert(value, span);
    }

    pub(crate) fn write_ends(&mut self, block: u64, value: u64) {
        let end = self.now();
        let register = self.blocks.get_mut(&block).unwrap();
        register.writes.get_mut(&value).unwrap().end = end;
    }

    pub(crate) fn read(&mut self, block: u64, value: u64, start: u64, end: u64) {
        let register = self.blocks.entry(block).or_default();
        register.reads.push((value, Span { start, end }));
    }

    /// Panics unless an order fits.
    pub(crate) fn check(&self) {
        for (block, register) in &self.blocks {
            if let Err(error) = register.check() {
                panic!("block {block}: {error}\n{register:#?}");
            }
        }
    }
}

impl Register {
    fn check(&self) -> Result<(), String> {
        // Zones: from the first end to the last start of a value's operations.
        let mut zones: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        zones.insert(0, (0, 0));
        for (value, span) in &self.writes {
            zones.insert(*value, (span.end, span.start));
        }
        for (value, span) in &self.reads {
            let Some(zone) = zones.get_mut(value) else {
                return Err(format!("{value} was read but never written"));
            };
            let begun = self.writes.get(value).map_or(0, |write| write.start);
            if span.end < begun {
                return Err(format!("{value} was read before it was written"));
            }
            *zone = (zone.0.min(span.end), zone.1.max(span.start));
        }
        // A write that never ended and was never read may not have happened.
        zones.retain(|_, zone| zone.0 != u64::MAX);
        for (a, (a_end, a_start)) in &zones {
            for (b, (b_end, b_start)) in &zones {
                // `a` was there from its first end to its last start, and `b` in between.
                let forward = a_end < a_start;
                if a != b && forward && a_end < b_start && b_end < a_start {
                    return Err(format!("{b} was there while {a} was"));
                }
            }
        }
        Ok(())
    }
}

#[test]
fn a_value_that_comes_back_is_found() {
    let mut history = History::default();
    history.write_begins(1, 5);
    history.write_ends(1, 5);
    history.read(1, 5, 10, 11);
    history.check();
    history.read(1, 0, 12, 13);
    assert!(history.blocks[&1].check().is_err());
}

#[test]
fn a_value_that_was_overwritten_before_the_read_is_found() {
    let mut history = History::default();
    for value in [5, 6] {
        history.write_begins(1, value);
        history.write_ends(1, value);
    }
    history.read(1, 6, 10, 11);
    history.check();
    history.read(1, 5, 12, 13);
    assert!(history.blocks[&1].check().is_err());
}

#[test]
fn a_write_that_never_ended_may_be_read_or_not_but_not_both_ways() {
    let mut history = History::default();
    history.write_begins(1, 5);
    history.read(1, 0, 10, 11);
    history.read(1, 5, 12, 13);
    history.check();
    history.read(1, 0, 14, 15);
    assert!(history.blocks[&1].check().is_err());
}

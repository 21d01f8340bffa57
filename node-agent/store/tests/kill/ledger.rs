//! What is known of each request, and whether the file agrees.

use crate::child::OUTSTANDING;
use crate::load::{self, BLOCKS, CHUNKS, Kind, Number};
use moraine_model::*;
use moraine_store::{
    Disk, Done, Read, ReadAt, ReadPart, Request, Shard, ShardOptions, StoreError, open,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Snapshots that are looked at, from the newest down.
const CUTS: u64 = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It must be there: it was answered, or was seen.
    There,
    /// It may have been asked, and never was answered.
    Unknown,
    /// It was looked for and was not there.
    Gone,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    fates: BTreeMap<Number, Fate>,
    answered: u64,
    /// All that may have written a block, oldest first.
    writers: BTreeMap<(u32, u16), Vec<Number>>,
    notes: Vec<Number>,
    deletes: BTreeMap<Cut, Vec<Number>>,
    newest_cut: Cut,
}

/// The number and kind of what a block shows, zero for a block never written.
type Seen = BTreeMap<(u32, u16), Number>;

impl Ledger {
    /// A process that began with `first` was killed after these answers. Gives the first number
    /// that it can't have asked for.
    pub(crate) fn killed(&mut self, first: Number, answered: &[Number]) -> Number {
        let last = answered.iter().copied().max().unwrap_or(first - 1);
        let next = last + 1 + OUTSTANDING as u64;
        let answered: BTreeSet<Number> = answered.iter().copied().collect();
        self.answered += answered.len() as u64;
        for number in first..next {
            let there = answered.contains(&number);
            let fate = if there { Fate::There } else { Fate::Unknown };
            self.fates.insert(number, fate);
            match load::kind(number) {
                Kind::Data(chunk, range) | Kind::Zero(chunk, range) => {
                    for block in range.blocks() {
                        self.writers.entry((chunk, block)).or_default().push(number);
                    }
                }
                Kind::Note => self.notes.push(number),
                Kind::DeleteSnapshot(cut) => self.deletes.entry(cut).or_default().push(number),
            }
        }
        self.newest_cut = load::cut(next);
        next
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// Recovers the file and compares.
    pub(crate) fn verify(&mut self, path: &Path) {
        let mut disk = load::open(path).disk;
        let store = open(&mut disk, load::cluster()).unwrap();
        let mut shard = Shard::recover(disk, &store, 0, ShardOptions::default()).unwrap();
        self.verify_notes(&shard);
        self.verify_view(&mut shard, ReadAt::Head, Cut(u64::MAX));
        for cut in self.newest_cut.0.saturating_sub(CUTS)..=self.newest_cut.0 {
            let cut = Cut(cut);
            let deletes = self.deletes.get(&cut).cloned().unwrap_or_default();
            let any = |fate| deletes.iter().any(|number| self.fates[number] == fate);
            let (must_be_gone, may_be_gone) = (any(Fate::There), any(Fate::Unknown));
            let kept = self.verify_view(&mut shard, ReadAt::Cut(cut), cut);
            assert!(!kept || !must_be_gone, "snapshot {cut:?} came back");
            assert!(
                kept || must_be_gone || may_be_gone,
                "snapshot {cut:?} is lost"
            );
            let found = if kept { Fate::Gone } else { Fate::There };
            for number in deletes {
                self.settle(number, found);
            }
        }
    }

    fn settle(&mut self, number: Number, found: Fate) {
        if let Some(fate) = self.fates.get_mut(&number)
            && *fate == Fate::Unknown
        {
            *fate = found;
        }
    }

    /// The newest of these that is known to be there, of a cut not above `cut`.
    fn newest_there(&self, numbers: &[Number], cut: Cut) -> Number {
        let mut newest = numbers.iter().rev();
        let there =
            |&&number: &&Number| load::cut(number) <= cut && self.fates[&number] == Fate::There;
        newest.find(there).copied().unwrap_or(0)
    }

    fn verify_notes<D: Disk>(&mut self, shard: &Shard<D>) {
        let note = shard.notes(b"newest").next();
        let found = note.map_or(0, |(_, value)| {
            u64::from_le_bytes(value.try_into().expect("eight bytes"))
        });
        let expected = self.newest_there(&self.notes, Cut(u64::MAX));
        assert!(
            found >= expected,
            "note {expected} is lost, {found} is there"
        );
        assert!(found == 0 || self.notes.contains(&found));
        for number in self.notes.clone() {
            if number == found {
                assert_ne!(self.fates[&number], Fate::Gone, "note {number} came back");
                self.settle(number, Fate::There);
            } else if number > found {
                self.settle(number, Fate::Gone);
            }
        }
    }

    /// Compares what a reader sees. False if there is no such snapshot.
    fn verify_view<D: Disk>(&mut self, shard: &mut Shard<D>, at: ReadAt, cut: Cut) -> bool {
        let mut seen = Seen::new();
        for chunk in 0..CHUNKS {
            let Some(parts) = read(shard, chunk, at) else {
                return false;
            };
            for part in parts {
                see(&mut seen, chunk, &part);
            }
        }
        for (block, writers) in &self.writers {
            let found = seen.get(block).copied().unwrap_or(0);
            let expected = self.newest_there(writers, cut);
            assert!(
                found >= expected,
                "{block:?} at {at:?}: {expected} is lost, {found} is there"
            );
            if found > 0 {
                assert!(
                    writers.binary_search(&found).is_ok(),
                    "{found} never wrote {block:?}"
                );
                assert!(load::cut(found) <= cut, "{found} is newer than {at:?}");
                assert_ne!(self.fates[&found], Fate::Gone, "{found} came back");
            }
        }
        let unknown = self
            .fates
            .iter()
            .filter(|(_, fate)| **fate == Fate::Unknown);
        let unknown: Vec<Number> = unknown.map(|(number, _)| *number).collect();
        for number in unknown
            .into_iter()
            .filter(|number| load::cut(*number) <= cut)
        {
            let (Kind::Data(chunk, range) | Kind::Zero(chunk, range)) = load::kind(number) else {
                continue;
            };
            let found = range
                .blocks()
                .map(|block| seen.get(&(chunk, block)).copied().unwrap_or(0));
            let found: Vec<Number> = found.collect();
            let there = found.contains(&number);
            let absent = found.iter().any(|&other| other < number);
            assert!(!there || !absent, "{number} is torn at {at:?}: {found:?}");
            if there {
                self.settle(number, Fate::There);
            } else if absent {
                self.settle(number, Fate::Gone);
            }
        }
        true
    }
}

fn read<D: Disk>(shard: &mut Shard<D>, chunk: u32, at: ReadAt) -> Option<Vec<ReadPart>> {
    let id = shard.submit(Request::Read(Read {
        place: load::place(chunk),
        range: BlockRange::new(0, BLOCKS).unwrap(),
        at,
    }));
    loop {
        shard.wait(0);
        match shard.next_reply() {
            None => {}
            Some(reply) => {
                assert_eq!(reply.id, id);
                return match reply.outcome {
                    Ok(Done::Read(parts)) => Some(parts),
                    Err(StoreError::NoSnapshot { .. }) => None,
                    other => panic!("{other:?}"),
                };
            }
        }
    }
}

/// Checks the bytes of a part against the numbers that it gives.
fn see(seen: &mut Seen, chunk: u32, part: &ReadPart) {
    for (nth, block) in part.range.blocks().enumerate() {
        let version = part.versions.iter().find(|v| v.range.contains(block));
        let number = version
            .expect("each block has its version")
            .tag
            .stamp
            .sequence;
        match (&part.data, load::kind(number)) {
            (Some(data), Kind::Data(..)) => {
                let bytes = &data[nth * BLOCK_BYTES..(nth + 1) * BLOCK_BYTES];
                assert_eq!(
                    bytes,
                    load::block_bytes(number, chunk, block),
                    "{chunk}, {block}"
                );
            }
            (None, Kind::Zero(..)) => {}
            (_, kind) => panic!("{chunk}, {block} is no {kind:?}"),
        }
        seen.insert((chunk, block), number);
    }
}

//! What a check has found, as it goes: a line for each finding at once, and a table at the end.

use super::table::{Side, Table};
use std::io::{self, Write};

/// What is looked at. The order is that of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    Superblocks,
    Heads,
    Extents,
    Recovery,
    Bitmaps,
    Data,
}

const AREAS: [(Area, &str); 6] = [
    (Area::Superblocks, "superblock copies"),
    (Area::Heads, "segment heads"),
    (Area::Extents, "indexes and footers"),
    (Area::Recovery, "shards recovered"),
    (Area::Bitmaps, "bitmaps"),
    (Area::Data, "blocks of data"),
];

#[derive(Clone, Copy, Default)]
struct Counts {
    looked_at: u64,
    damaged: u64,
    notes: u64,
}

/// The findings of one check.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    counts: [Counts; AREAS.len()],
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            counts: Default::default(),
        }
    }

    fn counts(&mut self, area: Area) -> &mut Counts {
        &mut self.counts[area as usize]
    }

    /// So many more things were looked at.
    pub(super) fn looked_at(&mut self, area: Area, count: u64) {
        self.counts(area).looked_at += count;
    }

    /// Something is damaged that a crash can't have left so.
    pub(super) fn damage(&mut self, area: Area, text: &str) -> io::Result<()> {
        self.counts(area).damaged += 1;
        writeln!(self.out, "damage: {text}")
    }

    /// Something is worth knowing, and no damage.
    pub(super) fn note(&mut self, area: Area, text: &str) -> io::Result<()> {
        self.counts(area).notes += 1;
        writeln!(self.out, "note: {text}")
    }

    /// A line that counts nowhere.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Whether anything is damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.counts.iter().any(|counts| counts.damaged > 0)
    }

    /// The table of all that was looked at.
    pub(super) fn summary(&mut self) -> io::Result<()> {
        let mut table = Table::new(&[
            ("", Side::Left),
            ("looked at", Side::Right),
            ("damaged", Side::Right),
            ("notes", Side::Right),
        ]);
        for (area, name) in AREAS {
            let counts = *self.counts(area);
            let numbers = [counts.looked_at, counts.damaged, counts.notes];
            let numbers = numbers.iter().map(u64::to_string);
            table.row(std::iter::once(name.to_owned()).chain(numbers));
        }
        writeln!(self.out)?;
        table.write(self.out)?;
        writeln!(self.out)
    }
}

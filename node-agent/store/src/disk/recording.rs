//! A disk in memory that records what happens to it, and the images that a crash at any point of
//! that record could have left.
//!
//! A test runs a store on it, notes [`Recorder::position`] at each acknowledgement, and then:
//!
//! ```text
//! for crash in recorder.crashes(seed, 16) {
//!     let disk = crash.image();
//!     // open a store on it: all that was acknowledged at or before crash.position is there
//! }
//! ```
//!
//! A boundary is the start or the end of a write or discard. What has ended (was handed back to the
//! store) is durable; what has only started is lost, whole or torn, each on its own. Faults that no
//! honest disk shows are the faulty disk's subject, which may lie on top of this one.

use super::limits;
use super::{Completion, CrashFate, Disk, Geometry, MemoryDisk, MemoryQueue, Operation};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In which order the disk completes what is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As submitted, everything at the next poll.
    Submitted,
    /// A random choice at each poll, in random order, from this seed.
    Shuffled(u64),
}

/// One write or discard.
#[derive(Debug)]
struct Change {
    offset: u64,
    size_bytes: u64,
    /// Nothing for a discard.
    data: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Event {
    Began(usize, Arc<Change>),
    /// Handed back; durable.
    Ended(usize),
}

#[derive(Debug)]
struct Log {
    start: MemoryDisk,
    events: Vec<Event>,
    begun: usize,
}

/// A disk in memory that keeps a record.
#[derive(Debug)]
pub struct RecordingDisk {
    inner: MemoryDisk,
    queue: MemoryQueue,
    log: Arc<Mutex<Log>>,
    dice: Option<Dice>,
    next_tag: u64,
    /// The caller's tag, and the number of the change if it is one, by the inner disk's tags.
    running: BTreeMap<u64, (u64, Option<usize>)>,
}

/// The record of a disk and of all its handles.
#[derive(Debug, Clone)]
pub struct Recorder {
    log: Arc<Mutex<Log>>,
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RecordingDisk {
    /// Records from here on what happens to this disk, whose content is the record's start.
    pub fn new(disk: MemoryDisk, order: Order) -> Self {
        let log = Log {
            start: disk.duplicate(),
            events: Vec::new(),
            begun: 0,
        };
        Self::with_log(disk, Arc::new(Mutex::new(log)), order)
    }

    fn with_log(inner: MemoryDisk, log: Arc<Mutex<Log>>, order: Order) -> Self {
        let queue = inner.queue();
        let dice = match order {
            Order::Submitted => None,
            Order::Shuffled(seed) => Some(Dice::new(seed)),
        };
        queue.hold(dice.is_some());
        Self {
            inner,
            queue,
            log,
            dice,
            next_tag: 0,
            running: BTreeMap::new(),
        }
    }

    /// Another handle of the same disk, in the same record.
    #[must_use]
    pub fn another(&self, order: Order) -> Self {
        Self::with_log(self.inner.another(), Arc::clone(&self.log), order)
    }

    /// The record, for a test to keep while a store owns the disk.
    pub fn recorder(&self) -> Recorder {
        Recorder {
            log: Arc::clone(&self.log),
        }
    }

    fn take(&mut self, completions: &mut Vec<Completion>) {
        let first = completions.len();
        self.inner.poll(completions);
        let mut log = lock(&self.log);
        for completion in &mut completions[first..] {
            let (tag, change) = self
                .running
                .remove(&completion.tag)
                .expect("the inner disk completes what it was given, once");
            completion.tag = tag;
            log.events.extend(change.map(Event::Ended));
        }
    }

    fn complete(&mut self, count: impl FnOnce(&mut Dice, usize) -> usize) {
        let Some(dice) = &mut self.dice else {
            return;
        };
        for _ in 0..count(dice, self.queue.pending()) {
            let nth = dice.below(self.queue.pending());
            self.queue.complete(nth);
        }
    }
}

impl Disk for RecordingDisk {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        // What the disk will refuse changes nothing; it never fails otherwise.
        let change = match limits::check(&self.geometry(), &operation) {
            Ok(()) => Change::of(&operation),
            Err(_) => None,
        };
        self.inner.submit(self.next_tag, operation)?;
        let number = change.map(|change| {
            let mut log = lock(&self.log);
            let number = log.begun;
            log.begun += 1;
            log.events.push(Event::Began(number, Arc::new(change)));
            number
        });
        self.running.insert(self.next_tag, (tag, number));
        self.next_tag += 1;
        Ok(())
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        self.complete(|dice, pending| dice.below(pending + 1));
        self.take(completions);
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        self.complete(|dice, pending| pending.min(1 + dice.below(pending + 1)));
        self.take(completions);
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }
}

impl Change {
    fn of(operation: &Operation) -> Option<Self> {
        let (offset, data) = match operation {
            Operation::Read { .. } | Operation::Sync => return None,
            Operation::Write { offset, buffers } => {
                let bytes = buffers.iter().flat_map(|buffer| buffer.iter());
                (*offset, Some(bytes.copied().collect()))
            }
            Operation::Discard { offset, .. } => (*offset, None),
        };
        Some(Self {
            offset,
            size_bytes: operation.size_bytes(),
            data,
        })
    }

    /// Leaves on the disk what the fate says.
    fn apply(&self, disk: &MemoryDisk, fate: &CrashFate, dice: &mut Dice) {
        match (&self.data, fate) {
            (_, CrashFate::Lost) => {}
            (Some(data), CrashFate::Whole) => disk.poke(self.offset, data),
            (Some(data), CrashFate::Sectors(sectors)) => {
                let unit = disk.geometry().logical_block_bytes as usize;
                let mut at = self.offset;
                for (sector, &there) in data.chunks(unit).zip(sectors) {
                    if there {
                        disk.poke(at, sector);
                    }
                    at += unit as u64;
                }
            }
            // What a discarded range reads is undefined: as before, zeros, or anything.
            (None, _) => match dice.below(3) {
                0 => {}
                1 => self.fill(disk, || 0),
                _ => self.fill(disk, || dice.byte()),
            },
        }
    }

    fn fill(&self, disk: &MemoryDisk, mut byte: impl FnMut() -> u8) {
        const PIECE: usize = 4096;
        let end = self.offset + self.size_bytes;
        for at in (self.offset..end).step_by(PIECE) {
            let size = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            let piece: Vec<u8> = std::iter::repeat_with(&mut byte).take(size).collect();
            disk.poke(at, &piece);
        }
    }
}

impl Recorder {
    /// How many boundaries there have been. What is acknowledged at position `p` must survive a
    /// crash at every position from `p` on; what is first submitted at `p` can't be seen after a
    /// crash before `p`.
    pub fn position(&self) -> usize {
        lock(&self.log).events.len()
    }

    /// The position behind the last write or discard that has ended. What the store answers now, it
    /// answers by what had ended here, so it must survive a crash at every position from here on.
    pub fn last_end(&self) -> usize {
        let log = lock(&self.log);
        let ended = |event: &Event| matches!(event, Event::Ended(_));
        log.events.iter().rposition(ended).map_or(0, |at| at + 1)
    }

    /// Every crash of the record so far: up to `images` images for each boundary, all combinations
    /// of lost and whole where that is few enough, and then samples with torn writes.
    pub fn crashes(&self, seed: u64, images: usize) -> Crashes {
        let log = lock(&self.log);
        Crashes {
            base: log.start.duplicate(),
            events: log.events.clone().into_iter(),
            position: 0,
            in_flight: BTreeMap::new(),
            fates: VecDeque::from([Vec::new()]),
            dice: Dice::new(seed),
            images: images.max(1),
        }
    }
}

/// The crashes of a record, in its order.
#[derive(Debug)]
pub struct Crashes {
    /// All that is durable at this position.
    base: MemoryDisk,
    events: std::vec::IntoIter<Event>,
    position: usize,
    in_flight: BTreeMap<usize, Arc<Change>>,
    /// What becomes of those in flight, for each image yet to come of this position.
    fates: VecDeque<Vec<CrashFate>>,
    dice: Dice,
    images: usize,
}

/// One crash.
#[derive(Debug)]
pub struct Crash {
    /// The boundaries that came before it.
    pub position: usize,
    fates: Vec<(u64, u64, CrashFate)>,
    image: MemoryDisk,
}

impl Crash {
    /// A disk as the crash left it; each call gives a new one.
    pub fn image(&self) -> MemoryDisk {
        self.image.duplicate()
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crash after {} boundaries", self.position)?;
        for (offset, size_bytes, fate) in &self.fates {
            match fate {
                CrashFate::Lost => write!(f, "; {size_bytes} at {offset} lost"),
                CrashFate::Whole => write!(f, "; {size_bytes} at {offset} whole"),
                CrashFate::Sectors(sectors) => {
                    let map: String = sectors
                        .iter()
                        .map(|&there| if there { '#' } else { '.' })
                        .collect();
                    write!(f, "; {size_bytes} at {offset} torn {map}")
                }
            }?;
        }
        Ok(())
    }
}

impl Iterator for Crashes {
    type Item = Crash;

    fn next(&mut self) -> Option<Crash> {
        while self.fates.is_empty() {
            self.step()?;
        }
        let fates = self.fates.pop_front()?;
        let image = self.base.duplicate();
        // In flight together, so in any order.
        let mut order: Vec<_> = self.in_flight.values().zip(&fates).collect();
        self.dice.shuffle(&mut order);
        for (change, fate) in order {
            change.apply(&image, fate, &mut self.dice);
        }
        let named = self.in_flight.values().zip(fates);
        Some(Crash {
            position: self.position,
            fates: named
                .map(|(change, fate)| (change.offset, change.size_bytes, fate))
                .collect(),
            image,
        })
    }
}

impl Crashes {
    /// Goes over the next boundary.
    fn step(&mut self) -> Option<()> {
        let event = self.events.next()?;
        self.position += 1;
        let newest_counts = match event {
            Event::Began(number, change) => {
                self.in_flight.insert(number, change);
                true
            }
            Event::Ended(number) => {
                if let Some(change) = self.in_flight.remove(&number) {
                    change.apply(&self.base, &CrashFate::Whole, &mut self.dice);
                }
                false
            }
        };
        self.fates = self.choose(newest_counts);
        Some(())
    }

    /// The fates of those in flight for each image of this position. With the one that has just
    /// begun lost, the images would be those of the position before.
    fn choose(&mut self, newest_counts: bool) -> VecDeque<Vec<CrashFate>> {
        let count = self.in_flight.len();
        let free = count - usize::from(newest_counts);
        let whole_if = |whole| {
            if whole {
                CrashFate::Whole
            } else {
                CrashFate::Lost
            }
        };
        let combinations = u32::try_from(free)
            .ok()
            .and_then(|free| 1_usize.checked_shl(free));
        let mut chosen = VecDeque::new();
        match combinations {
            Some(all) if all <= self.images => {
                for bits in 0..all {
                    let fate = |nth| whole_if(nth >= free || bits >> nth & 1 == 1);
                    chosen.push_back((0..count).map(fate).collect());
                }
            }
            _ => {
                chosen.push_back((0..count).map(|nth| whole_if(nth >= free)).collect());
                chosen.push_back(vec![CrashFate::Whole; count]);
            }
        }
        let writes = self.in_flight.values().any(|change| change.data.is_some());
        while writes && chosen.len() < self.images {
            let changes = self.in_flight.values().enumerate();
            let unit = u64::from(self.base.geometry().logical_block_bytes);
            let dice = &mut self.dice;
            let fates =
                changes.map(|(nth, change)| dice.fate(change.size_bytes / unit, nth < free));
            chosen.push_back(fates.collect());
        }
        chosen
    }
}

/// A small seeded generator (xorshift): what it draws must be the same for ever, not good.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        // Spread, so that small seeds differ at once, and never zero.
        Self((seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1)
    }

    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    /// A number below `bound`; zero if that is zero.
    fn below(&mut self, bound: usize) -> usize {
        let drawn = self.draw() % (bound.max(1) as u64);
        usize::try_from(drawn).expect("less than a usize")
    }

    fn byte(&mut self) -> u8 {
        self.draw().to_le_bytes()[0]
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Half of all writes are torn: after some sector, before some, or anywhere.
    fn fate(&mut self, sectors: u64, may_be_lost: bool) -> CrashFate {
        let sectors = usize::try_from(sectors).expect("a write fits into memory");
        let cut = self.below(sectors);
        match self.below(8) {
            0 | 1 if may_be_lost => CrashFate::Lost,
            0..4 => CrashFate::Whole,
            4 | 5 => CrashFate::Sectors((0..sectors).map(|nth| nth <= cut).collect()),
            6 => CrashFate::Sectors((0..sectors).map(|nth| nth >= cut).collect()),
            _ => CrashFate::Sectors((0..sectors).map(|_| self.draw() & 1 == 1).collect()),
        }
    }
}

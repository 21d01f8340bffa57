//! A load, as fio would make it: operations of one size, so many outstanding, for a time.
//!
//! It drives any [`Volume`] and knows nothing of how that works. With a seed to verify by, each
//! block that is written says which write made it, each read is checked, and at the end everything
//! that was written is read again.

mod ledger;
mod pattern;
mod random;

#[cfg(test)]
mod tests;

pub use ledger::Wrong;
pub use pattern::Found;

use crate::report::{Report, Side};
use crate::volume::Volume;
use bytes::{Bytes, BytesMut};
use ledger::Ledger;
use moraine_engine::IoError;
use moraine_model::BLOCK_BYTES;
use random::Random;
use std::cell::RefCell;
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::task::JoinSet;

/// The pause of a worker whose operation failed, so that errors don't become a load of their own.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Mode {
    /// Reads, one behind the other.
    Read,
    /// Writes, one behind the other.
    Write,
    /// Reads at random places.
    RandRead,
    /// Writes at random places.
    RandWrite,
    /// Both at random places, as many of each.
    Mixed,
}

/// How a volume is driven.
#[derive(Debug, Clone)]
pub struct Load {
    /// What is done.
    pub mode: Mode,
    /// Bytes of each operation, a multiple of 4096.
    pub op_bytes: u64,
    /// Operations under way at once.
    pub depth: usize,
    /// For how long.
    pub runtime: Duration,
    /// Most operations a second.
    pub rate: Option<u64>,
    /// The first so many bytes of the volume are used; all if not said.
    pub size_bytes: Option<u64>,
    /// Chooses places and contents.
    pub seed: u64,
    /// Whether what is read is checked.
    pub verify: bool,
}

/// A load that can't be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// The size of the operations.
    #[error("operations of {0} bytes can't be: use a multiple of 4096")]
    OpBytes(u64),
    /// Nothing would ever be outstanding.
    #[error("at least one operation must be outstanding")]
    Depth,
    /// Not even one operation fits.
    #[error(
        "the load uses {size} bytes of a volume of {volume}: use at least one operation's, at most all"
    )]
    Size {
        /// What it would use.
        size: u64,
        /// What there is.
        volume: u64,
    },
}

impl Load {
    /// So many writes or reads of 4 KiB for a time, at random places all over the volume.
    pub fn new(mode: Mode, depth: usize, runtime: Duration) -> Self {
        Self {
            mode,
            op_bytes: BLOCK_BYTES as u64,
            depth,
            runtime,
            rate: None,
            size_bytes: None,
            seed: 1,
            verify: false,
        }
    }

    /// Drives the volume. To be called where local tasks can be spawned.
    pub async fn run<V: Volume>(&self, volume: &V) -> Result<Report, LoadError> {
        let places = self.places(volume)?;
        let begun = Instant::now();
        let state = Rc::new(State {
            load: self.clone(),
            places,
            begun,
            filler: self.filler(),
            progress: RefCell::new(Progress {
                random: Random::new(self.seed),
                turn: 0,
                ledger: self.verify.then(|| Ledger::new(self.blocks(0..places).end)),
                reads: Side::default(),
                writes: Side::default(),
                verified: 0,
            }),
        });
        self.workers(|| work(Rc::clone(&state), volume.clone()))
            .await;
        let elapsed = begun.elapsed();
        let ledger = |progress: &Progress| progress.ledger.as_ref().map(Ledger::written_blocks);
        let written = ledger(&state.progress.borrow()).unwrap_or_default();
        let written = Rc::new(RefCell::new(written));
        self.workers(|| {
            let (state, volume) = (Rc::clone(&state), volume.clone());
            let written = Rc::clone(&written);
            async move { state.read_back(&volume, &written).await }
        })
        .await;
        let state = Rc::into_inner(state).expect("the workers have ended");
        let progress = state.progress.into_inner();
        let verdict = progress.ledger.map(|ledger| ledger.verdict());
        let (wrong, first_wrong) = verdict.unwrap_or_default();
        Ok(Report {
            elapsed,
            reads: progress.reads,
            writes: progress.writes,
            verified: progress.verified,
            wrong,
            first_wrong,
        })
    }

    /// Runs as many workers as operations are to be outstanding, until all have ended.
    async fn workers<F: Future<Output = ()> + 'static>(&self, worker: impl Fn() -> F) {
        let mut workers = JoinSet::new();
        for _ in 0..self.depth {
            workers.spawn_local(worker());
        }
        while let Some(ended) = workers.join_next().await {
            ended.expect("a worker ends by itself");
        }
    }

    /// How many operations fit into the part of the volume that is used.
    fn places<V: Volume>(&self, volume: &V) -> Result<u64, LoadError> {
        if self.op_bytes == 0 || !self.op_bytes.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(LoadError::OpBytes(self.op_bytes));
        }
        if self.depth == 0 {
            return Err(LoadError::Depth);
        }
        let there = volume.size_bytes();
        let size = self.size_bytes.unwrap_or(there);
        let places = size / self.op_bytes;
        if places == 0 || size > there {
            return Err(LoadError::Size {
                size,
                volume: there,
            });
        }
        Ok(places)
    }

    /// Data for one operation.
    fn filler(&self) -> Bytes {
        let mut random = Random::new(self.seed);
        let bytes = usize::try_from(self.op_bytes).expect("an operation fits into memory");
        let words = std::iter::repeat_with(|| random.next().to_le_bytes());
        words.take(bytes / 8).flatten().collect()
    }

    /// The blocks of places.
    fn blocks(&self, places: Range<u64>) -> Range<usize> {
        let first = |place: u64| {
            let block = place * self.op_bytes / BLOCK_BYTES as u64;
            usize::try_from(block).expect("a volume's blocks can be counted")
        };
        first(places.start)..first(places.end)
    }
}

struct State {
    load: Load,
    places: u64,
    begun: Instant,
    /// What writes that nobody verifies write, each the same: making it is no part of the load.
    filler: Bytes,
    progress: RefCell<Progress>,
}

struct Progress {
    random: Random,
    turn: u64,
    ledger: Option<Ledger>,
    reads: Side,
    writes: Side,
    verified: u64,
}

/// The next operation.
struct Next {
    place: u64,
    is_write: bool,
    /// The write's sequence.
    sequence: u64,
}

/// One operation after the other, until the time is over.
async fn work<V: Volume>(state: Rc<State>, volume: V) {
    while state.begun.elapsed() < state.load.runtime {
        let Some(next) = state.next() else {
            // All places that were tried are in use: let one become free.
            tokio::task::yield_now().await;
            continue;
        };
        state.wait_for_turn().await;
        let done = if next.is_write {
            state.write(&volume, &next).await
        } else {
            state.read(&volume, next.place).await
        };
        if !done {
            tokio::time::sleep(AFTER_ERROR).await;
        }
    }
}

impl State {
    fn next(&self) -> Option<Next> {
        let progress = &mut *self.progress.borrow_mut();
        let place = match self.load.mode {
            Mode::Read | Mode::Write => progress.turn % self.places,
            _ => progress.random.below(self.places),
        };
        let is_write = match self.load.mode {
            Mode::Write | Mode::RandWrite => true,
            Mode::Read | Mode::RandRead => false,
            Mode::Mixed => progress.random.below(2) == 0,
        };
        let mut sequence = 0;
        if let Some(ledger) = &mut progress.ledger {
            if !ledger.take(self.load.blocks(place..place + 1)) {
                return None;
            }
            if is_write {
                sequence = ledger.next_sequence();
            }
        }
        progress.turn += 1;
        Some(Next {
            place,
            is_write,
            sequence,
        })
    }

    /// Keeps to the rate, if there is one.
    async fn wait_for_turn(&self) {
        let Some(rate) = self.load.rate.filter(|rate| *rate > 0) else {
            return;
        };
        let turn = self.progress.borrow().turn;
        let due = Duration::from_millis(turn * 1000 / rate);
        if let Some(early) = due.checked_sub(self.begun.elapsed()) {
            tokio::time::sleep(early).await;
        }
    }

    async fn write<V: Volume>(&self, volume: &V, next: &Next) -> bool {
        let offset = next.place * self.load.op_bytes;
        let blocks = self.load.blocks(next.place..next.place + 1);
        let data = self.content(&blocks, next.sequence);
        let begun = Instant::now();
        let done = volume.write(offset, data).await;
        let took = begun.elapsed();
        let progress = &mut *self.progress.borrow_mut();
        if let Some(ledger) = &mut progress.ledger {
            ledger.written(blocks, next.sequence, done.is_ok());
        }
        match &done {
            Ok(()) => progress.writes.done(took, self.load.op_bytes),
            Err(error) => progress.writes.failed(error),
        }
        done.is_ok()
    }

    fn content(&self, blocks: &Range<usize>, sequence: u64) -> Bytes {
        if !self.load.verify {
            return self.filler.clone();
        }
        let mut data = BytesMut::zeroed(blocks.len() * BLOCK_BYTES);
        for (number, block) in blocks.clone().zip(data.chunks_exact_mut(BLOCK_BYTES)) {
            pattern::fill(block, self.load.seed, number as u64, sequence);
        }
        data.freeze()
    }

    async fn read<V: Volume>(&self, volume: &V, place: u64) -> bool {
        let begun = Instant::now();
        let done = volume
            .read(place * self.load.op_bytes, self.load.op_bytes)
            .await;
        let took = begun.elapsed();
        self.check(self.load.blocks(place..place + 1), &done);
        let progress = &mut *self.progress.borrow_mut();
        match &done {
            Ok(_) => progress.reads.done(took, self.load.op_bytes),
            Err(error) => progress.reads.failed(error),
        }
        done.is_ok()
    }

    fn check(&self, blocks: Range<usize>, done: &Result<Bytes, IoError>) {
        let progress = &mut *self.progress.borrow_mut();
        let Some(ledger) = &mut progress.ledger else {
            return;
        };
        let data = done.as_ref().map_or(&[][..], |data| data);
        if done.is_ok() {
            let expected = blocks.len() * BLOCK_BYTES;
            assert_eq!(data.len(), expected, "a read returns what was asked for");
            progress.verified += blocks.len() as u64;
        }
        let numbered = blocks.clone().zip(data.chunks_exact(BLOCK_BYTES));
        let found =
            numbered.map(|(number, block)| pattern::look(block, self.load.seed, number as u64));
        ledger.read(blocks, found);
    }

    /// Reads one written block after the other, to see that nothing is lost.
    async fn read_back<V: Volume>(&self, volume: &V, blocks: &RefCell<Vec<usize>>) {
        loop {
            let Some(block) = blocks.borrow_mut().pop() else {
                return;
            };
            let offset = (block * BLOCK_BYTES) as u64;
            let done = volume.read(offset, BLOCK_BYTES as u64).await;
            self.check(block..block + 1, &done);
            if let Err(error) = done {
                self.progress.borrow_mut().reads.failed(&error);
            }
        }
    }
}

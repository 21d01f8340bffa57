//! A disk that fails as told, for tests and simulation.
//!
//! Another disk does the work; a script says for each operation what goes wrong with it. It has no
//! randomness of its own: a script that wants some brings a seeded generator. What a power cut
//! leaves of writes in flight is the recording disk's subject.

use super::{Completion, Disk, Failure, FailureKind, Geometry, Operation};
use crate::Buffer;
use moraine_model::BLOCK_BYTES;
use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// What goes wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails, and nothing of it is done.
    Fail,
    /// It fails, and all of it is done.
    FailDone,
    /// Only the first blocks are moved, and it fails as too short.
    Short {
        /// Blocks that are moved.
        blocks: usize,
    },
    /// Nothing of it is done, and it succeeds: a read leaves its buffer as it was.
    Lost,
    /// It is done elsewhere, and it succeeds.
    Misdirect {
        /// Where it is done instead.
        offset: u64,
    },
    /// One bit is wrong: of what a read returns, or of what a write leaves on the disk.
    Flip {
        /// The byte of the operation's data.
        byte: usize,
        /// The bit of that byte.
        bit: u8,
    },
    /// Its completion is held back for that many polls more.
    Delay {
        /// How many.
        polls: u32,
    },
}

/// The place of an operation in the run, counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nth {
    /// Among all operations.
    pub of_all: u64,
    /// Among the operations of its kind (read, write, sync, discard).
    pub of_kind: u64,
}

/// Decides for each operation. A test keeps the control by sharing state with its closure.
pub type Script = Box<dyn FnMut(&Operation, Nth) -> Fault + Send>;

/// A disk with faults.
pub struct FaultyDisk<D> {
    inner: D,
    script: Script,
    begun: u64,
    begun_of_kind: [u64; 4],
    /// What the inner disk has, by its tags.
    running: BTreeMap<u64, Running>,
    delayed: Vec<(u32, Completion)>,
    ready: Vec<Completion>,
}

struct Running {
    tag: u64,
    fault: Fault,
    /// The caller's operation, if the inner disk was given a changed copy.
    original: Option<Operation>,
}

impl<D: fmt::Debug> fmt::Debug for FaultyDisk<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyDisk")
            .field("inner", &self.inner)
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

impl<D: Disk> FaultyDisk<D> {
    /// The disk with faults as the script says.
    pub fn new(inner: D, script: Script) -> Self {
        Self {
            inner,
            script,
            begun: 0,
            begun_of_kind: [0; 4],
            running: BTreeMap::new(),
            delayed: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// The disk that does the work.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    fn count(&mut self, operation: &Operation) -> Nth {
        let kind = &mut self.begun_of_kind[match operation {
            Operation::Read { .. } => 0,
            Operation::Write { .. } => 1,
            Operation::Sync => 2,
            Operation::Discard { .. } => 3,
        }];
        let nth = Nth {
            of_all: self.begun,
            of_kind: *kind,
        };
        self.begun += 1;
        *kind += 1;
        nth
    }

    fn finish(&mut self, done: Completion) {
        let Running {
            tag,
            fault,
            original,
        } = self
            .running
            .remove(&done.tag)
            .expect("the inner disk completes what it was given, once");
        let mut operation = match original {
            Some(original) => restored(original, &done.operation),
            None => done.operation,
        };
        if let (Fault::Flip { byte, bit }, Operation::Read { buffer, .. }) = (fault, &mut operation)
        {
            flip(buffer, byte, bit);
        }
        let outcome = done.outcome.and_then(|()| match fault {
            Fault::FailDone => Err(injected()),
            Fault::Short { .. } => Err(Failure {
                kind: FailureKind::Short,
                source: None,
            }),
            _ => Ok(()),
        });
        let completion = Completion {
            tag,
            operation,
            outcome,
        };
        match fault {
            Fault::Delay { polls } if polls > 0 => self.delayed.push((polls, completion)),
            _ => self.ready.push(completion),
        }
    }

    /// Takes over what the inner disk has finished, and what was held back long enough.
    fn advance(&mut self, completions: &mut Vec<Completion>, done: Vec<Completion>) {
        for (polls, _) in &mut self.delayed {
            *polls -= 1;
        }
        let over = self.delayed.extract_if(.., |(polls, _)| *polls == 0);
        self.ready.extend(over.map(|(_, completion)| completion));
        for completion in done {
            self.finish(completion);
        }
        completions.append(&mut self.ready);
    }
}

fn injected() -> Failure {
    Failure {
        kind: FailureKind::Io,
        source: Some(io::Error::other("a fault of the test")),
    }
}

fn flip(bytes: &mut [u8], byte: usize, bit: u8) {
    if let Some(byte) = bytes.get_mut(byte) {
        *byte ^= 1 << (bit % 8);
    }
}

/// What the inner disk is given instead, where the fault wants that.
fn changed(operation: &Operation, fault: Fault) -> Option<Operation> {
    let (at, keep_bytes, flip_at) = match fault {
        Fault::Short { blocks } => (None, blocks * BLOCK_BYTES, None),
        Fault::Misdirect { offset } => (Some(offset), usize::MAX, None),
        Fault::Flip { byte, bit } => (None, usize::MAX, Some((byte, bit))),
        _ => return None,
    };
    match operation {
        Operation::Read { .. } if flip_at.is_some() => None,
        Operation::Read { offset, buffer } => Some(Operation::Read {
            offset: at.unwrap_or(*offset),
            buffer: Buffer::zeroed(buffer.blocks().min(keep_bytes / BLOCK_BYTES)),
        }),
        Operation::Write { offset, buffers } => {
            let mut data: Vec<u8> = buffers
                .iter()
                .flat_map(|buffer| buffer.iter())
                .copied()
                .collect();
            data.truncate(keep_bytes);
            if let Some((byte, bit)) = flip_at {
                flip(&mut data, byte, bit);
            }
            Some(Operation::Write {
                offset: at.unwrap_or(*offset),
                buffers: vec![Buffer::copy_of(&data)],
            })
        }
        Operation::Sync => None,
        Operation::Discard { offset, size_bytes } => Some(Operation::Discard {
            offset: at.unwrap_or(*offset),
            size_bytes: (*size_bytes).min(keep_bytes as u64),
        }),
    }
}

/// The caller's operation, with what its changed copy read.
fn restored(mut original: Operation, done: &Operation) -> Operation {
    if let (Operation::Read { buffer, .. }, Operation::Read { buffer: read, .. }) =
        (&mut original, done)
    {
        buffer[..read.len()].copy_from_slice(read);
    }
    original
}

impl<D: Disk> Disk for FaultyDisk<D> {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        if self.in_flight() >= self.geometry().queue_depth {
            return Err(operation);
        }
        let nth = self.count(&operation);
        let fault = (self.script)(&operation, nth);
        if matches!(fault, Fault::Fail | Fault::Lost) {
            let outcome = match fault {
                Fault::Lost => Ok(()),
                _ => Err(injected()),
            };
            self.ready.push(Completion {
                tag,
                operation,
                outcome,
            });
            return Ok(());
        }
        let (sent, original) = match changed(&operation, fault) {
            Some(copy) => (copy, Some(operation)),
            None => (operation, None),
        };
        let running = Running {
            tag,
            fault,
            original,
        };
        self.running.insert(nth.of_all, running);
        let taken = self.inner.submit(nth.of_all, sent);
        assert!(
            taken.is_ok(),
            "the inner disk has no more in flight than this"
        );
        Ok(())
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        let mut done = Vec::new();
        self.inner.poll(&mut done);
        self.advance(completions, done);
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        let before = completions.len();
        self.poll(completions);
        while completions.len() == before && self.in_flight() > 0 {
            let mut done = Vec::new();
            // Nothing in flight there: only polls go by, until what is held back is due.
            self.inner.wait(&mut done);
            self.advance(completions, done);
        }
    }

    fn in_flight(&self) -> usize {
        self.running.len() + self.delayed.len() + self.ready.len()
    }

    fn buffer(&mut self, blocks: usize) -> Buffer {
        self.inner.buffer(blocks)
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.inner.recycle(buffer);
    }
}

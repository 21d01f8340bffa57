//! A disk that is read and never written: what is written stays in memory, over it.
//!
//! Offline tools open a store through it: recovery closes and frees segments as always, so they see
//! what an agent would see, and the disk keeps every byte.

use super::{Completion, Disk, Geometry, Operation};
use crate::Buffer;
use moraine_model::BLOCK_BYTES;
use std::collections::BTreeMap;

/// A disk under a layer of memory.
#[derive(Debug)]
pub struct OverlayDisk<D> {
    under: D,
    /// Blocks that were written, by their number.
    written: BTreeMap<u64, Box<[u8]>>,
    done: Vec<Completion>,
}

impl<D: Disk> OverlayDisk<D> {
    /// An overlay over this disk.
    pub fn new(under: D) -> Self {
        Self {
            under,
            written: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    /// The disk beneath, as it was.
    pub fn into_inner(self) -> D {
        self.under
    }

    fn keep(&mut self, offset: u64, buffers: &[Buffer]) {
        let blocks = buffers.iter().flat_map(|buffer| buffer.chunks(BLOCK_BYTES));
        for (number, block) in (offset / BLOCK_BYTES as u64..).zip(blocks) {
            self.written.insert(number, block.into());
        }
    }

    fn cover(&self, completion: &mut Completion) {
        let Operation::Read { offset, buffer } = &mut completion.operation else {
            return;
        };
        let first = *offset / BLOCK_BYTES as u64;
        let end = first + buffer.blocks() as u64;
        for (number, block) in self.written.range(first..end) {
            let at = usize::try_from(number - first).unwrap_or(usize::MAX) * BLOCK_BYTES;
            buffer[at..at + BLOCK_BYTES].copy_from_slice(block);
        }
    }

    fn take(&mut self, completions: &mut Vec<Completion>, from: usize) {
        for completion in &mut completions[from..] {
            self.cover(completion);
        }
        completions.append(&mut self.done);
    }
}

impl<D: Disk> Disk for OverlayDisk<D> {
    fn geometry(&self) -> Geometry {
        self.under.geometry()
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        match &operation {
            Operation::Read { .. } => return self.under.submit(tag, operation),
            Operation::Write { offset, buffers } => self.keep(*offset, buffers),
            Operation::Sync | Operation::Discard { .. } => {}
        }
        self.done.push(Completion {
            tag,
            operation,
            outcome: Ok(()),
        });
        Ok(())
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        let from = completions.len();
        self.under.poll(completions);
        self.take(completions, from);
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        let from = completions.len();
        if self.done.is_empty() {
            self.under.wait(completions);
        } else {
            self.under.poll(completions);
        }
        self.take(completions, from);
    }

    fn in_flight(&self) -> usize {
        self.under.in_flight() + self.done.len()
    }

    fn buffer(&mut self, blocks: usize) -> Buffer {
        self.under.buffer(blocks)
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.under.recycle(buffer);
    }
}

//! Buffers that are used again: it spares the allocator and the zeroing, and lets a disk register
//! memory with the kernel once instead of pinning it at every transfer.
//!
//! It holds the policy alone. The registering itself is a function that the disk passes in; a disk
//! without one passes a function that is never called and a limit of zero.

use crate::{Buffer, Registration};
use moraine_model::BLOCK_BYTES;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Free memory that a pool keeps beside the registered: sixteen of the longest requests that guests
/// make. Memory from the system costs as much as the checksum of its content.
const SPARE_BYTES: usize = 16 << 20;
/// How many requests of a length without registered memory it takes until memory registered for
/// another length gives way. Registering costs a system call, so lengths must not take turns.
const MISSES_TO_EVICT: u32 = 64;

static NEXT_POOL: AtomicU64 = AtomicU64::new(0);

/// What a disk has registered with the kernel.
#[derive(Debug, Clone, Default)]
pub struct PoolReport {
    /// Bytes that are registered.
    pub registered_bytes: usize,
    /// Why no more than these are, if the kernel refused (commonly `RLIMIT_MEMLOCK`).
    pub refused: Option<io::ErrorKind>,
}

#[derive(Debug)]
pub(super) struct Pool {
    id: u64,
    /// Free buffers by their number of blocks.
    registered: BTreeMap<usize, Vec<Buffer>>,
    spare: BTreeMap<usize, Vec<Buffer>>,
    spare_bytes: usize,
    next_slot: u16,
    slots: u16,
    limit_bytes: usize,
    misses: u32,
    report: PoolReport,
}

/// Registers the buffer's memory in a slot of the table, in place of what was there.
type Register<'a> = dyn FnMut(u16, &mut Buffer) -> io::Result<()> + 'a;

impl Pool {
    /// A pool that registers up to `limit_bytes` in up to `slots` slots.
    pub(super) fn new(slots: u16, limit_bytes: usize) -> Self {
        Self {
            // Relaxed: nothing hangs on the numbers but that they differ.
            id: NEXT_POOL.fetch_add(1, Ordering::Relaxed),
            registered: BTreeMap::new(),
            spare: BTreeMap::new(),
            spare_bytes: 0,
            next_slot: 0,
            slots,
            limit_bytes,
            misses: 0,
            report: PoolReport::default(),
        }
    }

    pub(super) fn report(&self) -> &PoolReport {
        &self.report
    }

    /// Registers nothing from now on.
    pub(super) fn refuse(&mut self, error: &io::Error) {
        self.report.refused = Some(error.kind());
        self.limit_bytes = 0;
    }

    /// The slot of a buffer, if it is this pool's.
    pub(super) fn slot(&self, buffer: &Buffer) -> Option<u16> {
        let registration = buffer.registration()?;
        (registration.pool == self.id).then_some(registration.slot)
    }

    pub(super) fn take(&mut self, blocks: usize, register: &mut Register<'_>) -> Buffer {
        if let Some(buffer) = pop(&mut self.registered, blocks) {
            return buffer;
        }
        if blocks > 0
            && let Some(slot) = self.vacant_slot(blocks * BLOCK_BYTES)
        {
            return self.register(slot, blocks, register);
        }
        if let Some(buffer) = pop(&mut self.spare, blocks) {
            self.spare_bytes -= buffer.len();
            return buffer;
        }
        Buffer::zeroed(blocks)
    }

    pub(super) fn give(&mut self, buffer: Buffer) {
        if self.slot(&buffer).is_some() {
            let free = self.registered.entry(buffer.blocks()).or_default();
            free.push(buffer);
        } else if buffer.registration().is_none() && self.spare_bytes + buffer.len() <= SPARE_BYTES
        {
            self.spare_bytes += buffer.len();
            let free = self.spare.entry(buffer.blocks()).or_default();
            free.push(buffer);
        }
    }

    fn register(&mut self, slot: u16, blocks: usize, register: &mut Register<'_>) -> Buffer {
        let mut buffer = Buffer::zeroed(blocks);
        match register(slot, &mut buffer) {
            Ok(()) => {
                self.report.registered_bytes += buffer.len();
                let pool = self.id;
                buffer.registered_as(Registration { pool, slot })
            }
            Err(error) => {
                self.refuse(&error);
                buffer
            }
        }
    }

    /// A slot for memory of that many bytes within the limits, or one that gives way for it.
    fn vacant_slot(&mut self, bytes: usize) -> Option<u16> {
        let fits = |registered: usize| registered + bytes <= self.limit_bytes;
        if self.next_slot < self.slots && fits(self.report.registered_bytes) {
            self.next_slot += 1;
            return Some(self.next_slot - 1);
        }
        if self.limit_bytes < bytes {
            return None;
        }
        self.misses += 1;
        if self.misses < MISSES_TO_EVICT {
            return None;
        }
        self.misses = 0;
        // The length that holds most free memory and makes room enough is missed least.
        let victim = self
            .registered
            .iter()
            .filter(|(blocks, free)| {
                let size = *blocks * BLOCK_BYTES;
                !free.is_empty() && fits(self.report.registered_bytes - size)
            })
            .max_by_key(|(blocks, free)| *blocks * free.len())
            .map(|(blocks, _)| *blocks)?;
        let buffer = pop(&mut self.registered, victim)?;
        self.report.registered_bytes -= buffer.len();
        self.slot(&buffer)
    }
}

fn pop(free: &mut BTreeMap<usize, Vec<Buffer>>, blocks: usize) -> Option<Buffer> {
    free.get_mut(&blocks)?.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots_of(pool: &mut Pool, blocks: usize, count: usize) -> Vec<Option<u16>> {
        let buffers: Vec<_> = (0..count)
            .map(|_| pool.take(blocks, &mut |_, _| Ok(())))
            .collect();
        let slots = buffers.iter().map(|buffer| pool.slot(buffer)).collect();
        for buffer in buffers {
            pool.give(buffer);
        }
        slots
    }

    #[test]
    fn registered_memory_is_bounded_and_used_again() {
        let mut pool = Pool::new(8, 3 * BLOCK_BYTES);
        let first = slots_of(&mut pool, 1, 5);
        assert_eq!(first, [Some(0), Some(1), Some(2), None, None]);
        let again = slots_of(&mut pool, 1, 4);
        assert_eq!(again.iter().flatten().count(), 3);
        assert_eq!(pool.report().registered_bytes, 3 * BLOCK_BYTES);
    }

    #[test]
    fn memory_of_a_length_no_longer_wanted_gives_way() {
        let mut pool = Pool::new(8, 4 * BLOCK_BYTES);
        assert_eq!(slots_of(&mut pool, 4, 1), [Some(0)]);
        let rounds = (0..MISSES_TO_EVICT).filter(|_| slots_of(&mut pool, 1, 1) == [Some(0)]);
        assert_eq!(rounds.count(), 1, "only the last round evicts");
        assert_eq!(slots_of(&mut pool, 1, 1), [Some(0)]);
        assert_eq!(slots_of(&mut pool, 4, 1), [None], "its slot has gone");
    }

    #[test]
    fn a_refusal_ends_registering_and_is_reported() {
        let mut pool = Pool::new(8, 1 << 20);
        let mut calls = 0;
        for _ in 0..3 {
            let buffer = pool.take(2, &mut |_, _| {
                calls += 1;
                Err(io::ErrorKind::OutOfMemory.into())
            });
            assert_eq!((buffer.blocks(), buffer.registration()), (2, None));
        }
        assert_eq!(calls, 1);
        assert_eq!(pool.report().refused, Some(io::ErrorKind::OutOfMemory));
    }

    #[test]
    fn a_buffer_of_another_pool_is_a_stranger() {
        let (mut one, mut other) = (Pool::new(8, 1 << 20), Pool::new(8, 1 << 20));
        let buffer = one.take(1, &mut |_, _| Ok(()));
        assert_eq!(other.slot(&buffer), None);
        other.give(buffer);
        assert_eq!(slots_of(&mut other, 1, 1), [Some(0)]);
    }
}

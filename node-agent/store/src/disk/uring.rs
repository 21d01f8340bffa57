//! A file or block device served by the kernel's `io_uring`.
//!
//! [`Disk::submit`] only fills an entry of the ring; the system call that starts everything filled
//! since is made by the next [`Disk::poll`] or [`Disk::wait`], so a batch costs one call. Who
//! submits must therefore poll soon. Writes carry `RWF_DSYNC`: their completion is durability.
//!
//! Memory from [`Disk::buffer`] is registered with the kernel, up to a limit, which spares pinning
//! it at each transfer. It is used when an operation has exactly one buffer; a write of several
//! goes out as a vectored write of plain memory. Where the kernel refuses to register (locked
//! memory counts against `RLIMIT_MEMLOCK`) the disk goes on without, and
//! [`UringDisk::pool_report`] says so.
//!
//! The ring asks for cooperative task running but not for a single issuer: a store opens its disks
//! on one thread and serves them on others, and what a single issuer gains was not measurable.
//!
//! This is the store's one file with unsafe code. What all of it rests on: from the moment an
//! operation is put into the ring until its completion is taken out, the operation with all its
//! memory stays in the table of slots, untouched; and dropping the disk waits for every
//! completion, or leaks the table if the ring no longer answers.
#![allow(unsafe_code)]

use super::limits::{self, MAX_BUFFERS, failed, whole};
use super::pool::{Pool, PoolReport};
use super::{Completion, Disk, Failure, Geometry, Operation};
use crate::Buffer;
use io_uring::types::{Fixed, FsyncFlags};
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

/// The device's place in the ring's table of files.
const FILE: Fixed = Fixed(0);
/// Entries that are not kept for the next wait. Devices answer in bursts; one that gets its next
/// work only when all of a burst was looked at stands idle meanwhile.
const EAGER_ENTRIES: usize = 4;
/// Nor are entries that together move so much.
const EAGER_BYTES: u64 = 256 << 10;
/// Slots of the ring's table of registered memory.
const BUFFER_SLOTS: u16 = 1024;

const NEEDED: [u8; 7] = [
    opcode::Read::CODE,
    opcode::ReadFixed::CODE,
    opcode::Write::CODE,
    opcode::WriteFixed::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
    opcode::Fallocate::CODE,
];

/// The addresses of a vectored write. The kernel may read them until it has taken the entry.
#[derive(Default)]
struct Vectors(Vec<libc::iovec>);

// SAFETY: the pointers are never followed by this program, only copied into the ring, and they
// point to memory that the operation in the same slot owns, which moves between threads with it.
unsafe impl Send for Vectors {}

/// A place for one operation in flight; its number is the ring's user data.
#[derive(Default)]
struct Slot {
    vectors: Vectors,
    flight: Option<(u64, Operation)>,
}

/// One handle of a device, with a ring of its own. Dropping it waits until everything submitted
/// has been done.
pub struct UringDisk {
    ring: IoUring,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// What never went to the kernel.
    ready: Vec<Completion>,
    /// Bytes of the entries that wait in the ring for the next call.
    kept_bytes: u64,
    pool: Pool,
    geometry: Geometry,
    /// The ring holds the file too; this is for its readers.
    _file: Arc<File>,
}

impl std::fmt::Debug for UringDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringDisk")
            .field("geometry", &self.geometry)
            .field("in_flight", &self.in_flight())
            .field("pool", self.pool.report())
            .finish_non_exhaustive()
    }
}

impl UringDisk {
    /// A handle of an open file that registers up to `registered_bytes` of its buffers. An error
    /// means that this kernel, or its security rules, have no `io_uring` for us. The file must allow
    /// what will be asked: with `O_DIRECT` the geometry's alignment must be the device's.
    pub fn new(file: Arc<File>, geometry: Geometry, registered_bytes: usize) -> io::Result<Self> {
        let depth = geometry.queue_depth;
        let entries = u32::try_from(depth).map_err(io::Error::other)?;
        let ring = ring(entries)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !NEEDED.iter().all(|&code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        let mut pool = Pool::new(BUFFER_SLOTS, registered_bytes);
        if let Err(error) = ring
            .submitter()
            .register_buffers_sparse(u32::from(BUFFER_SLOTS))
        {
            pool.refuse(&error);
        }
        Ok(Self {
            ring,
            slots: (0..depth).map(|_| Slot::default()).collect(),
            free: (0..depth).rev().collect(),
            ready: Vec::new(),
            kept_bytes: 0,
            pool,
            geometry,
            _file: file,
        })
    }

    /// What is registered with the kernel, and why not more.
    pub fn pool_report(&self) -> &PoolReport {
        self.pool.report()
    }

    /// Readable while the ring shows completions that nobody has taken.
    pub fn readiness(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor and closes it only when it is dropped, and the
        // borrow of the ring lasts as long as that of the descriptor.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    /// Operations that the ring has not answered.
    fn in_ring(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts the operation into a slot and the ring.
    fn push(&mut self, tag: u64, operation: Operation) {
        let number = self.free.pop().expect("as many slots as may be in flight");
        let slot = &mut self.slots[number];
        let (_, operation) = slot.flight.insert((tag, operation));
        self.kept_bytes += operation.size_bytes();
        let entry = entry(&self.pool, operation, &mut slot.vectors).user_data(number as u64);
        // SAFETY: every address in the entry is of memory owned by the operation in the slot, or
        // of the slot's vectors. Neither is touched until `reap` has this entry's completion; the
        // heap memory does not move with the table; `drop` waits for it or leaks it. The ring has
        // an entry for each slot, so that it is never full here.
        unsafe { self.ring.submission().push(&entry) }
            .expect("the ring has as many entries as there are slots");
        if self.ring.submission().len() >= EAGER_ENTRIES || self.kept_bytes >= EAGER_BYTES {
            self.enter(0)
                .expect("the kernel serves a ring until its end");
        }
    }

    /// Starts what was pushed, and waits for `want` completions unless a signal comes first.
    fn enter(&mut self, want: usize) -> io::Result<()> {
        self.kept_bytes = 0;
        match self.ring.submit_and_wait(want) {
            Ok(_) => Ok(()),
            Err(error) => match error
                .raw_os_error()
                .map(rustix::io::Errno::from_raw_os_error)
            {
                // A signal, or completions to be taken first.
                Some(rustix::io::Errno::INTR | rustix::io::Errno::BUSY) => Ok(()),
                // No memory for a request just now; the entries stay in the ring.
                Some(rustix::io::Errno::AGAIN | rustix::io::Errno::NOMEM) => {
                    std::thread::yield_now();
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    /// Hands over the completions that the ring shows.
    fn reap(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.ready);
        for event in self.ring.completion() {
            let number = usize::try_from(event.user_data()).expect("the slot that we gave it");
            let (tag, operation) = self.slots[number]
                .flight
                .take()
                .expect("an operation completes once");
            self.free.push(number);
            let outcome = outcome(event.result(), &operation);
            completions.push(Completion {
                tag,
                operation,
                outcome,
            });
        }
    }
}

/// A ring with what this kernel has of the flags that help.
fn ring(entries: u32) -> io::Result<IoUring> {
    let modern = IoUring::builder()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(entries);
    match modern {
        // Linux before 5.19.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => IoUring::new(entries),
        other => other,
    }
}

/// The ring's entry for an operation whose memory stays where it is from here on.
fn entry(pool: &Pool, operation: &mut Operation, vectors: &mut Vectors) -> squeue::Entry {
    let dsync = ReadWriteFlags::DSYNC.bits().cast_signed();
    match operation {
        Operation::Read { offset, buffer } => {
            let length = length(buffer);
            match pool.slot(buffer) {
                Some(slot) => opcode::ReadFixed::new(FILE, buffer.as_mut_ptr(), length, slot)
                    .offset(*offset)
                    .build(),
                None => opcode::Read::new(FILE, buffer.as_mut_ptr(), length)
                    .offset(*offset)
                    .build(),
            }
        }
        Operation::Write { offset, buffers } => {
            if let [buffer] = buffers.as_slice() {
                let length = length(buffer);
                return match pool.slot(buffer) {
                    Some(slot) => opcode::WriteFixed::new(FILE, buffer.as_ptr(), length, slot)
                        .offset(*offset)
                        .rw_flags(dsync)
                        .build(),
                    None => opcode::Write::new(FILE, buffer.as_ptr(), length)
                        .offset(*offset)
                        .rw_flags(dsync)
                        .build(),
                };
            }
            vectors.0.clear();
            vectors.0.extend(buffers.iter().map(|buffer| libc::iovec {
                iov_base: buffer.as_ptr().cast_mut().cast(),
                iov_len: buffer.len(),
            }));
            let count = u32::try_from(vectors.0.len().min(MAX_BUFFERS)).expect("at most 1024");
            opcode::Writev::new(FILE, vectors.0.as_ptr(), count)
                .offset(*offset)
                .rw_flags(dsync)
                .build()
        }
        Operation::Sync => opcode::Fsync::new(FILE).flags(FsyncFlags::DATASYNC).build(),
        Operation::Discard { offset, size_bytes } => {
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            opcode::Fallocate::new(FILE, *size_bytes)
                .offset(*offset)
                .mode(mode.bits().cast_signed())
                .build()
        }
    }
}

/// The length for an entry. A longer buffer ends as a short transfer, as it would anyway: the
/// kernel moves at most 2 GiB at once.
fn length(buffer: &Buffer) -> u32 {
    u32::try_from(buffer.len()).unwrap_or(u32::MAX)
}

fn outcome(result: i32, operation: &Operation) -> Result<(), Failure> {
    let moved = u64::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
    match operation {
        Operation::Read { .. } | Operation::Write { .. } => {
            whole(moved.map_err(failed)?, operation.size_bytes())
        }
        Operation::Sync => moved.map(drop).map_err(failed),
        Operation::Discard { .. } => limits::forgive_discard(moved.map(drop)).map_err(failed),
    }
}

impl Disk for UringDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        if self.in_flight() >= self.geometry.queue_depth {
            return Err(operation);
        }
        let checked = limits::check(&self.geometry, &operation);
        if checked.is_err() || limits::is_empty(&operation) {
            self.ready.push(Completion {
                tag,
                operation,
                outcome: checked,
            });
        } else {
            self.push(tag, operation);
        }
        Ok(())
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        let asks_for_a_call = {
            let entries = self.ring.submission();
            !entries.is_empty() || entries.taskrun() || entries.cq_overflow()
        };
        if asks_for_a_call {
            self.enter(0)
                .expect("the kernel serves a ring until its end");
        }
        self.reap(completions);
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        let before = completions.len();
        self.reap(completions);
        if completions.len() > before {
            return self.poll(completions);
        }
        // One system call submits and waits.
        while completions.len() == before && self.in_ring() > 0 {
            self.enter(1)
                .expect("the kernel serves a ring until its end");
            self.reap(completions);
        }
    }

    fn in_flight(&self) -> usize {
        self.in_ring() + self.ready.len()
    }

    fn buffer(&mut self, blocks: usize) -> Buffer {
        let submitter = self.ring.submitter();
        self.pool.take(blocks, &mut |slot, buffer| {
            let vector = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            };
            // SAFETY: the address and length are of memory that is ours now. The kernel pins its
            // pages, and touches them only for an entry with this slot; such an entry is made only
            // for the very buffer that is registered here, while its slot in the table owns it.
            // Pages of a buffer that was dropped stay pinned, unused, until the slot or the ring
            // goes.
            unsafe { submitter.register_buffers_update(u32::from(slot), &[vector], None) }
        })
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.pool.give(buffer);
    }
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        let mut completions = Vec::new();
        while self.in_ring() > 0 {
            if self.enter(1).is_err() {
                // The kernel may still use the memory, so nobody else may ever get it.
                std::mem::forget(std::mem::take(&mut self.slots));
                return;
            }
            self.reap(&mut completions);
        }
        // A ring gives its files back some time after it is closed: who opens the device next would
        // find it locked. With this it is at once, unless a worker of the kernel still holds what
        // it has finished. An error changes nothing else.
        drop(self.ring.submitter().unregister_files());
    }
}

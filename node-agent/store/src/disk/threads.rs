//! A file or block device served by a few threads that call the kernel one operation at a time.
//!
//! For places where `io_uring` is forbidden (the default seccomp profiles of most container
//! runtimes), and nothing else: each operation costs two thread switches. Writes carry
//! `RWF_DSYNC`, so each is durable when its call returns, on the same descriptor that reads.
//!
//! Nothing is tried again, not even after `EINTR`: a local disk never returns it for a transfer,
//! and what a file system that does return it has done until then is its secret.

use super::limits::{self, failed, whole};
use super::pool::Pool;
use super::{Completion, Disk, Failure, Geometry, Operation};
use crate::Buffer;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(u64, Operation)>,
    done: Vec<Completion>,
    closing: bool,
}

#[derive(Debug)]
struct Shared {
    file: Arc<File>,
    queue: Mutex<Queue>,
    /// Something waits, or the disk closes.
    work: Condvar,
    /// Something is done.
    done: Condvar,
    /// The same for who waits for descriptors, from when it first asked: an event counter, above
    /// zero while something is.
    bell: OnceLock<OwnedFd>,
}

/// One handle of a device, with threads of its own. Dropping it waits until everything submitted
/// has been done.
#[derive(Debug)]
pub struct ThreadDisk {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    geometry: Geometry,
    in_flight: usize,
    /// What needed no thread.
    ready: Vec<Completion>,
    pool: Pool,
}

impl ThreadDisk {
    /// A handle of an open file, served by `threads` threads (at least one). The file must allow
    /// what will be asked: with `O_DIRECT` the geometry's alignment must be the device's.
    pub fn new(file: Arc<File>, geometry: Geometry, threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            file,
            queue: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            bell: OnceLock::new(),
        });
        let mut disk = Self {
            shared,
            workers: Vec::new(),
            geometry,
            in_flight: 0,
            ready: Vec::new(),
            pool: Pool::new(0, 0),
        };
        for _ in 0..threads.max(1) {
            let shared = Arc::clone(&disk.shared);
            let named = thread::Builder::new().name("moraine-disk".into());
            // On an error the drop of the disk ends those that were started.
            disk.workers.push(named.spawn(move || shared.serve())?);
        }
        Ok(disk)
    }

    /// Readable while there are completions that nobody has taken.
    pub fn readiness(&self) -> io::Result<BorrowedFd<'_>> {
        let queue = self.shared.lock();
        if self.shared.bell.get().is_none() {
            let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            self.shared.bell.get_or_init(|| counter);
            if !queue.done.is_empty() {
                self.shared.ring();
            }
        }
        drop(queue);
        let bell = self.shared.bell.get();
        Ok(bell.expect("made above").as_fd())
    }

    fn collect(&mut self, mut done: Vec<Completion>, completions: &mut Vec<Completion>) {
        done.append(&mut self.ready);
        self.in_flight -= done.len();
        completions.append(&mut done);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock, so a poisoned queue is still a whole one.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called with the queue locked, like [`Shared::hush`], so that the bell says what the queue has.
    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            // It fails only when the counter is at its end, and then it is readable already.
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }

    fn hush(&self) {
        if let Some(bell) = self.bell.get() {
            // It fails only when the counter is zero already.
            let _ = rustix::io::read(bell, &mut [0; 8]);
        }
    }

    fn serve(&self) {
        let mut queue = self.lock();
        loop {
            if let Some((tag, mut operation)) = queue.waiting.pop_front() {
                drop(queue);
                let outcome = run(&self.file, &mut operation);
                queue = self.lock();
                queue.done.push(Completion {
                    tag,
                    operation,
                    outcome,
                });
                self.done.notify_one();
                self.ring();
            } else if queue.closing {
                return;
            } else {
                queue = self
                    .work
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

fn run(file: &File, operation: &mut Operation) -> Result<(), Failure> {
    let wanted = operation.size_bytes();
    let moved = match operation {
        Operation::Read { offset, buffer } => {
            let mut parts = [IoSliceMut::new(buffer)];
            rustix::io::preadv2(file, &mut parts, *offset, ReadWriteFlags::empty())
        }
        Operation::Write { offset, buffers } => {
            let parts: Vec<_> = buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
            rustix::io::pwritev2(file, &parts, *offset, ReadWriteFlags::DSYNC)
        }
        Operation::Sync => {
            return rustix::fs::fdatasync(file).map_err(|error| failed(error.into()));
        }
        Operation::Discard { offset, size_bytes } => {
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let result = rustix::fs::fallocate(file, mode, *offset, *size_bytes);
            return limits::forgive_discard(result.map_err(io::Error::from)).map_err(failed);
        }
    };
    whole(moved.map_err(|error| failed(error.into()))? as u64, wanted)
}

impl Disk for ThreadDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        if self.in_flight >= self.geometry.queue_depth {
            return Err(operation);
        }
        self.in_flight += 1;
        let checked = limits::check(&self.geometry, &operation);
        if checked.is_err() || limits::is_empty(&operation) {
            self.ready.push(Completion {
                tag,
                operation,
                outcome: checked,
            });
            return Ok(());
        }
        self.shared.lock().waiting.push_back((tag, operation));
        self.shared.work.notify_one();
        Ok(())
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        if self.in_flight > 0 {
            let mut queue = self.shared.lock();
            let done = std::mem::take(&mut queue.done);
            if !done.is_empty() {
                self.shared.hush();
            }
            drop(queue);
            self.collect(done, completions);
        }
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        if self.in_flight == 0 || !self.ready.is_empty() {
            return self.poll(completions);
        }
        let nothing_yet = |queue: &mut Queue| queue.done.is_empty();
        let mut queue = self
            .shared
            .done
            .wait_while(self.shared.lock(), nothing_yet)
            .unwrap_or_else(PoisonError::into_inner);
        let done = std::mem::take(&mut queue.done);
        self.shared.hush();
        drop(queue);
        self.collect(done, completions);
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn buffer(&mut self, blocks: usize) -> Buffer {
        self.pool.take(blocks, &mut |_, _| Ok(()))
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.pool.give(buffer);
    }
}

impl Drop for ThreadDisk {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker has no way to panic, and a drop could not report it.
            drop(worker.join());
        }
    }
}

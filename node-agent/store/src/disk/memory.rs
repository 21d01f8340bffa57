//! A disk in memory, for tests, benchmarks and simulation.
//!
//! It allocates 64 KiB pages as they are written, so a large disk costs only what it holds, and a
//! copy of a disk ([`MemoryDisk::duplicate`]) only what either changes. Handles made by
//! [`MemoryDisk::another`] share the image, one for each shard. A [`MemoryQueue`] lets a
//! test hold operations back, complete them in any order, and decide at a crash what became of
//! each. It injects no errors and no corruption: the faulty disk does.

use super::limits;
use super::pool::Pool;
use super::{Completion, Disk, Failure, Geometry, Operation};
use crate::Buffer;
use moraine_model::BLOCK_BYTES;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE_BYTES: usize = 64 << 10;
const QUEUE_DEPTH: usize = 256;

/// What a crash makes of a write that was in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrashFate {
    /// Nothing of it reached the disk.
    Lost,
    /// All of it reached the disk, though nobody was told.
    Whole,
    /// Only the logical blocks whose flag is set reached it; missing flags count as unset.
    Sectors(Vec<bool>),
}

/// Shared with duplicates until one of them writes to it.
type Page = Mutex<Option<Arc<Vec<u8>>>>;

#[derive(Debug)]
struct Image {
    pages: Vec<Page>,
    size_bytes: u64,
    logical_block_bytes: u32,
}

#[derive(Debug, Default)]
struct Queue {
    hold: bool,
    pending: VecDeque<(u64, Operation)>,
    done: VecDeque<Completion>,
}

/// One handle of a disk in memory.
#[derive(Debug)]
pub struct MemoryDisk {
    image: Arc<Image>,
    queue: Arc<Mutex<Queue>>,
    pool: Pool,
}

/// The control of one handle's queue, kept by a test while a shard owns the handle.
#[derive(Debug, Clone)]
pub struct MemoryQueue {
    image: Arc<Image>,
    queue: Arc<Mutex<Queue>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in another test thread leaves plain bytes behind, nothing half-built.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Image {
    /// Calls `each` with every page part of the range and the range's bytes it stands for.
    fn walk(&self, offset: u64, length: usize, mut each: impl FnMut(&Page, usize, usize, usize)) {
        let mut done = 0;
        while done < length {
            let at = usize::try_from(offset).expect("a disk in memory fits the address space");
            let (page, within) = ((at + done) / PAGE_BYTES, (at + done) % PAGE_BYTES);
            let part = (PAGE_BYTES - within).min(length - done);
            each(&self.pages[page], within, done, part);
            done += part;
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) {
        self.walk(offset, out.len(), |page, within, done, part| {
            let target = &mut out[done..done + part];
            match lock(page).as_ref() {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + part]),
                None => target.fill(0),
            }
        });
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.walk(offset, data.len(), |page, within, done, part| {
            let mut page = lock(page);
            let bytes = page.get_or_insert_with(|| Arc::new(vec![0; PAGE_BYTES]));
            Arc::make_mut(bytes)[within..within + part].copy_from_slice(&data[done..done + part]);
        });
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size_bytes,
            logical_block_bytes: self.logical_block_bytes,
            queue_depth: QUEUE_DEPTH,
        }
    }

    fn run(&self, operation: &mut Operation) -> Result<(), Failure> {
        limits::check(&self.geometry(), operation)?;
        match operation {
            Operation::Read { offset, buffer } => self.read(*offset, buffer),
            Operation::Write { offset, buffers } => {
                let mut at = *offset;
                for buffer in buffers.iter() {
                    self.write(at, buffer);
                    at += buffer.len() as u64;
                }
            }
            // A discarded range keeps its bytes: the worst that a device may do.
            Operation::Sync | Operation::Discard { .. } => {}
        }
        Ok(())
    }

    /// Applies what a crash left of a write.
    fn run_torn(&self, operation: &Operation, sectors: &[bool]) {
        let Operation::Write { offset, buffers } = operation else {
            return;
        };
        let unit = self.logical_block_bytes as usize;
        let data = buffers.iter().flat_map(|buffer| buffer.chunks_exact(unit));
        let mut at = *offset;
        for (nth, sector) in data.enumerate() {
            if sectors.get(nth).copied().unwrap_or(false) {
                self.write(at, sector);
            }
            at += unit as u64;
        }
    }
}

impl MemoryDisk {
    /// An empty disk of `size_bytes`, cut down to whole blocks, with the given logical block.
    pub fn new(size_bytes: u64, logical_block_bytes: u32) -> Self {
        let size_bytes = size_bytes - size_bytes % BLOCK_BYTES as u64;
        let pages = size_bytes.div_ceil(PAGE_BYTES as u64);
        let image = Image {
            pages: (0..pages).map(|_| Page::default()).collect(),
            size_bytes,
            logical_block_bytes,
        };
        Self {
            image: Arc::new(image),
            queue: Arc::default(),
            pool: Pool::new(0, 0),
        }
    }

    /// Another handle of the same disk, with a queue of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            image: Arc::clone(&self.image),
            queue: Arc::default(),
            pool: Pool::new(0, 0),
        }
    }

    /// A disk of its own with the same content, which costs little until one of them is written.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let pages = self
            .image
            .pages
            .iter()
            .map(|page| Mutex::new(lock(page).clone()))
            .collect();
        let image = Image {
            pages,
            ..*self.image
        };
        Self {
            image: Arc::new(image),
            queue: Arc::default(),
            pool: Pool::new(0, 0),
        }
    }

    /// The control of this handle's queue.
    pub fn queue(&self) -> MemoryQueue {
        MemoryQueue {
            image: Arc::clone(&self.image),
            queue: Arc::clone(&self.queue),
        }
    }

    /// Takes all the memory that the disk will ever need, so that a benchmark does not measure how
    /// the system finds it.
    pub fn touch(&self) {
        for page in &self.image.pages {
            let bytes = lock(page).take();
            let mut bytes = bytes.unwrap_or_else(|| Arc::new(vec![0; PAGE_BYTES]));
            // Zeroed memory is found when it is first written.
            for byte in Arc::make_mut(&mut bytes).iter_mut().step_by(BLOCK_BYTES) {
                *std::hint::black_box(byte) = *byte;
            }
            *lock(page) = Some(bytes);
        }
    }

    /// Reads past the queue, as a test's eye on the platter.
    ///
    /// # Panics
    /// If the range lies outside the disk.
    pub fn peek(&self, offset: u64, out: &mut [u8]) {
        self.image.read(offset, out);
    }

    /// Writes past the queue, as a test's hand on the platter.
    ///
    /// # Panics
    /// If the range lies outside the disk.
    pub fn poke(&self, offset: u64, data: &[u8]) {
        self.image.write(offset, data);
    }
}

impl MemoryQueue {
    /// From now on operations wait until they are completed one by one (`true`), or complete in
    /// order at the next poll (`false`). While they wait, [`Disk::wait`] completes the oldest.
    pub fn hold(&self, hold: bool) {
        lock(&self.queue).hold = hold;
    }

    /// Operations that wait.
    pub fn pending(&self) -> usize {
        lock(&self.queue).pending.len()
    }

    /// Runs the `nth` waiting operation, counted from the oldest; false if there is none.
    pub fn complete(&self, nth: usize) -> bool {
        let mut queue = lock(&self.queue);
        let Some((tag, operation)) = queue.pending.remove(nth) else {
            return false;
        };
        queue.finish(&self.image, tag, operation);
        true
    }

    /// Ends every waiting operation as a crash would: nothing is handed back, and `fate` says what
    /// became of each write.
    pub fn crash(&self, mut fate: impl FnMut(&Operation) -> CrashFate) {
        let pending: Vec<_> = lock(&self.queue).pending.drain(..).collect();
        for (_, mut operation) in pending {
            match fate(&operation) {
                CrashFate::Lost => {}
                CrashFate::Whole => drop(self.image.run(&mut operation)),
                CrashFate::Sectors(sectors) => self.image.run_torn(&operation, &sectors),
            }
        }
    }
}

impl Queue {
    fn finish(&mut self, image: &Image, tag: u64, mut operation: Operation) {
        let outcome = image.run(&mut operation);
        self.done.push_back(Completion {
            tag,
            operation,
            outcome,
        });
    }
}

impl Disk for MemoryDisk {
    fn geometry(&self) -> Geometry {
        self.image.geometry()
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        let mut queue = lock(&self.queue);
        if queue.pending.len() + queue.done.len() >= QUEUE_DEPTH {
            return Err(operation);
        }
        queue.pending.push_back((tag, operation));
        Ok(())
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        let mut queue = lock(&self.queue);
        while !queue.hold
            && let Some((tag, operation)) = queue.pending.pop_front()
        {
            queue.finish(&self.image, tag, operation);
        }
        completions.extend(queue.done.drain(..));
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        {
            let mut queue = lock(&self.queue);
            if queue.hold
                && queue.done.is_empty()
                && let Some((tag, operation)) = queue.pending.pop_front()
            {
                queue.finish(&self.image, tag, operation);
            }
        }
        self.poll(completions);
    }

    fn in_flight(&self) -> usize {
        let queue = lock(&self.queue);
        queue.pending.len() + queue.done.len()
    }

    fn buffer(&mut self, blocks: usize) -> Buffer {
        self.pool.take(blocks, &mut |_, _| Ok(()))
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.pool.give(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::super::FailureKind;
    use super::*;

    fn write(offset: u64, byte: u8) -> Operation {
        Operation::Write {
            offset,
            buffers: vec![Buffer::copy_of(&[byte; BLOCK_BYTES])],
        }
    }

    fn byte_at(disk: &MemoryDisk, offset: u64) -> u8 {
        let mut byte = [0];
        disk.peek(offset, &mut byte);
        byte[0]
    }

    #[test]
    fn what_was_written_is_read_back_through_another_handle() {
        let mut disk = MemoryDisk::new(4 << 20, 4096);
        let offset = (1 << 20) - 4096;
        let buffers = vec![Buffer::copy_of(&[1; 4096]), Buffer::copy_of(&[2; 4096])];
        disk.submit(7, Operation::Write { offset, buffers })
            .unwrap();
        let mut completions = Vec::new();
        disk.wait(&mut completions);
        assert_eq!((completions.len(), completions[0].tag), (1, 7));
        assert!(completions[0].outcome.is_ok());

        let mut other = disk.another();
        other
            .submit(
                8,
                Operation::Read {
                    offset,
                    buffer: Buffer::zeroed(3),
                },
            )
            .unwrap();
        completions.clear();
        other.wait(&mut completions);
        let Operation::Read { buffer, .. } = &completions[0].operation else {
            panic!("no read")
        };
        assert!(buffer[..4096].iter().all(|&byte| byte == 1));
        assert!(buffer[4096..8192].iter().all(|&byte| byte == 2));
        assert!(buffer[8192..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn an_operation_beyond_the_end_fails_and_comes_back() {
        let mut disk = MemoryDisk::new(1 << 20, 512);
        disk.submit(1, write(1 << 20, 1)).unwrap();
        disk.submit(2, write(100, 1)).unwrap();
        let mut completions = Vec::new();
        disk.poll(&mut completions);
        for completion in completions {
            assert_eq!(
                completion.outcome.unwrap_err().kind,
                FailureKind::OutOfRange
            );
        }
        assert_eq!(disk.in_flight(), 0);
    }

    #[test]
    fn a_duplicate_is_a_disk_of_its_own() {
        let disk = MemoryDisk::new(1 << 20, 4096);
        disk.poke(0, &[1, 1]);
        let duplicate = disk.duplicate();
        disk.poke(0, &[2]);
        duplicate.poke(1, &[3]);
        let seen = |disk| [byte_at(disk, 0), byte_at(disk, 1)];
        assert_eq!((seen(&disk), seen(&duplicate)), ([2, 1], [1, 3]));
    }

    #[test]
    fn a_full_queue_gives_the_operation_back() {
        let mut disk = MemoryDisk::new(1 << 20, 4096);
        disk.queue().hold(true);
        for tag in 0..QUEUE_DEPTH as u64 {
            disk.submit(tag, Operation::Sync).unwrap();
        }
        assert!(matches!(
            disk.submit(0, Operation::Sync),
            Err(Operation::Sync)
        ));
    }

    #[test]
    fn a_crash_gives_each_waiting_write_its_fate() {
        let mut disk = MemoryDisk::new(1 << 20, 512);
        let queue = disk.queue();
        queue.hold(true);
        for (tag, offset) in [0, 4096, 8192, 12_288].into_iter().enumerate() {
            disk.submit(tag as u64, write(offset, 9)).unwrap();
        }
        assert!(queue.complete(3), "the newest completes first");
        let mut fates = [
            CrashFate::Lost,
            CrashFate::Whole,
            CrashFate::Sectors(vec![false, true]),
        ]
        .into_iter();
        queue.crash(|_| fates.next().unwrap());
        assert_eq!(queue.pending(), 0);
        let seen = [0, 4096, 8191, 8192, 8704, 9216, 12_288].map(|at| byte_at(&disk, at));
        assert_eq!(seen, [0, 9, 9, 0, 9, 0, 9]);
    }
}

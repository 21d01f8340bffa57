//! Allocation alone: each thread with bitmaps of its own, against one bitmap that the same threads
//! share behind a mutex.

use crate::rig;
use crate::row::Row;
use moraine_store::bitmap::Bitmap;
use moraine_store::format::SEGMENT_BLOCKS;
use std::hint::black_box;
use std::sync::{Barrier, Mutex};
use std::time::Instant;

const THREADS: usize = 2;
const SEGMENTS: u32 = 300;
const ROUNDS: usize = 5;

/// A segment from which blocks are taken one after another.
#[derive(Default)]
struct Open {
    bitmap: Bitmap,
    next: u32,
}

impl Open {
    /// Takes a block; a full segment gives way to an empty one, as from the free list.
    fn take(&mut self) -> u32 {
        if self.next == SEGMENT_BLOCKS {
            *self = Self::default();
        }
        let block = self.next;
        self.bitmap.set(block);
        self.next += 1;
        block
    }
}

/// Measures allocations of all threads together.
pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let (mut own, mut shared) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own.push(per_s(&|| {
            let mut open = Open::default();
            for _ in 0..SEGMENTS * SEGMENT_BLOCKS {
                black_box(open.take());
            }
        }));
        let open = Mutex::new(Open::default());
        shared.push(per_s(&|| {
            for _ in 0..SEGMENTS * SEGMENT_BLOCKS {
                black_box(open.lock().expect("nobody panics").take());
            }
        }));
    }
    let figure = "allocation alone, two threads, a bitmap each";
    let row = Row::new(figure, rig::median(&mut own), "million/s");
    let row = row.against("a shared bitmap behind a mutex", rig::median(&mut shared));
    print(row.target("ratio_at_least", 10.0));
}

/// Millions of blocks taken in a second, by threads that each do `work`.
fn per_s(work: &(dyn Fn() + Sync)) -> f64 {
    let start = Barrier::new(THREADS + 1);
    let seconds = std::thread::scope(|scope| {
        let threads = [(); THREADS].map(|()| {
            scope.spawn(|| {
                start.wait();
                work();
            })
        });
        start.wait();
        let begun = Instant::now();
        for thread in threads {
            thread.join().expect("it only counts");
        }
        begun.elapsed().as_secs_f64()
    });
    let blocks = THREADS as f64 * f64::from(SEGMENTS * SEGMENT_BLOCKS);
    blocks / seconds / 1e6
}

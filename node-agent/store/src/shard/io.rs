//! The shard's side of its disk: operations that wait for room in the queue, and what each is for.

use crate::disk::{Completion, Disk, Failure, Operation};
use std::collections::{BTreeMap, VecDeque};

/// What an operation in flight belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// The batch with this LSN.
    Batch(u64),
    /// The current step of a chain of writes.
    Chain(u64),
    /// Part of a read: request, and which part.
    Read(u64, usize),
    /// The current step of compaction.
    Compaction,
    /// The current step of scrubbing.
    Scrub,
}

/// The disk with its queue.
#[derive(Debug)]
pub(crate) struct Io<D> {
    disk: D,
    depth: usize,
    backlog: VecDeque<(u64, Operation)>,
    tasks: BTreeMap<u64, Task>,
    next_tag: u64,
    completions: Vec<Completion>,
}

impl<D: Disk> Io<D> {
    pub(crate) fn new(disk: D) -> Self {
        let depth = disk.geometry().queue_depth.max(1);
        Self {
            disk,
            depth,
            backlog: VecDeque::new(),
            tasks: BTreeMap::new(),
            next_tag: 0,
            completions: Vec::new(),
        }
    }

    pub(crate) fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    pub(crate) fn handle(&self) -> &D {
        &self.disk
    }

    pub(crate) fn into_disk(self) -> D {
        self.disk
    }

    pub(crate) fn submit(&mut self, task: Task, operation: Operation) {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.tasks.insert(tag, task);
        self.backlog.push_back((tag, operation));
        self.flush();
    }

    fn flush(&mut self) {
        while self.disk.in_flight() < self.depth
            && let Some((tag, operation)) = self.backlog.pop_front()
        {
            if let Err(operation) = self.disk.submit(tag, operation) {
                self.backlog.push_front((tag, operation));
                return;
            }
        }
    }

    /// Whether anything is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// What has ended since, writes without their buffers; with `wait`, at least one unless nothing is under way.
    pub(crate) fn completed(&mut self, wait: bool) -> Vec<(Task, Operation, Result<(), Failure>)> {
        self.flush();
        if wait {
            self.disk.wait(&mut self.completions);
        } else {
            self.disk.poll(&mut self.completions);
        }
        let ended = std::mem::take(&mut self.completions);
        let ended = ended.into_iter().filter_map(|completion| {
            let task = self.tasks.remove(&completion.tag)?;
            let mut operation = completion.operation;
            if let Operation::Write { buffers, .. } = &mut operation {
                for buffer in buffers.drain(..) {
                    self.disk.recycle(buffer);
                }
            }
            Some((task, operation, completion.outcome))
        });
        let ended = ended.collect();
        self.flush();
        ended
    }
}

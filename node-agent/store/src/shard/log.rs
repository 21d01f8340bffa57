//! The write path: requests wait, go out together in batches, and are answered in LSN order.
//!
//! A batch is one durable write. Several are in flight; a batch that completes early waits for
//! those before it. Only then do index and bitmaps change and requests get their answers, so what
//! they show is durable, and so is all that came before. A crash between any two of these steps
//! leaves a prefix of the log, as far as anybody was told.

mod apply;
mod draft;

use super::io::Task;
use super::request::{Content, Request, RequestId, Write, note_key};
use super::{Control, Shard};
use crate::disk::{Disk, Operation};
use crate::format::{
    BatchPlace, Entry, FOOTER_BLOCKS, HEAD_BLOCKS, Identity, Packing, Place, RecordKey,
    VALUE_BYTES_MAX, encode_batch,
};
use crate::free_list::Purpose;
use crate::index::Share;
use crate::{Buffer, StoreError, checksum};
use moraine_model::{BLOCK_BYTES, BlockRange};
use std::collections::{BTreeMap, VecDeque};

/// A request that waits for its batch.
#[derive(Debug)]
pub(super) enum Waiting {
    Write(Write),
    Note(RecordKey, Option<Vec<u8>>),
    Control(Share, Control),
}

impl Waiting {
    /// How deep into the reserve it may reach.
    fn purpose(&self) -> Purpose {
        match self {
            Self::Write(write) => write.content.purpose(),
            Self::Note(..) | Self::Control(..) => Purpose::Record,
        }
    }
}

/// The extent that batches are appended to, or one whose last batches are under way.
#[derive(Debug)]
pub(super) struct OpenExtent {
    pub(super) segment: u32,
    /// The next block to write.
    pub(super) position: u32,
    /// The LSN of its first batch, once there is one.
    first_lsn: Option<u64>,
    /// Bytes that the index of all its entries will take, those in flight too.
    pub(super) index_bytes: usize,
    /// Its entries that are durable.
    pub(super) entries: Vec<Entry>,
    pub(super) batches_in_flight: usize,
    /// What it was taken for: while space is short, nothing goes in that had to leave it alone.
    pub(super) purpose: Purpose,
}

impl OpenExtent {
    pub(super) fn new(segment: u32, purpose: Purpose) -> Self {
        Self {
            segment,
            position: HEAD_BLOCKS,
            first_lsn: None,
            index_bytes: 0,
            entries: Vec::new(),
            batches_in_flight: 0,
            purpose,
        }
    }

    /// Whether a batch of so many blocks and bytes of entries leaves room for index and footer.
    fn has_room(&self, blocks: u32, entry_bytes: usize, segment_blocks: u32) -> bool {
        let index = (self.index_bytes + entry_bytes).div_ceil(BLOCK_BYTES);
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.position + blocks + index + FOOTER_BLOCKS <= segment_blocks
    }
}

/// A batch on its way.
#[derive(Debug)]
struct Batch {
    lsn: u64,
    segment: u32,
    entries: Vec<Entry>,
    ids: Vec<RequestId>,
    durable: bool,
    /// It changes what is kept, so it goes alone.
    control: bool,
}

/// A batch that is being put together.
#[derive(Default)]
pub(super) struct Draft {
    entries: Vec<Entry>,
    pub(super) data: Vec<Buffer>,
    ids: Vec<RequestId>,
    packing: Packing,
    entry_bytes: usize,
    data_blocks: u32,
    control: bool,
}

impl Draft {
    /// Adds an entry; its data goes into `data`, in the same order.
    pub(super) fn push(&mut self, entry: Entry) {
        self.packing = self.packing.with(entry.encoded_bytes());
        self.entry_bytes += entry.encoded_bytes();
        self.data_blocks += entry.data_blocks();
        self.entries.push(entry);
    }

    /// Sets the value of a record that the draft holds already.
    fn set_record(&mut self, id: RequestId, key: &RecordKey, value: Option<&Vec<u8>>) -> bool {
        let same = self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Record(record) if record.key == *key => Some(record),
            _ => None,
        });
        let Some(record) = same else { return false };
        // A record that grows would break the packing; it waits for the next batch.
        if record.value.as_ref().map(Vec::len) != value.map(Vec::len) {
            return false;
        }
        record.value = value.cloned();
        self.ids.push(id);
        true
    }

    fn holds_record(&self, key: &RecordKey) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry, Entry::Record(r) if r.key == *key))
    }
}

/// What the draft makes of the request in front.
enum Step {
    /// It is in the draft, or answered.
    Taken,
    /// It waits, and so does all behind it.
    Held,
    /// It would fit an empty extent.
    Full,
}

/// The log of a shard.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) open: Option<OpenExtent>,
    /// Filled extents whose last batches are in flight, or that are about to be closed.
    pub(super) filled: Vec<OpenExtent>,
    /// An extent ready to be opened, and what it was taken for.
    pub(super) spare: Option<(u32, Purpose)>,
    /// What the extent was taken for that is becoming the spare.
    pub(super) preparing: Option<Purpose>,
    waiting: VecDeque<(RequestId, Waiting)>,
    in_flight: VecDeque<Batch>,
    /// Blocks that the draft and batches in flight change: place and first block to the end. No two
    /// overlap.
    busy: BTreeMap<(Place, u16), u16>,
    next_lsn: u64,
    pub(super) durable_lsn: u64,
}

impl Log {
    pub(super) fn new(durable_lsn: u64) -> Self {
        Self {
            open: None,
            filled: Vec::new(),
            spare: None,
            preparing: None,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            busy: BTreeMap::new(),
            next_lsn: durable_lsn + 1,
            durable_lsn,
        }
    }

    /// Forgets everything not yet answered.
    pub(super) fn abandon(&mut self) -> Vec<RequestId> {
        let flying = self.in_flight.drain(..).flat_map(|batch| batch.ids);
        let mut ids: Vec<_> = flying.collect();
        ids.extend(self.waiting.drain(..).map(|(id, _)| id));
        self.busy.clear();
        ids
    }

    /// Whether requests wait.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn is_busy(&self, place: Place, range: BlockRange) -> bool {
        // Since no two overlap, only the last that begins before the range's end can reach into it.
        let mut before = self.busy.range((place, 0)..(place, range.end()));
        before
            .next_back()
            .is_some_and(|(_, end)| *end > range.first())
    }

    fn mark_busy(&mut self, place: Place, range: BlockRange) {
        let before = self.busy.insert((place, range.first()), range.end());
        assert!(
            before.is_none(),
            "overlapping writes were in flight together"
        );
    }

    fn unmark_busy(&mut self, place: Place, range: BlockRange) {
        self.busy.remove(&(place, range.first()));
    }
}

impl<D: Disk> Shard<D> {
    /// Checks a change and lets it wait for a batch.
    pub(super) fn enqueue(&mut self, id: RequestId, request: Request) -> Result<(), StoreError> {
        if self.log.waiting.len() >= self.options.waiting_max {
            return Err(StoreError::Busy);
        }
        let waiting = match request {
            Request::Write(write) => {
                self.check_write(&write)?;
                Waiting::Write(write)
            }
            Request::Note { key, value } => {
                let key = note_key(&key).ok_or(StoreError::Malformed("length of a note's key"))?;
                if value
                    .as_ref()
                    .is_some_and(|value| value.len() > VALUE_BYTES_MAX)
                {
                    return Err(StoreError::Malformed("length of a note"));
                }
                Waiting::Note(key, value)
            }
            Request::Control { share, control } => Waiting::Control(share, control),
            Request::Read(_) => return Err(StoreError::Malformed("a read is not a change")),
        };
        self.log.waiting.push_back((id, waiting));
        Ok(())
    }

    fn check_write(&self, write: &Write) -> Result<(), StoreError> {
        if self.layout().shard_of(write.place.bucket) != self.segments.shard {
            return Err(StoreError::Malformed("the bucket belongs to another shard"));
        }
        let Content::Data { data, checksums } = &write.content else {
            return Ok(());
        };
        if data.len() != write.range.bytes() {
            return Err(StoreError::Malformed("length of the data"));
        }
        if checksums.len() != usize::from(write.range.count()) {
            return Err(StoreError::Malformed("number of checksums"));
        }
        if u32::from(write.range.count()) > self.write_blocks_max() {
            return Err(StoreError::Malformed(
                "the write is longer than this disk's segments allow",
            ));
        }
        let mut blocks = write
            .range
            .blocks()
            .zip(data.chunks(BLOCK_BYTES))
            .zip(checksums.iter());
        match blocks.find(|((_, bytes), sum)| checksum(bytes) != **sum) {
            Some(((block, _), _)) => Err(StoreError::Mismatch { block }),
            None => Ok(()),
        }
    }

    /// Blocks of the longest write: a whole chunk, but for trials with tiny segments.
    pub fn write_blocks_max(&self) -> u32 {
        (self.layout().segment_blocks / 4).min(u32::from(moraine_model::CHUNK_BLOCKS))
    }

    /// Sends out as many batches as may be in flight.
    pub(super) fn start_batches(&mut self) {
        while self.log.in_flight.len() < self.options.batches_max && self.log.has_waiting() {
            if self.log.in_flight.back().is_some_and(|batch| batch.control) {
                return;
            }
            let mut draft = Draft::default();
            let step = self.fill(&mut draft);
            if !draft.entries.is_empty() {
                self.send(draft);
            } else if !matches!(step, Step::Full) || !self.next_extent() {
                return;
            }
        }
        self.prepare_ahead();
    }

    /// Whether entries for this purpose may go into the open extent. One from deeper in the reserve
    /// keeps its room, unless the next one makes up for it.
    fn may_go(&self, purpose: Purpose) -> bool {
        let Some(open) = &self.log.open else {
            return true;
        };
        let next = self.log.spare.map(|(_, purpose)| purpose);
        let next = next.or(self.log.preparing);
        open.purpose <= purpose
            || next.is_some_and(|next| next <= purpose)
            || self.free.len() > self.free.reserve(purpose)
    }

    /// Goes on to the next extent. False if it is not ready: then it is being prepared, or there is
    /// no space and whoever needs it was told.
    fn next_extent(&mut self) -> bool {
        if let Some((segment, purpose)) = self.log.spare.take() {
            if let Some(filled) = self.log.open.replace(OpenExtent::new(segment, purpose)) {
                self.log.filled.push(filled);
            }
            return true;
        }
        if self.log.preparing.is_some() {
            return false;
        }
        let wanted = self.log.waiting.front();
        let wanted = wanted.map_or(Purpose::Data, |(_, waiting)| waiting.purpose());
        let mut purposes = [Purpose::Data, Purpose::Trim, Purpose::Record].into_iter();
        if purposes.any(|purpose| purpose <= wanted && self.prepare(purpose))
            || self.space_may_come()
        {
            return false;
        }
        if let Some((id, _)) = self.log.waiting.pop_front() {
            self.metrics.no_space += 1;
            self.reply(id, Err(StoreError::NoSpace));
        }
        true
    }

    /// Has the next extent ready before this one is full.
    fn prepare_ahead(&mut self) {
        let Some(open) = &self.log.open else { return };
        let nearly_full = open.position > self.layout().segment_blocks / 4 * 3;
        if nearly_full && self.log.spare.is_none() && self.log.preparing.is_none() {
            self.prepare(Purpose::Data);
        }
    }

    fn send(&mut self, mut draft: Draft) {
        let lsn = self.log.next_lsn;
        self.log.next_lsn += 1;
        let open = self
            .log
            .open
            .as_mut()
            .expect("a draft is filled for an open extent");
        let identity = Identity {
            disk: self.segments.superblock.disk,
            segment: open.segment,
            incarnation: self.segments.expect_mut(open.segment).incarnation,
            shard: self.segments.shard,
        };
        let durable_lsn = self.log.durable_lsn;
        let extent_lsn = *open.first_lsn.get_or_insert(lsn);
        let place = BatchPlace {
            identity,
            position: open.position,
            lsn,
            durable_lsn,
            extent_lsn,
        };
        let headers = encode_batch(place, &mut draft.entries, |blocks| {
            self.io.disk().buffer(blocks)
        });
        let blocks = draft.packing.header_blocks() + draft.data_blocks;
        assert_eq!(
            headers.blocks(),
            draft.packing.header_blocks() as usize,
            "packing disagrees"
        );
        let offset = self.segments.layout().offset(open.segment, open.position);
        let segment = open.segment;
        open.position += blocks;
        open.index_bytes += draft.entry_bytes;
        open.batches_in_flight += 1;
        self.metrics
            .note_batch(draft.ids.len(), blocks, draft.data_blocks);
        let Draft {
            entries,
            data,
            ids,
            control,
            ..
        } = draft;
        self.log.in_flight.push_back(Batch {
            lsn,
            segment,
            entries,
            ids,
            durable: false,
            control,
        });
        let mut buffers = vec![headers];
        buffers.extend(data);
        self.io
            .submit(Task::Batch(lsn), Operation::Write { offset, buffers });
    }
}

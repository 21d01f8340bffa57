//! Operations from their submission to their answer: checked, split, ordered by the blocks they
//! touch, begun when their bucket is ready, and answered exactly once.

use crate::address::Span;
use crate::engine::{Engine, Phase};
use crate::flight::{Flight, For};
use crate::interface::{Io, IoError, IoId};
use crate::ios::{Change, Gathered, Kind, Operation, Owner, Piece, State};
use crate::ranges::Access;
use crate::verify::{Found, assemble};
use bytes::{Bytes, BytesMut};
use moraine_model::{BLOCK_BYTES, BucketId, CHUNK_BLOCKS, block_checksums};
use moraine_protocol::Content;
use moraine_protocol::limits::PAYLOAD_BLOCKS_MAX;

impl Engine {
    /// Checks an operation and keeps it.
    pub(crate) fn admit(&mut self, id: IoId, io: Io) -> Result<usize, IoError> {
        match &self.phase {
            Phase::Ended(error) => return Err(error.clone()),
            Phase::Detaching | Phase::Closing => return Err(IoError::Detached),
            Phase::Attaching | Phase::Attached => {}
        }
        let limit = self.limits.ios_max;
        if self.ios.operations.len() >= limit {
            return Err(IoError::Busy { limit });
        }
        let (kind, offset, length, data) = match io {
            Io::Read { offset, length } => (Kind::Read, offset, length, Bytes::new()),
            Io::Write { offset, data } => (Kind::Write, offset, data.len() as u64, data),
            Io::Zero { offset, length } => (Kind::Zero, offset, length, Bytes::new()),
            Io::Flush => (Kind::Flush, 0, 0, Bytes::new()),
        };
        if kind != Kind::Flush {
            self.check(kind, offset, length)?;
        }
        let key = self.ios.insert(Operation {
            id,
            kind,
            order: 0,
            span: Span::of_bytes(offset, length),
            length,
            data,
            gathered: Gathered::Nothing,
            active: 0,
            submitted_ms: self.now_ms,
        });
        let (ios, due) = (&self.ios, self.now_ms + self.limits.io_deadline_ms);
        let name = (key, ios.operations[key].order);
        let living = ios.operations.len();
        self.io_deadlines
            .push(due, name, living, |name| ios.lives(name));
        Ok(key)
    }

    fn check(&self, kind: Kind, offset: u64, length: u64) -> Result<(), IoError> {
        const BLOCK: u64 = BLOCK_BYTES as u64;
        if length == 0 || !length.is_multiple_of(BLOCK) || !offset.is_multiple_of(BLOCK) {
            return Err(IoError::Misaligned { offset, length });
        }
        let end = offset.checked_add(length);
        let size_bytes = self.size_bytes;
        if end.is_none_or(|end| end > size_bytes) {
            return Err(IoError::OutOfRange {
                offset,
                length,
                size_bytes,
            });
        }
        let limit = self.limits.io_bytes_max;
        if kind != Kind::Zero && length > limit as u64 {
            return Err(IoError::TooLong { length, limit });
        }
        if self.read_only && kind != Kind::Read {
            return Err(IoError::ReadOnly);
        }
        Ok(())
    }

    /// Begins further pieces of an operation, as many as may be under way.
    pub(crate) fn refill(&mut self, key: usize) {
        while let Some(operation) = self.ios.operations.get_mut(key)
            && operation.active < self.limits.parts_max
        {
            let (limit, access) = match operation.kind {
                Kind::Read => (PAYLOAD_BLOCKS_MAX, Access::Read),
                Kind::Write => (PAYLOAD_BLOCKS_MAX, Access::Write),
                Kind::Zero | Kind::Flush => (CHUNK_BLOCKS, Access::Write),
            };
            let Some(part) = operation.span.take(limit) else {
                break;
            };
            operation.active += 1;
            let change = match operation.kind {
                Kind::Write => {
                    let end = part.offset + part.range.bytes();
                    let data = operation.data.slice(part.offset..end);
                    let checksums = block_checksums(&data);
                    Some((Content::Data { checksums }, Some(data)))
                }
                Kind::Zero => Some((Content::Zero, None)),
                Kind::Read | Kind::Flush => None,
            };
            let change = change.map(|(content, data)| Change {
                content,
                data,
                cut: None,
            });
            let piece = Piece {
                owner: Owner::Operation(key),
                state: State::Waits,
                bucket: self.placing.bucket(part.chunk),
                chunk: part.chunk,
                range: part.range,
                offset: part.offset,
                change,
            };
            self.claim(piece, access);
        }
    }

    /// Keeps a piece, and begins it when it gets its blocks.
    pub(crate) fn claim(&mut self, piece: Piece, access: Access) {
        let (chunk, range) = (piece.chunk, piece.range);
        let key = self.ios.pieces.insert(piece);
        if self.ranges.claim(chunk, range, access, key) {
            self.start(key);
        }
    }

    /// Begins a piece that holds its blocks, or parks it until its bucket is ready, or until a new
    /// cut may begin.
    pub(crate) fn start(&mut self, key: usize) {
        let piece = &mut self.ios.pieces[key];
        let id = piece.bucket;
        let changes = piece.change.is_some();
        if !self.serves(id) || (changes && self.holds_writes()) {
            self.ios.pieces[key].state = State::Parked;
            self.bucket_mut(id).parked.push_back(key);
            self.parked.insert(id);
            return;
        }
        let piece = &mut self.ios.pieces[key];
        let Some(change) = piece.change.take() else {
            return self.begin_read(key);
        };
        piece.state = State::Writes;
        let flight = Flight {
            bucket: id,
            chunk: piece.chunk,
            range: piece.range,
            sequence: 0,
            cut: change.cut.unwrap_or(self.cut),
            content: change.content,
            data: change.data,
            of: For::Piece(key),
            acknowledged: 0,
            asked: 0,
            no_space_since: None,
        };
        self.begin_write(flight);
    }

    /// Whether operations in a bucket are served now.
    fn serves(&self, id: BucketId) -> bool {
        matches!(self.phase, Phase::Attached | Phase::Detaching) && self.bucket(id).ready
    }

    /// Begins what was parked for a bucket, if it can be.
    pub(crate) fn unpark(&mut self, id: BucketId) {
        if !self.serves(id) || !self.parked.remove(&id) {
            return;
        }
        for key in std::mem::take(&mut self.bucket_mut(id).parked) {
            self.start(key);
        }
    }

    /// Begins whatever was parked and can be begun.
    pub(crate) fn unpark_all(&mut self) {
        for id in self.parked.clone() {
            self.unpark(id);
        }
    }

    /// Puts what was found where its operation wants it.
    pub(crate) fn deposit(&mut self, key: usize, found: &[Found]) {
        let piece = &self.ios.pieces[key];
        let Owner::Operation(owner) = piece.owner else {
            return;
        };
        let operation = &mut self.ios.operations[owner];
        if operation.length == piece.range.bytes() as u64 {
            operation.gathered = Gathered::Whole(assemble(piece.range, found));
            return;
        }
        if !matches!(operation.gathered, Gathered::Pieces(_)) {
            let length = usize::try_from(operation.length).expect("reads are bounded");
            operation.gathered = Gathered::Pieces(BytesMut::zeroed(length));
        }
        if let Gathered::Pieces(whole) = &mut operation.gathered {
            for run in found {
                let block = usize::from(run.range.first() - piece.range.first());
                let start = piece.offset + block * BLOCK_BYTES;
                whole[start..start + run.data.len()].copy_from_slice(&run.data);
            }
        }
    }

    /// A piece is done: its blocks are free for the next, its operation a step further.
    pub(crate) fn piece_done(&mut self, key: usize) {
        let owner = self.let_go(key);
        if let Owner::Operation(operation) = owner {
            self.ios.operations[operation].active -= 1;
            self.refill(operation);
            let done = &self.ios.operations[operation];
            if done.active == 0 && done.span.is_empty() {
                self.finish(operation, Ok(()));
            }
        }
        self.go_on_detaching();
    }

    /// Forgets a piece and lets others have its blocks. Returns whose it was.
    pub(crate) fn let_go(&mut self, key: usize) -> Owner {
        let piece = self.ios.pieces.remove(key);
        if piece.owner == Owner::Repair {
            self.repairs
                .remove(&(piece.chunk.get(), piece.range.first()));
        }
        for granted in self.ranges.release(piece.chunk, key) {
            self.start(granted);
        }
        piece.owner
    }

    /// Answers an operation.
    fn finish(&mut self, key: usize, result: Result<(), IoError>) {
        let operation = self.ios.remove(key);
        let result = result.map(|()| match operation.gathered {
            Gathered::Nothing => Bytes::new(),
            Gathered::Whole(data) => data,
            Gathered::Pieces(data) => data.freeze(),
        });
        self.answer(operation.id, result);
        self.finish_flushes();
    }

    /// Answers the flushes before which nothing is left.
    pub(crate) fn finish_flushes(&mut self) {
        while let Some(key) = self.ios.flushed() {
            let operation = self.ios.remove(key);
            self.answer(operation.id, Ok(Bytes::new()));
        }
    }

    /// Ends an operation with an error. What of it has not been begun never will be; its writes in
    /// flight stay there, for nobody, and whatever overlaps them waits until they land.
    pub(crate) fn end_early(&mut self, key: usize, error: IoError) {
        for piece in self.ios.pieces_of(key) {
            let of = &mut self.ios.pieces[piece];
            let id = of.bucket;
            match of.state {
                State::Writes => {
                    of.owner = Owner::Nobody;
                    continue;
                }
                State::Waits => {}
                State::Parked => {
                    self.bucket_mut(id).parked.retain(|other| *other != piece);
                }
                State::Reads(read) => self.drop_read(read),
            }
            self.let_go(piece);
        }
        self.finish(key, Err(error));
        self.go_on_detaching();
    }
}

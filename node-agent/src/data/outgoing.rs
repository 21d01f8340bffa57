//! What waits to be written to a connection: heads of frames, and blocks that follow them as they
//! lie in memory.

use moraine_store::Buffer;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use tokio::net::TcpStream;

/// Pieces that one system call writes at most.
const PIECES_MAX: usize = 64;

#[derive(Debug)]
enum Piece {
    Head(Vec<u8>),
    Blocks(Buffer),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Head(bytes) => bytes,
            Self::Blocks(buffer) => buffer,
        }
    }
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are written.
    written: usize,
    waiting_bytes: usize,
    /// Blocks that are written, to be given back.
    done: Vec<Buffer>,
}

impl Outgoing {
    /// Appends a frame: `head` puts its header and body behind what is there, `blocks` follow.
    pub(super) fn push(&mut self, head: impl FnOnce(&mut Vec<u8>), blocks: Vec<Buffer>) {
        if !matches!(self.pieces.back(), Some(Piece::Head(_))) {
            self.pieces.push_back(Piece::Head(Vec::with_capacity(256)));
        }
        if let Some(Piece::Head(bytes)) = self.pieces.back_mut() {
            let before = bytes.len();
            head(bytes);
            self.waiting_bytes += bytes.len() - before;
        }
        for buffer in blocks {
            self.waiting_bytes += buffer.len();
            self.pieces.push_back(Piece::Blocks(buffer));
        }
    }

    /// Bytes that the connection has not taken.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Blocks that were written since the last call.
    pub(super) fn take_done(&mut self) -> Vec<Buffer> {
        std::mem::take(&mut self.done)
    }

    /// All blocks that it has, written or not.
    pub(super) fn into_blocks(self) -> Vec<Buffer> {
        let waiting = self.pieces.into_iter().filter_map(|piece| match piece {
            Piece::Head(_) => None,
            Piece::Blocks(buffer) => Some(buffer),
        });
        self.done.into_iter().chain(waiting).collect()
    }

    /// Writes what the connection takes without waiting; whether that was all.
    pub(super) fn write(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let mut skip = self.written;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(&piece.bytes()[skip..]);
                skip = 0;
            }
            let count = self.pieces.len().min(PIECES_MAX);
            match stream.try_write_vectored(&slices[..count]) {
                Ok(bytes) => self.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, bytes: usize) {
        self.waiting_bytes -= bytes;
        self.written += bytes;
        while let Some(first) = self.pieces.front()
            && self.written >= first.bytes().len()
        {
            self.written -= first.bytes().len();
            if let Some(Piece::Blocks(buffer)) = self.pieces.pop_front() {
                self.done.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moraine_model::BLOCK_BYTES;
    use std::io::Read;
    use tokio::net::TcpListener;

    /// Frames of all sizes, more than a socket holds, and their bytes one behind the other.
    fn frames() -> (Outgoing, Vec<u8>) {
        let (mut out, mut all) = (Outgoing::default(), Vec::new());
        for number in 0..200_u8 {
            let head = vec![number; usize::from(number) + 1];
            let mut blocks = Vec::new();
            all.extend_from_slice(&head);
            for buffer in 0..number % 4 {
                let bytes = vec![number ^ buffer; BLOCK_BYTES * usize::from(1 + buffer * 5)];
                all.extend_from_slice(&bytes);
                blocks.push(Buffer::copy_of(&bytes));
            }
            out.push(|bytes| bytes.extend(head), blocks);
        }
        (out, all)
    }

    #[test]
    fn what_is_not_sent_gives_its_blocks_back() {
        let (out, _) = frames();
        let waiting = out.pieces.iter();
        let blocks = waiting
            .filter(|piece| matches!(piece, Piece::Blocks(_)))
            .count();
        assert!(blocks > 100);
        assert_eq!(out.into_blocks().len(), blocks);
    }

    #[tokio::test]
    async fn everything_is_sent_in_order_however_slowly_it_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reader = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let (stream, _) = listener.accept().await.unwrap();
        let (mut out, all) = frames();
        assert_eq!(out.waiting_bytes(), all.len());
        let are_blocks = |piece: &&Piece| matches!(piece, Piece::Blocks(_));
        let mut blocks = out.pieces.iter().filter(are_blocks).count();
        while !out.write(&stream).unwrap() {
            blocks -= out.take_done().len();
            stream.writable().await.unwrap();
        }
        blocks -= out.take_done().len();
        assert_eq!(
            (blocks, out.waiting_bytes()),
            (0, 0),
            "all blocks come back"
        );
        drop(stream);
        assert!(reader.join().unwrap() == all);
    }
}

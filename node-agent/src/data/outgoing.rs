//! What waits to be written to a connection: heads of frames, and blocks that follow them as they
//! lie in memory.

use super::socket::Socket;
use moraine_store::Buffer;
use std::collections::VecDeque;
use std::io::{self, IoSlice};

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

    /// Whether there is anything for the kernel yet, here or in the connection.
    pub(super) fn has_bytes(&self, socket: &Socket) -> bool {
        self.waiting_bytes > 0 || socket.holds_bytes()
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
    pub(super) fn write(&mut self, socket: &Socket) -> io::Result<bool> {
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let mut skip = self.written;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(&piece.bytes()[skip..]);
                skip = 0;
            }
            let count = self.pieces.len().min(PIECES_MAX);
            match socket.try_write_vectored(&slices[..count]) {
                Ok(bytes) => self.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        match socket.flush() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
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
    use super::super::socket::Loose;
    use super::*;
    use moraine_model::BLOCK_BYTES;
    use moraine_tls::authority::{Authority, Kind};
    use moraine_tls::{Stream, Tls};
    use tokio::net::{TcpListener, TcpStream};

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

    /// Two ends of a connection, the server's as a shard has it.
    async fn connection(tls: Option<&Tls>) -> (Socket, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let accepting = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = Stream::accept(tcp, tls).await.unwrap();
            stream.receive(&mut [0]).await.unwrap();
            Socket::new(Loose::of(stream).unwrap()).unwrap()
        };
        let connecting = async {
            let tcp = TcpStream::connect(to).await.unwrap();
            let mut stream = Stream::connect(tcp, tls).await.unwrap();
            stream.send(&[1]).await.unwrap();
            stream
        };
        tokio::join!(accepting, connecting)
    }

    async fn all_arrives_in_order(tls: Option<&Tls>) {
        let (socket, mut reader) = connection(tls).await;
        let (mut out, all) = frames();
        assert_eq!(out.waiting_bytes(), all.len());
        let are_blocks = |piece: &&Piece| matches!(piece, Piece::Blocks(_));
        let mut blocks = out.pieces.iter().filter(are_blocks).count();
        let writing = async {
            let mut refused = 0;
            while !out.write(&socket).unwrap() {
                assert!(out.has_bytes(&socket), "what is not sent is known");
                blocks -= out.take_done().len();
                socket.writable().await.unwrap();
                refused += 1;
            }
            refused
        };
        let mut received = vec![0; all.len()];
        let reading = async {
            for piece in received.chunks_mut(10_000) {
                reader.receive(piece).await.unwrap();
            }
        };
        let (refused, ()) = tokio::join!(writing, reading);
        assert!(refused > 0, "the connection was never full");
        assert!(received == all);
        blocks -= out.take_done().len();
        assert_eq!(blocks, 0, "all blocks come back");
        assert_eq!(out.waiting_bytes(), 0);
        assert!(!out.has_bytes(&socket));
    }

    fn tls() -> Tls {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("ours");
        let files = authority.write(folder.path(), Kind::Good, &[&authority]);
        Tls::open(files).unwrap()
    }

    #[tokio::test]
    async fn what_tls_holds_back_is_known_and_sent() {
        let (socket, mut reader) = connection(Some(&tls())).await;
        let mut out = Outgoing::default();
        let mut frames = 0_u32;
        socket.writable().await.unwrap();
        let everything_is_sent = loop {
            out.push(
                |head| head.extend([frames.to_le_bytes(); 500].as_flattened()),
                Vec::new(),
            );
            frames += 1;
            if !out.write(&socket).unwrap() {
                break !out.has_bytes(&socket);
            }
        };
        // TLS has taken all of it, and the kernel has not.
        assert_eq!(out.waiting_bytes(), 0);
        assert!(!everything_is_sent);
        let writing = async {
            while out.has_bytes(&socket) {
                socket.writable().await.unwrap();
                out.write(&socket).unwrap();
            }
        };
        let reading = async {
            let mut found = [[0; 4]; 500];
            for frame in 0..frames {
                reader.receive(found.as_flattened_mut()).await.unwrap();
                assert!(found == [frame.to_le_bytes(); 500]);
            }
        };
        tokio::join!(writing, reading);
    }

    #[tokio::test]
    async fn everything_is_sent_in_order_however_slowly_it_is_read() {
        all_arrives_in_order(None).await;
    }

    #[tokio::test]
    async fn everything_is_sent_in_order_with_tls_too() {
        all_arrives_in_order(Some(&tls())).await;
    }
}

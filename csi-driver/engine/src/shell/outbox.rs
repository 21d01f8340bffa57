//! What waits to be written to one connection: heads of frames side by side, and the data of writes
//! as it was given, never copied.
//!
//! It is bounded by the engine, which sends no more unanswered requests than the agent granted.

use super::gather::write_gathered;
use bytes::{Bytes, BytesMut};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// Bytes that heads share.
const HEADS_BYTES: usize = 16 << 10;

/// Shared by the driver, which fills it, and the connection, which empties it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: RefCell<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Heads behind the last piece. Pieces are split off, so that many share one allocation.
    heads: BytesMut,
    pieces: VecDeque<Bytes>,
    /// Where a head is made.
    scratch: Vec<u8>,
}

impl Waiting {
    fn close_heads(&mut self) {
        if !self.heads.is_empty() {
            self.pieces.push_back(self.heads.split().freeze());
        }
    }
}

impl Outbox {
    /// Adds a frame: `head` appends what comes before its data. It isn't written before
    /// [`Self::wake`] is called.
    pub(super) fn push(&self, head: impl FnOnce(&mut Vec<u8>), data: Option<Bytes>) {
        let waiting = &mut *self.waiting.borrow_mut();
        waiting.scratch.clear();
        head(&mut waiting.scratch);
        if waiting.heads.capacity() - waiting.heads.len() < waiting.scratch.len() {
            waiting
                .heads
                .reserve(waiting.scratch.len().max(HEADS_BYTES));
        }
        waiting.heads.extend_from_slice(&waiting.scratch);
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            waiting.close_heads();
            waiting.pieces.push_back(data);
        }
    }

    /// Lets the connection write what waits.
    pub(super) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Writes what waits, again and again, until the connection fails.
    pub(super) async fn drain(&self, mut output: impl AsyncWrite + Unpin) -> io::Error {
        let mut pieces = VecDeque::new();
        loop {
            {
                let waiting = &mut *self.waiting.borrow_mut();
                waiting.close_heads();
                pieces.append(&mut waiting.pieces);
            }
            if pieces.is_empty() {
                // What is written to TLS may still wait there.
                if let Err(error) = output.flush().await {
                    return error;
                }
                self.filled.notified().await;
            } else if let Err(error) = write_gathered(&mut output, &mut pieces).await {
                return error;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use tokio::io::AsyncReadExt;

    #[test]
    fn frames_leave_in_order_however_little_the_socket_takes() {
        let runtime = tokio::runtime::LocalRuntime::new().unwrap();
        runtime.block_on(async {
            // A pipe of 7 bytes: every frame is cut many times.
            let (output, mut input) = tokio::io::duplex(7);
            let outbox = Rc::new(Outbox::default());
            let mut expected = Vec::new();
            for number in 0..200_u8 {
                let data = (number % 3 > 0).then(|| Bytes::from(vec![number; 20]));
                expected.extend([number, number]);
                expected.extend(data.iter().flatten());
                outbox.push(|head| head.extend([number, number]), data);
            }
            let writing = Rc::clone(&outbox);
            tokio::task::spawn_local(async move { writing.drain(output).await });
            let mut found = vec![0; expected.len()];
            input.read_exact(&mut found).await.unwrap();
            assert_eq!(found, expected);
            outbox.push(|head| head.push(1), None);
            outbox.wake();
            assert_eq!(input.read_u8().await.unwrap(), 1, "it wakes up again");
        });
    }

    #[test]
    fn what_a_stream_keeps_until_it_is_flushed_leaves_too() {
        let runtime = tokio::runtime::LocalRuntime::new().unwrap();
        runtime.block_on(async {
            let (output, mut input) = tokio::io::duplex(100);
            let outbox = Rc::new(Outbox::default());
            let writing = Rc::clone(&outbox);
            tokio::task::spawn_local(async move {
                writing.drain(tokio::io::BufWriter::new(output)).await
            });
            for number in 0..3 {
                outbox.push(|head| head.push(number), Some(Bytes::from(vec![number; 4])));
                outbox.wake();
                let mut found = [9; 5];
                input.read_exact(&mut found).await.unwrap();
                assert_eq!(found, [number; 5]);
            }
        });
    }
}

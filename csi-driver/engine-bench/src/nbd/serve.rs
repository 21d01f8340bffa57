//! The requests of one connection: read one after the other, done at the same time, answered in any
//! order.

use super::wire::{self, Command, Errno, Request, request_flag};
use super::{BLOCK_MIN, CloseReason, REQUEST_BYTES_MAX};
use crate::volume::Volume;
use bytes::{Bytes, BytesMut};
use moraine_engine::IoError;
use moraine_engine::shell::write_gathered;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Most unanswered requests of one connection; more wait in the socket.
const REQUESTS_MAX: usize = 256;
/// Most bytes of them, in units of a block: two of the largest requests.
const BLOCKS_MAX: u32 = 2 * REQUEST_BYTES_MAX / BLOCK_MIN;
const READ_BUFFER: usize = 64 << 10;

/// An answer: its head, and the data of a read. The room of its request is free when it is sent.
struct Answer {
    head: [u8; 16],
    data: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Serves a client until it leaves. What it asked for before is finished, and answered if it still
/// listens.
pub(super) async fn serve<V: Volume>(
    volume: &V,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
) -> Result<(), CloseReason> {
    let (answers, to_send) = mpsc::channel(REQUESTS_MAX);
    let sending = send(output, to_send);
    let reading = read(
        volume,
        BufReader::with_capacity(READ_BUFFER, input),
        answers,
    );
    tokio::pin!(sending);
    tokio::select! {
        // Who can't be answered isn't listened to.
        sent = &mut sending => sent?,
        read = reading => {
            read?;
            // Its senders are gone when the last request is done.
            sending.await?;
        }
    }
    Ok(())
}

/// Reads requests and sets each to work; ends when the client says that it leaves.
async fn read<V: Volume>(
    volume: &V,
    mut input: BufReader<impl AsyncRead + Unpin>,
    answers: mpsc::Sender<Answer>,
) -> Result<(), CloseReason> {
    let room = Arc::new(Semaphore::new(BLOCKS_MAX as usize));
    let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let mut head = [0; wire::REQUEST_BYTES];
        input.read_exact(&mut head).await?;
        let request = Request::decode(&head).ok_or(CloseReason::Malformed("no request"))?;
        let brings_data = request.command == Command::Write;
        if request.command == Command::Disconnect {
            return Ok(());
        }
        if brings_data && request.length > REQUEST_BYTES_MAX {
            return Err(CloseReason::Malformed("more data than the export allows"));
        }
        let one = Arc::clone(&requests).acquire_owned().await;
        let one = one.expect("nobody closes it");
        let holds_data = brings_data || request.command == Command::Read;
        let bytes = if holds_data {
            request.length.min(REQUEST_BYTES_MAX)
        } else {
            0
        };
        let blocks = Arc::clone(&room).acquire_many_owned(bytes.div_ceil(BLOCK_MIN));
        let blocks = blocks.await.expect("nobody closes it");
        let mut data = BytesMut::new();
        if brings_data {
            data.resize(request.length as usize, 0);
            input.read_exact(&mut data).await?;
        }
        let (volume, answers) = (volume.clone(), answers.clone());
        tokio::task::spawn_local(async move {
            let done = perform(&volume, &request, data.freeze()).await;
            let answer = Answer {
                head: wire::reply(request.cookie, done.as_ref().err().copied()),
                data: done.unwrap_or_default(),
                _room: blocks,
            };
            // It fails when the client has gone, who then wants no answer.
            let _ = answers.send(answer).await;
            drop(one);
        });
    }
}

/// Does what a request asks for.
async fn perform<V: Volume>(volume: &V, request: &Request, data: Bytes) -> Result<Bytes, Errno> {
    let (offset, length) = (request.offset, u64::from(request.length));
    check(volume, request)?;
    let done = match request.command {
        Command::Read => volume.read(offset, length).await,
        Command::Write => volume.write(offset, data).await.map(|()| Bytes::new()),
        Command::Trim | Command::WriteZeroes => {
            volume.zero(offset, length).await.map(|()| Bytes::new())
        }
        Command::Flush => volume.flush().await.map(|()| Bytes::new()),
        Command::Disconnect | Command::Other(_) => return Err(Errno::Invalid),
    };
    done.map_err(|error| {
        let errno = errno(&error);
        if errno != Errno::Invalid {
            tracing::warn!(?request, %error, "a request failed");
        }
        errno
    })
}

/// Whether the request is one that the export allows.
fn check<V: Volume>(volume: &V, request: &Request) -> Result<(), Errno> {
    let allowed = match request.command {
        Command::WriteZeroes => request_flag::FUA | request_flag::NO_HOLE,
        // Linux' own client sends it with flushes.
        Command::Write | Command::Trim | Command::Flush => request_flag::FUA,
        Command::Read | Command::Disconnect | Command::Other(_) => 0,
    };
    if request.flags & !allowed != 0 {
        return Err(Errno::Invalid);
    }
    let (offset, length) = (request.offset, request.length);
    match request.command {
        Command::Flush if offset == 0 && length == 0 => return Ok(()),
        Command::Read if length > REQUEST_BYTES_MAX => return Err(Errno::Overflow),
        Command::Flush | Command::Other(_) => return Err(Errno::Invalid),
        _ => {}
    }
    let block = u64::from(BLOCK_MIN);
    if length == 0 || !u64::from(length).is_multiple_of(block) || !offset.is_multiple_of(block) {
        return Err(Errno::Invalid);
    }
    let end = offset.checked_add(u64::from(length));
    match end {
        Some(end) if end <= volume.size_bytes() => Ok(()),
        // What the specification says for writes and reads beyond the end.
        _ if request.command == Command::Read => Err(Errno::Invalid),
        _ => Err(Errno::NoSpace),
    }
}

fn errno(error: &IoError) -> Errno {
    match error {
        IoError::Misaligned { .. } | IoError::OutOfRange { .. } | IoError::TooLong { .. } => {
            Errno::Invalid
        }
        IoError::ReadOnly => Errno::Permission,
        IoError::NoSpace => Errno::NoSpace,
        IoError::Detached => Errno::ShutDown,
        _ => Errno::Io,
    }
}

/// Sends answers, as many as wait by one call.
async fn send(
    mut output: impl AsyncWrite + Unpin,
    mut answers: mpsc::Receiver<Answer>,
) -> Result<(), CloseReason> {
    let mut waiting = Vec::with_capacity(REQUESTS_MAX);
    while answers.recv_many(&mut waiting, REQUESTS_MAX).await > 0 {
        let pieces = waiting
            .iter()
            .flat_map(|answer| [Bytes::copy_from_slice(&answer.head), answer.data.clone()]);
        let mut pieces: VecDeque<Bytes> = pieces.filter(|piece| !piece.is_empty()).collect();
        write_gathered(&mut output, &mut pieces).await?;
        waiting.clear();
    }
    Ok(())
}

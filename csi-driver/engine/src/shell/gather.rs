//! Writes pieces of memory one behind the other, many by one call. What they are is not known here.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Most pieces of memory that are written by one call.
const SLICES: usize = 64;

/// Writes all pieces, none of them empty, and takes each away when it is written. Dropped in the
/// middle, it leaves what is not written.
pub async fn write_gathered(
    output: &mut (impl AsyncWrite + Unpin),
    pieces: &mut VecDeque<Bytes>,
) -> io::Result<()> {
    while !pieces.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        let mut written = output.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = pieces.front_mut()
            && written > 0
        {
            let taken = written.min(first.len());
            first.advance(taken);
            written -= taken;
            if first.is_empty() {
                pieces.pop_front();
            }
        }
    }
    Ok(())
}

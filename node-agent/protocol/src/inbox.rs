//! The bytes that arrive on a connection, cut into frames. No socket: whoever has one fills it.
//!
//! Headers, bodies and small payloads come in with few reads of the socket; of a large payload what
//! has already arrived is taken from here, and the rest is read straight to where it belongs.

use crate::limits::BODY_BYTES_MAX;
use crate::{FrameError, HEADER_BYTES, Header};

/// Bytes that are asked of the socket at once.
const ROOM_BYTES: usize = 64 << 10;

/// What has arrived and is not yet taken.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The header that was taken while its body is still on its way.
    header: Option<Header>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            bytes: vec![0; ROOM_BYTES],
            start: 0,
            end: 0,
            header: None,
        }
    }
}

impl Inbox {
    /// Room to read into; never empty as long as frames and payloads are taken as they become whole.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let wanted = self
            .header
            .map_or(HEADER_BYTES, |header| header.body_bytes());
        if self.start + wanted.max(HEADER_BYTES) > self.bytes.len() || self.end == self.bytes.len()
        {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // Only a long body makes it grow, and a header that asks for too long a one was refused.
        debug_assert!(wanted <= BODY_BYTES_MAX);
        if wanted > self.bytes.len() {
            self.bytes.resize(wanted, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes were read into the room.
    pub fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.bytes.len());
    }

    /// The next frame without its payload, once it is whole. Its payload must be taken before the
    /// next frame is asked for.
    pub fn frame(&mut self) -> Result<Option<(Header, &[u8])>, FrameError> {
        if self.header.is_none() {
            let here = &self.bytes[self.start..self.end];
            let Some(bytes) = here.first_chunk::<HEADER_BYTES>() else {
                return Ok(None);
            };
            self.header = Some(Header::decode(bytes)?);
            self.start += HEADER_BYTES;
        }
        let Some(header) = self.header else {
            return Ok(None);
        };
        if self.end - self.start < header.body_bytes() {
            return Ok(None);
        }
        self.header = None;
        let first = self.start;
        self.start += header.body_bytes();
        Ok(Some((header, &self.bytes[first..self.start])))
    }

    /// Moves what is here of a payload to its place, and says how much that was.
    pub fn take(&mut self, into: &mut [u8]) -> usize {
        let bytes = into.len().min(self.end - self.start);
        into[..bytes].copy_from_slice(&self.bytes[self.start..self.start + bytes]);
        self.start += bytes;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Part, Reply, RequestId, Version, VersionKind, decode_reply, encode_reply};
    use moraine_model::{BLOCK_BYTES, BlockRange, Cut, Epoch, Stamp, Tag, block_checksums};

    fn reply(blocks: u16) -> Reply {
        let data = vec![blocks.to_le_bytes()[0]; usize::from(blocks) * BLOCK_BYTES];
        let version = Version {
            range: BlockRange::new(0, blocks).unwrap(),
            kind: VersionKind::Data,
            tag: Tag {
                stamp: Stamp::new(1, 0, 1),
                cut: Cut(0),
                epoch: Epoch(1),
            },
        };
        let checksums = block_checksums(&data);
        let inherited = false;
        Reply::Data {
            parts: vec![Part {
                version,
                inherited,
                checksums,
            }],
        }
    }

    /// The bytes of some frames, and the replies in them.
    fn frames() -> (Vec<u8>, Vec<Reply>) {
        let mut bytes = Vec::new();
        let replies = [reply(1), Reply::Done, reply(40), Reply::Done, reply(2)];
        for (id, reply) in (0..).zip(&replies) {
            encode_reply(RequestId(id), reply, &mut bytes);
            let data = bytes.len() + reply.payload_bytes();
            bytes.resize(data, u8::try_from(id).unwrap());
        }
        (bytes, replies.to_vec())
    }

    /// Takes the frames out of bytes that arrive in pieces of at most so many.
    fn received(mut bytes: &[u8], most: usize) -> Vec<Reply> {
        let mut inbox = Inbox::default();
        let mut replies = Vec::new();
        let mut arrive = |room: &mut [u8]| {
            let now = most.min(room.len()).min(bytes.len());
            room[..now].copy_from_slice(&bytes[..now]);
            bytes = &bytes[now..];
            now
        };
        loop {
            let now = arrive(inbox.room());
            inbox.filled(now);
            let mut idle = now == 0;
            while let Some((header, body)) = inbox.frame().unwrap() {
                idle = false;
                let (id, reply) = decode_reply(&header, body).unwrap();
                let mut payload = vec![0; header.payload_bytes()];
                let mut done = inbox.take(&mut payload);
                while done < payload.len() {
                    done += arrive(&mut payload[done..]);
                }
                assert!(payload.iter().all(|&byte| u64::from(byte) == id.0));
                replies.push(reply);
            }
            if idle {
                return replies;
            }
        }
    }

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let (bytes, replies) = frames();
        for most in [1, 7, 31, 32, 33, 4096, 60_000, 65_536, usize::MAX] {
            assert!(received(&bytes, most) == replies, "pieces of {most}");
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let mut inbox = Inbox::default();
        inbox.room()[..HEADER_BYTES].fill(7);
        inbox.filled(HEADER_BYTES);
        assert!(inbox.frame().is_err());
    }
}

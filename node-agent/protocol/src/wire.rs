//! Requests and replies as frames: what stands in the body of each kind.
//!
//! Frames are made and read here, not sent or received, and the data of blocks never passes
//! through. Each message has one encoding, and each encoding that is accepted is of one message.
//! `docs/wire.md` has every byte.

mod refusal;
mod reply;
mod request;
mod rules;
mod values;

use crate::cursor::Reader;
use crate::frame::{Header, put_frame};
use crate::{BodyError, FrameError, Group, Kind, Reply, Request, RequestId};

/// Appends header and body of a request. Its data, [`Request::payload_bytes`] of it, is to be sent
/// right behind them.
///
/// # Panics
/// If the request breaks its own rules ([`Request::check`]): a bug of the caller.
pub fn encode_request(id: RequestId, request: &Request, out: &mut Vec<u8>) {
    request
        .check()
        .expect("only well-formed requests are sent, and this one is not");
    let payload_bytes = request.payload_bytes();
    put_frame(request.kind(), id.0, payload_bytes, out, |out| {
        request::put(request, out);
    });
}

/// Appends header and body of a reply. Its data, [`Reply::payload_bytes`] of it, is to be sent right
/// behind them: that of its parts, one behind the other.
///
/// # Panics
/// If the reply breaks its own rules ([`Reply::check`]): a bug of the caller.
pub fn encode_reply(id: RequestId, reply: &Reply, out: &mut Vec<u8>) {
    reply
        .check()
        .expect("only well-formed replies are sent, and this one is not");
    let payload_bytes = reply.payload_bytes();
    put_frame(reply.kind(), id.0, payload_bytes, out, |out| {
        reply::put(reply, out);
    });
}

/// Reads a request. It is well-formed ([`Request::check`]), and as much data follows as it says.
pub fn decode_request(header: &Header, body: &[u8]) -> Result<(RequestId, Request), FrameError> {
    let request = decode(header, Group::Request, body, request::take)?;
    let checked = request.check();
    checked.map_err(|source| malformed(header, source))?;
    check_payload(header, request.payload_bytes())?;
    Ok((header.id(), request))
}

/// Reads a reply. It is well-formed ([`Reply::check`]), and as much data follows as it says.
pub fn decode_reply(header: &Header, body: &[u8]) -> Result<(RequestId, Reply), FrameError> {
    let reply = decode(header, Group::Reply, body, reply::take)?;
    let checked = reply.check();
    checked.map_err(|source| malformed(header, source))?;
    check_payload(header, reply.payload_bytes())?;
    Ok((header.id(), reply))
}

/// Reads all of a body that came where a frame of `group` may come.
pub(crate) fn decode<T>(
    header: &Header,
    group: Group,
    body: &[u8],
    take: impl FnOnce(Kind, &mut Reader<'_>) -> Result<Option<T>, BodyError>,
) -> Result<T, FrameError> {
    header.expect(group)?;
    header.check_body(body)?;
    let mut reader = Reader::new(body);
    let message = take(header.kind(), &mut reader);
    let message = message.and_then(|message| reader.end().map(|()| message));
    let message = message.map_err(|source| malformed(header, source))?;
    message.ok_or(FrameError::Unexpected {
        kind: header.kind(),
        expected: group,
    })
}

fn malformed(header: &Header, source: BodyError) -> FrameError {
    FrameError::Body {
        kind: header.kind(),
        source,
    }
}

fn check_payload(header: &Header, described: usize) -> Result<(), FrameError> {
    if header.payload_bytes() == described {
        return Ok(());
    }
    Err(FrameError::PayloadBytes {
        kind: header.kind(),
        said: u32::try_from(header.payload_bytes()).unwrap_or(u32::MAX),
        described,
    })
}

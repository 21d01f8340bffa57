//! What must hold of each decoder for any bytes: the body of a fuzz target, and of ordinary tests.
//!
//! A decoder never panics and trusts nothing. Each body tries the bytes as they are, and again as a
//! frame whose lengths and checksums were made right, since no mutation would get past those by
//! luck. What is decoded must be well-formed and must encode to the very bytes that it came from.

use moraine_model::{BLOCK_BYTES, checksum};
use moraine_protocol::limits::PAYLOAD_BYTES_MAX;
use moraine_protocol::{
    FrameError, Group, HEADER_BYTES, Header, MAGIC, RequestId, VERSION, decode_reply,
    decode_request, encode_reply, encode_request,
};

/// A body by the name of its fuzz target.
pub(crate) type Body = fn(&[u8]);

/// Every target.
pub(crate) const BODIES: [(&str, Body); 4] = [
    ("header", header),
    ("request", request),
    ("reply", reply),
    ("handshake", super::meetings::handshake),
];

/// Makes the lengths and checksums in a header right.
pub(crate) fn seal(frame: &mut [u8]) {
    let Some((header, body)) = frame.split_first_chunk_mut::<HEADER_BYTES>() else {
        return;
    };
    let bytes = u32::try_from(body.len()).expect("inputs are short");
    header[16..20].copy_from_slice(&bytes.to_le_bytes());
    header[24..28].copy_from_slice(&checksum(body).to_le_bytes());
    seal_header(header);
}

/// Makes the checksum of a header right.
pub(crate) fn seal_header(header: &mut [u8; HEADER_BYTES]) {
    let sum = checksum(&header[..28]);
    header[28..].copy_from_slice(&sum.to_le_bytes());
}

/// The bytes as a frame that gets past the checks of its header, if its kind exists.
fn sealed(bytes: &[u8], version: u16) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    frame.resize(frame.len().max(HEADER_BYTES), 0);
    frame[..4].copy_from_slice(&MAGIC);
    frame[4..6].copy_from_slice(&version.to_le_bytes());
    seal(&mut frame);
    frame
}

/// A header.
pub(crate) fn header(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk() else {
        return;
    };
    let mut sealed = *bytes;
    sealed[..4].copy_from_slice(&MAGIC);
    seal_header(&mut sealed);
    for bytes in [*bytes, sealed] {
        let Ok(header) = Header::decode(&bytes) else {
            continue;
        };
        let kind = header.kind();
        assert!(header.body_bytes() <= kind.body_bytes_max());
        assert!(header.payload_bytes() <= kind.payload_bytes_max().min(PAYLOAD_BYTES_MAX));
        assert!(header.payload_bytes().is_multiple_of(BLOCK_BYTES));
        let is_handshake = kind.group() == Group::Handshake;
        assert_eq!(header.version() == 0, is_handshake);
        assert!(header.id() == RequestId(0) || !is_handshake);
    }
}

/// Reads a frame with one of the decoders, and holds what comes out against the frame.
pub(crate) fn one_encoding<T>(
    frame: &[u8],
    decode: impl Fn(&Header, &[u8]) -> Result<T, FrameError>,
    encode: impl Fn(T, &mut Vec<u8>),
) -> Result<(), FrameError> {
    let Some((header, body)) = frame.split_first_chunk() else {
        return Ok(());
    };
    let header = Header::decode(header)?;
    let message = decode(&header, body)?;
    let mut encoded = Vec::new();
    encode(message, &mut encoded);
    assert_eq!(encoded, frame, "a message has one encoding");
    Ok(())
}

/// Tries the bytes as they are, and as a frame that is right but for its fields.
fn both(bytes: &[u8], check: impl Fn(&[u8]) -> Result<(), FrameError>) {
    let _ = check(bytes);
    let mut frame = sealed(bytes, VERSION);
    let Err(FrameError::PayloadBytes { described, .. }) = check(&frame) else {
        return;
    };
    // All is right but how much data follows.
    let payload = u32::try_from(described).expect("a message within the limits has little data");
    frame[20..24].copy_from_slice(&payload.to_le_bytes());
    seal(&mut frame);
    check(&frame).expect("with the data that it describes, the message is right");
}

/// A request.
pub(crate) fn request(bytes: &[u8]) {
    both(bytes, |frame| {
        one_encoding(frame, decode_request, |(id, request), out| {
            encode_request(id, &request, out);
        })
    });
}

/// A reply.
pub(crate) fn reply(bytes: &[u8]) {
    both(bytes, |frame| {
        one_encoding(frame, decode_reply, |(id, reply), out| {
            encode_reply(id, &reply, out);
        })
    });
}

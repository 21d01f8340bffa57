//! What is sent is what is received, whatever it is; and the limits are those of the messages.

use super::samples::{ID, Message, samples};
use super::strategies::message;
use moraine_model::{
    BLOCK_BYTES, BlockRange, BucketEntry, BucketId, Checksums, ChunkIndex, Cut, DiskId, Epoch,
    Generation, Listing, REPLICAS_MAX, Role, Stamp, Tag, VolumeId,
};
use moraine_protocol::limits::{
    CHUNKS_MAX, LAYERS_MAX, NAMES_MAX, PAYLOAD_BLOCKS_MAX, SHARES_MAX, VERSIONS_MAX,
};
use moraine_protocol::{
    ChunkStamp, FrameError, Group, HEADER_BYTES, Header, LayerStamp, Part, Refusal, Reply,
    RequestId, ShareState, VERSION, Version, VersionKind, decode_reply, decode_request,
};
use proptest::prelude::*;

/// Splits header and body.
pub(crate) fn split(frame: &[u8]) -> (&[u8; HEADER_BYTES], &[u8]) {
    frame.split_first_chunk().unwrap()
}

/// Decodes a frame of either direction.
pub(crate) fn decode(frame: &[u8]) -> Result<(RequestId, Message), FrameError> {
    let (header, body) = split(frame);
    let header = Header::decode(header)?;
    match header.kind().group() {
        Group::Reply => decode_reply(&header, body).map(|(id, it)| (id, Message::Reply(it))),
        _ => decode_request(&header, body).map(|(id, it)| (id, Message::Request(it))),
    }
}

#[test]
fn every_sample_is_received_as_it_was_sent() {
    for (name, message) in samples() {
        assert_eq!(decode(&message.encode()), Ok((ID, message)), "{name}");
    }
}

proptest! {
    #[test]
    fn a_message_is_received_as_it_was_sent(message in message()) {
        let frame = message.encode();
        let header = Header::decode(split(&frame).0).unwrap();
        let (kind, payload) = match &message {
            Message::Request(request) => (request.kind(), request.payload_bytes()),
            Message::Reply(reply) => (reply.kind(), reply.payload_bytes()),
        };
        prop_assert_eq!((header.kind(), header.version(), header.id()), (kind, VERSION, ID));
        prop_assert_eq!(header.body_bytes() + HEADER_BYTES, frame.len());
        prop_assert_eq!(header.payload_bytes(), payload);
        prop_assert_eq!(decode(&frame), Ok((ID, message)));
    }

    /// A shell collects several frames in one buffer.
    #[test]
    fn frames_are_put_one_behind_another(one in message(), next in message()) {
        let mut both = one.encode();
        let length = both.len();
        match &next {
            Message::Request(request) => moraine_protocol::encode_request(ID, request, &mut both),
            Message::Reply(reply) => moraine_protocol::encode_reply(ID, reply, &mut both),
        }
        prop_assert_eq!(&both[..length], one.encode());
        prop_assert_eq!(&both[length..], next.encode());
    }
}

fn range(first: u16, count: u16) -> BlockRange {
    BlockRange::new(first, count).unwrap()
}

fn version(first: u16, count: u16, kind: VersionKind) -> Version {
    let tag = Tag {
        stamp: Stamp::new(1, 2, 3),
        cut: Cut(4),
        epoch: Epoch(5),
    };
    Version {
        range: range(first, count),
        kind,
        tag,
    }
}

/// The largest entry.
fn entry() -> BucketEntry {
    let listing = |disk: usize| Listing {
        disk: DiskId::new(disk as u128 + 1).unwrap(),
        role: Role::InSync,
        since: Epoch(0),
    };
    let listings = (0..REPLICAS_MAX).map(listing).collect();
    BucketEntry::new(BucketId::new(0).unwrap(), Epoch(7), listings).unwrap()
}

fn shares(count: usize, names: usize) -> Reply {
    let state = |number: usize| ShareState {
        volume: VolumeId::new(number as u128 + 1).unwrap(),
        fence: Generation::default(),
        deleted_at: Some(Cut(9)),
        deleted_snapshots: Vec::new(),
        references: Vec::new(),
    };
    let mut shares: Vec<_> = (0..count).map(state).collect();
    let reference = |at: usize| (Cut(at as u64), VolumeId::new(1).unwrap());
    shares[0].references = (0..names).map(reference).collect();
    Reply::Shares { shares, more: true }
}

fn chunks(count: usize) -> Reply {
    let stamp = |chunk: usize| ChunkStamp {
        chunk: ChunkIndex::new(u32::try_from(chunk).unwrap()).unwrap(),
        newest: Stamp::ZERO,
    };
    Reply::Chunks {
        chunks: (0..count).map(stamp).collect(),
        more: true,
    }
}

fn layers(count: usize) -> Reply {
    let stamp = |cut: usize| LayerStamp {
        cut: Cut(cut as u64),
        newest: Stamp::ZERO,
    };
    Reply::Layers {
        fence: Generation::default(),
        layers: (0..count).rev().map(stamp).collect(),
    }
}

fn versions(count: usize) -> Reply {
    let count = u16::try_from(count).unwrap();
    let versions = (0..count).map(|block| version(block, 1, VersionKind::Zero));
    Reply::Versions {
        fence: Generation::default(),
        versions: versions.collect(),
    }
}

/// Blocks of data, each a part of its own.
fn data(count: u16) -> Reply {
    let part = |block| Part {
        version: version(block, 1, VersionKind::Data),
        inherited: false,
        checksums: Checksums::from(u32::from(block)),
    };
    Reply::Data {
        parts: (0..count).map(part).collect(),
    }
}

#[test]
fn the_largest_replies_fill_the_limits_of_their_kinds_exactly() {
    for reply in [
        shares(SHARES_MAX, NAMES_MAX),
        chunks(CHUNKS_MAX),
        layers(LAYERS_MAX),
        versions(VERSIONS_MAX),
        data(PAYLOAD_BLOCKS_MAX),
        Reply::Refused(Refusal::StaleEpoch { entry: entry() }),
    ] {
        let kind = reply.kind();
        let message = Message::Reply(reply);
        let frame = message.encode();
        let header = Header::decode(split(&frame).0).unwrap();
        assert_eq!(header.body_bytes(), kind.body_bytes_max(), "{kind}");
        assert_eq!(decode(&frame), Ok((ID, message)));
    }
    let payload = data(PAYLOAD_BLOCKS_MAX).payload_bytes();
    assert_eq!(payload, usize::from(PAYLOAD_BLOCKS_MAX) * BLOCK_BYTES);
}

#[test]
fn what_is_beyond_a_limit_is_no_message() {
    for reply in [
        shares(SHARES_MAX + 1, 0),
        shares(1, NAMES_MAX + 1),
        chunks(CHUNKS_MAX + 1),
        layers(LAYERS_MAX + 1),
        data(PAYLOAD_BLOCKS_MAX + 1),
    ] {
        assert!(reply.check().is_err(), "{} has no limit", reply.kind());
    }
}

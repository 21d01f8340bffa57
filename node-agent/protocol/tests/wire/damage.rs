//! Frames that were cut, damaged or made up: each is refused by a typed error, or is a message.

use super::bodies::{BODIES, seal};
use super::roundtrip::{decode, split};
use super::samples::{Message, samples};
use super::strategies::message;
use moraine_model::OutOfRange;
use moraine_protocol::{
    BodyError, FrameError, Group, HEADER_BYTES, Header, Kind, RequestOrder, Rule, decode_reply,
    decode_request,
};
use proptest::prelude::*;

/// The frame of a sample.
fn sample(name: &str) -> Vec<u8> {
    let mut samples = samples().into_iter();
    samples.find(|(at, _)| *at == name).unwrap().1.encode()
}

/// The frame with bytes of its body replaced, and its checksums right.
fn patched(name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = sample(name);
    let at = HEADER_BYTES + at;
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    seal(&mut frame);
    frame
}

/// The frame with bytes of its header replaced, and its checksums right.
fn header(name: &str, at: usize, bytes: &[u8]) -> Result<Header, FrameError> {
    let mut frame = sample(name);
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    let mut header = *split(&frame).0;
    super::bodies::seal_header(&mut header);
    Header::decode(&header)
}

fn body_error(frame: &[u8]) -> BodyError {
    match decode(frame) {
        Err(FrameError::Body { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_frame_that_was_cut_is_refused() {
    for (name, message) in samples() {
        let frame = message.encode();
        for length in HEADER_BYTES..frame.len() {
            let refused = decode(&frame[..length]);
            let is_cut = matches!(refused, Err(FrameError::BodyBytes { .. }));
            assert!(is_cut, "{name} of {length} bytes: {refused:?}");
            // The same if the header agrees: then a field is missing.
            let mut frame = frame[..length].to_vec();
            seal(&mut frame);
            let is_cut = body_error(&frame) == BodyError::Truncated;
            assert!(is_cut, "{name} of {length} bytes");
        }
    }
}

#[test]
fn every_bit_that_flips_is_seen() {
    for (name, message) in samples() {
        let frame = message.encode();
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let refused = decode(&flipped).expect_err("a flipped bit breaks a checksum");
            let expected = match bit / 8 {
                0..4 => "magic",
                4..HEADER_BYTES => "header_checksum",
                _ => "body_checksum",
            };
            assert_eq!(refused.label(), expected, "{name}, bit {bit}");
        }
    }
}

/// An enemy gets the checksums right: then each flipped bit of a body is another message, or none.
#[test]
fn every_bit_that_flips_with_right_checksums_is_refused_or_another_message() {
    for (_, message) in samples() {
        let frame = message.encode();
        for bit in HEADER_BYTES * 8..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            seal(&mut flipped);
            if let Ok((_, other)) = decode(&flipped) {
                assert_ne!(other, message);
                assert_eq!(other.encode(), flipped);
            }
        }
    }
}

#[test]
fn what_follows_a_message_is_refused() {
    for (name, message) in samples() {
        let mut frame = message.encode();
        frame.push(0);
        assert!(decode(&frame).is_err());
        seal(&mut frame);
        let (head, _) = split(&frame);
        match Header::decode(head) {
            // Kinds of one size: it is refused before it is read.
            Err(FrameError::BodyTooLong { .. }) => {}
            Ok(_) => assert_eq!(
                body_error(&frame),
                BodyError::Trailing { bytes: 1 },
                "{name}"
            ),
            Err(other) => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn sizes_beyond_the_limits_are_refused_by_the_header_alone() {
    for name in ["ping", "write-one", "chunks", "opened"] {
        let frame = sample(name);
        let kind = Header::decode(split(&frame).0).unwrap().kind();
        let max = kind.body_bytes_max();
        for bytes in [u32::try_from(max).unwrap() + 1, 1 << 30, u32::MAX] {
            let refused = header(name, 16, &bytes.to_le_bytes());
            assert_eq!(refused, Err(FrameError::BodyTooLong { kind, bytes, max }));
        }
        assert!(header(name, 16, &u32::try_from(max).unwrap().to_le_bytes()).is_ok());
    }
    for (name, max) in [
        ("write-one", 1 << 20),
        ("data", 1 << 20),
        ("ping", 0),
        ("read-cut", 0),
    ] {
        let kind = Header::decode(split(&sample(name)).0).unwrap().kind();
        for bytes in [1, 4095, 4097, max + 4096, u32::MAX] {
            let refused = header(name, 20, &bytes.to_le_bytes());
            let max = max as usize;
            assert_eq!(refused, Err(FrameError::BadPayload { kind, bytes, max }));
        }
    }
}

#[test]
fn a_header_of_another_kind_version_or_protocol_is_refused() {
    assert_eq!(
        header("ping", 6, &[0x48, 0]),
        Err(FrameError::Kind { found: 0x48 })
    );
    assert_eq!(
        header("ping", 6, &[0x14, 1]),
        Err(FrameError::Kind { found: 0x114 })
    );
    for found in [0_u16, 2, 0x100, u16::MAX] {
        let refused = header("ping", 4, &found.to_le_bytes()).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, FrameError::Version { found: at, .. } if at == found));
        assert!(text.contains("version 1"), "{text}");
    }
    let http = Header::decode(b"GET / HTTP/1.1\r\nHost: agent:7\r\n\r");
    assert_eq!(http, Err(FrameError::Magic { found: 0x4745_5420 }));
    assert_eq!(
        Header::decode(&[0; HEADER_BYTES]),
        Err(FrameError::Magic { found: 0 })
    );
}

#[test]
fn a_message_that_came_where_it_does_not_belong_is_refused() {
    for (name, message) in samples() {
        let frame = message.encode();
        let (header, body) = split(&frame);
        let header = Header::decode(header).unwrap();
        let refused = match message {
            Message::Request(_) => decode_reply(&header, body).map(drop),
            Message::Reply(_) => decode_request(&header, body).map(drop),
        };
        assert_eq!(refused.unwrap_err().label(), "unexpected", "{name}");
        assert!(header.expect(Group::Handshake).is_err());
    }
}

#[test]
fn data_that_the_body_does_not_describe_is_refused() {
    for (name, described) in [
        ("write-several", 3),
        ("write-zero", 0),
        ("data", 2),
        ("data-none", 0),
    ] {
        for blocks in [0_u32, 1, 2, 3, 256] {
            let mut frame = sample(name);
            frame[20..24].copy_from_slice(&(blocks * 4096).to_le_bytes());
            seal(&mut frame);
            match decode(&frame) {
                Ok(_) => assert_eq!(blocks, described, "{name}"),
                Err(refused) => {
                    assert!(
                        matches!(refused, FrameError::PayloadBytes { .. }),
                        "{refused}"
                    );
                    assert_ne!(blocks, described, "{name}");
                }
            }
        }
    }
}

/// Bodies with one field that no message has.
#[test]
fn fields_out_of_range_are_refused() {
    let value = |frame: Vec<u8>, expected: &str| match body_error(&frame) {
        BodyError::Value(OutOfRange { what, .. }) => assert_eq!(what, expected),
        other => panic!("{other:?} for a {expected}"),
    };
    value(patched("close", 0, &[0; 16]), "volume id");
    value(patched("close", 16, &[0, 0, 1, 0]), "bucket");
    value(patched("read-head", 36, &[0, 0, 0, 1]), "chunk");
    value(patched("read-head", 40, &[0, 0, 0, 0]), "block range");
    value(patched("read-head", 40, &[0, 4, 1, 0]), "block range");
    value(patched("write-zero", 40, &[1, 0, 0, 4]), "block range");
    value(patched("damaged", 1, &[0, 4]), "block");
    value(patched("mismatch", 1, &[0xff, 0xff]), "block");
    // Entry: bucket, epoch, count; then the first listing: disk, role, since.
    value(patched("adopt", 13, &[0; 16]), "disk id");
    value(patched("adopt", 29, &[1]), "map entry");
    value(patched("adopt", 30, &[0x36]), "map entry");
    let tag = |frame: Vec<u8>, expected| {
        let found = body_error(&frame);
        assert!(
            matches!(found, BodyError::Tag { what, .. } if what == expected),
            "{found:?}"
        );
    };
    tag(patched("adopt", 29, &[2]), "role of a replica");
    tag(patched("not-open", 0, &[14]), "refusal");
    tag(
        patched("rule-store", 1, &[Rule::StoreLimits as u8 + 1]),
        "rule of the protocol",
    );
    tag(patched("opened", 24, &[2]), "yes or no");
    tag(patched("list-layers", 28, &[2]), "yes or no");
    tag(
        patched("read-head", 44, &[2]),
        "place in the history of a volume",
    );
    tag(patched("write-zero", 76, &[2]), "kind of content");
    tag(patched("versions", 14, &[2]), "kind of a version");
}

#[test]
fn lists_out_of_order_or_without_sense_are_refused() {
    let order = |frame: Vec<u8>, what| assert_eq!(body_error(&frame), BodyError::Order { what });
    // Two listings of 25 bytes: the second with the disk of the first, and with a lesser one.
    order(
        patched(
            "adopt",
            38,
            &[0x31, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        "replicas of a bucket",
    );
    order(
        patched(
            "adopt",
            38,
            &[0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        "replicas of a bucket",
    );
    order(patched("chunks", 2, &[0x89]), "chunks");
    order(patched("chunks", 2, &[0x8a]), "chunks");
    order(patched("layers", 10, &[0x8a]), "layers");
    order(patched("layers", 10, &[0x89]), "layers");
    // The first version becomes two blocks long, so that it meets the second.
    order(patched("versions", 12, &[2]), "versions");
    // The second part, four blocks behind the first, comes to where the first still is.
    order(patched("data", 50, &[4]), "parts");
    order(patched("shares", 2, &[0x88]), "shares");
    order(patched("shares", 37, &[0x84]), "deleted snapshots");
    order(patched("shares", 55, &[0x85]), "references");
    let mut frame = sample("data-none");
    frame.splice(HEADER_BYTES.., [0, 0, 1]);
    frame[6] = Kind::Chunks.number().to_le_bytes()[0];
    seal(&mut frame);
    assert_eq!(body_error(&frame), BodyError::MoreOfNothing);
}

#[test]
fn reads_of_more_than_one_frame_brings_are_refused() {
    let too_many = BodyError::Count {
        what: "blocks",
        count: 257,
        max: 256,
    };
    assert_eq!(body_error(&patched("read-head", 42, &[1, 1])), too_many);
    assert_eq!(body_error(&patched("copy", 34, &[1, 1])), too_many);
    // A reply whose parts lie further apart than any read reaches: blocks 3 and 258 and 259.
    assert_eq!(body_error(&patched("data", 50, &[2, 1])), too_many);
}

#[test]
fn checksums_that_do_not_fit_the_range_are_refused() {
    let wrong = |checksums, blocks| BodyError::Checksums { checksums, blocks };
    assert_eq!(body_error(&patched("write-several", 42, &[2])), wrong(3, 2));
    assert_eq!(body_error(&patched("write-one", 42, &[2])), wrong(1, 2));
    // The part with data becomes zeros, the one with zeros data.
    assert_eq!(body_error(&patched("data", 6, &[1])), wrong(2, 0));
    assert_eq!(body_error(&patched("data", 54, &[0])), wrong(0, 2));
}

/// The count is believed only as far as there are bytes for it.
#[test]
fn a_list_that_is_longer_than_its_body_is_refused() {
    for (name, at) in [
        ("chunks", 0),
        ("layers", 8),
        ("versions", 8),
        ("data", 0),
        ("shares", 0),
    ] {
        let frame = patched(name, at, &[0xff, 0xff]);
        assert_eq!(body_error(&frame), BodyError::Truncated, "{name}");
    }
}

#[test]
fn a_request_that_comes_twice_is_refused() {
    let with_id = |id: u64| header("ping", 8, &id.to_le_bytes()).unwrap();
    let mut order = RequestOrder::default();
    assert_eq!(order.accept(&with_id(0)), Ok(()));
    assert_eq!(order.accept(&with_id(7)), Ok(()));
    for id in [0, 6, 7] {
        let refused = order.accept(&with_id(id));
        assert_eq!(refused, Err(FrameError::Replayed { id, last: 7 }));
    }
    assert_eq!(order.accept(&with_id(u64::MAX)), Ok(()));
    assert!(order.accept(&with_id(u64::MAX)).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic_or_lie(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u8..0x50) {
        let mut bytes = bytes;
        for (_, body) in BODIES {
            body(&bytes);
        }
        if let Some(at) = bytes.get_mut(6) {
            *at = kind;
            bytes[7..].iter_mut().take(1).for_each(|byte| *byte = 0);
        }
        for (_, body) in BODIES {
            body(&bytes);
        }
    }

    #[test]
    fn no_damage_to_a_frame_goes_unseen(message in message(), at in any::<prop::sample::Index>(), with in 1..=u8::MAX) {
        let mut frame = message.encode();
        let at = at.index(frame.len());
        frame[at] ^= with;
        prop_assert!(decode(&frame).is_err());
    }
}

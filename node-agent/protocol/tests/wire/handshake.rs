//! Peers that meet, and those that must not.

use super::bodies::seal;
use super::meetings::{
    CLIENT_NONCE, CREDITS, Failed, SECRET, SERVER_NONCE, SHARDS, client, cluster, meet, open,
    secret, server, wanted,
};
use super::samples::samples;
use hmac::{Hmac, Mac};
use moraine_protocol::handshake::{
    Client, HandshakeError, NodeName, Proved, Proven, Reject, Secret, SecretTooShort, Server,
    Session,
};
use moraine_protocol::{FrameError, HEADER_BYTES, Header, Kind, Versions};
use sha2::Sha256;

fn untouched(_: usize, _: &mut Vec<u8>) {}

/// A proof as `docs/wire.md` describes it.
fn proof(label: &str, said: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).unwrap();
    for part in [label.as_bytes()].iter().chain(said) {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The error of a client and what it was told, or of a server.
fn client_error(failed: Result<impl Sized, Failed>) -> HandshakeError {
    match failed.err().expect("they must not meet") {
        Failed::Client(error) => error,
        Failed::Server(refused) => panic!("the server failed first: {refused:?}"),
    }
}

/// The error of a server, and how the client reads what it is told.
fn server_error(failed: Result<impl Sized, Failed>) -> (HandshakeError, Option<Reject>) {
    let refused = match failed.err().expect("they must not meet") {
        Failed::Server(refused) => refused,
        Failed::Client(error) => panic!("the client failed first: {error}"),
    };
    let told = refused.answer.map(|answer| {
        let secret = secret();
        let (client, _) = Client::start(client(&secret), wanted(), CLIENT_NONCE);
        let (header, body) = open(&answer);
        match client.challenge(&header, body) {
            Err(HandshakeError::Rejected(reject)) => reject,
            other => panic!("{other:?}"),
        }
    });
    (refused.error, told)
}

#[test]
fn two_peers_of_a_cluster_meet() {
    let secret = secret();
    let (session, peer, _) = meet(client(&secret), server(&secret), untouched).unwrap();
    let here = server(&secret);
    let expected = Session {
        version: 1,
        node: here.node,
        boot: here.boot,
        credits: CREDITS,
        shards: SHARDS,
    };
    assert_eq!(session, expected);
    let there = client(&secret);
    assert_eq!((peer.version, peer.wanted), (1, wanted()));
    assert_eq!((peer.node, peer.boot), (there.node, there.boot));
}

#[test]
fn proofs_are_what_the_documentation_says() {
    let secret = secret();
    let channel: &[u8] = b"of this connection";
    let (mut one, mut other) = (client(&secret), server(&secret));
    (one.channel, other.channel) = (channel, channel);
    let (_, _, said) = meet(one, other, untouched).unwrap();
    let [hello, challenge, ours, welcome] = said.each_ref().map(|frame| &frame[HEADER_BYTES..]);
    let (chosen, theirs) = challenge.split_at(challenge.len() - 32);
    let expected = proof("moraine handshake, server", &[channel, hello, chosen]);
    assert_eq!(theirs, expected);
    let expected = proof("moraine handshake, client", &[channel, hello, challenge]);
    assert_eq!(ours, expected);
    let (grant, last) = welcome.split_at(welcome.len() - 32);
    let said = [channel, hello, challenge, ours, grant];
    assert_eq!(last, proof("moraine handshake, welcome", &said));
}

#[test]
fn peers_of_different_versions_agree_on_the_newest_or_are_told() {
    let secret = secret();
    let of = |min, max| Versions::new(min, max).unwrap();
    let meet_as = |ours, theirs| {
        let (mut one, mut other) = (client(&secret), server(&secret));
        (one.versions, other.versions) = (ours, theirs);
        meet(one, other, untouched)
    };
    let (session, peer, _) = meet_as(of(1, 4), of(2, 3)).unwrap();
    assert_eq!((session.version, peer.version), (3, 3));
    for (ours, theirs) in [(of(1, 1), of(2, 3)), (of(2, 3), of(1, 1))] {
        let (error, told) = server_error(meet_as(ours, theirs));
        let expected = HandshakeError::NoCommonVersion {
            theirs: ours,
            ours: theirs,
        };
        assert_eq!(
            (error, told),
            (expected, Some(Reject::Version { spoken: theirs }))
        );
    }
}

#[test]
fn a_client_of_another_cluster_is_told_so_but_not_which() {
    let secret = secret();
    let mut one = client(&secret);
    one.cluster = cluster(0xee);
    let ours = server(&secret).cluster;
    let (error, told) = server_error(meet(one, server(&secret), untouched));
    let theirs = cluster(0xee);
    assert_eq!(error, HandshakeError::WrongCluster { theirs, ours });
    assert_eq!(told, Some(Reject::WrongCluster));
}

#[test]
fn a_server_without_the_secret_gets_no_proof() {
    let (right, wrong) = (secret(), Secret::new(&[9; 40]).unwrap());
    let error = client_error(meet(client(&right), server(&wrong), untouched));
    assert_eq!(error, HandshakeError::Unproven);
}

#[test]
fn a_client_without_the_secret_learns_only_that_it_is_denied() {
    let secret = secret();
    for made_up in [[0; 32], [0xff; 32], CLIENT_NONCE, SERVER_NONCE] {
        let failed = meet(client(&secret), server(&secret), |number, frame| {
            if number == 2 {
                frame[HEADER_BYTES..].copy_from_slice(&made_up);
                seal(frame);
            }
        });
        let Err(Failed::Server(refused)) = failed else {
            panic!("it must be denied")
        };
        assert_eq!(refused.error, HandshakeError::Unproven);
        let answer = refused.answer.unwrap();
        let (header, body) = open(&answer);
        assert_eq!((header.kind(), body), (Kind::Reject, &[2][..]));
    }
}

#[test]
fn what_was_recorded_is_worth_nothing_to_anyone_else() {
    let secret = secret();
    let (_, _, [hello, challenge, proof, welcome]) =
        meet(client(&secret), server(&secret), untouched).unwrap();
    // To a server: it has another nonce now.
    let (header, body) = open(&hello);
    let again = Server::new(server(&secret), [0x5f; 32]).hello(&header, body);
    let (challenged, _) = again.expect("anyone can say hello");
    let (header, body) = open(&proof);
    let refused = challenged.proof(&header, body).unwrap_err();
    assert_eq!(refused.error, HandshakeError::Unproven);
    // To a client: it has another one too.
    let (again, hello) = Client::start(client(&secret), wanted(), [0xc2; 32]);
    let (header, body) = open(&challenge);
    let refused = again.challenge(&header, body);
    assert_eq!(refused.err(), Some(HandshakeError::Unproven));
    // To a client that has got as far as that with the server.
    let (again, _) = Client::start(client(&secret), wanted(), [0xc2; 32]);
    let (header, body) = open(&hello);
    let fresh = Server::new(server(&secret), [0x5f; 32]).hello(&header, body);
    let (_, challenge) = fresh.unwrap();
    let (header, body) = open(&challenge);
    let (proved, _) = again.challenge(&header, body).unwrap();
    let (header, body) = open(&welcome);
    let refused = proved.welcome(&header, body);
    assert_eq!(refused.err(), Some(HandshakeError::Unproven));
}

#[test]
fn a_proof_that_is_sent_back_to_its_maker_is_worth_nothing() {
    let secret = secret();
    let failed = meet(client(&secret), server(&secret), |number, frame| {
        if number == 2 {
            // What the server itself has just said.
            let (_, hello) = Client::start(client(&secret), wanted(), CLIENT_NONCE);
            let (header, body) = open(&hello);
            let server = Server::new(server(&secret), SERVER_NONCE);
            let (_, challenge) = server.hello(&header, body).unwrap();
            let theirs = challenge.len() - 32;
            frame[HEADER_BYTES..].copy_from_slice(&challenge[theirs..]);
            seal(frame);
        }
    });
    assert_eq!(
        server_error(failed),
        (HandshakeError::Unproven, Some(Reject::Denied))
    );
}

/// Checksums are no defence against somebody in between, the proofs are.
#[test]
fn peers_do_not_meet_if_a_bit_of_what_they_say_is_changed_on_its_way() {
    let secret = secret();
    let (_, _, said) = meet(client(&secret), server(&secret), untouched).unwrap();
    for (number, frame) in said.iter().enumerate() {
        for bit in HEADER_BYTES * 8..frame.len() * 8 {
            let met = meet(client(&secret), server(&secret), |at, frame| {
                if at == number {
                    frame[bit / 8] ^= 1 << (bit % 8);
                    seal(frame);
                }
            });
            assert!(met.is_err(), "bit {bit} of frame {number}");
        }
    }
}

#[test]
fn peers_at_the_ends_of_two_connections_do_not_meet() {
    let secret = secret();
    let mut one = client(&secret);
    one.channel = b"somebody sits in between";
    let error = client_error(meet(one, server(&secret), untouched));
    assert_eq!(error, HandshakeError::Unproven);
}

/// Two peers that have proved themselves to each other.
pub(crate) fn proven(secret: &Secret) -> (Proved<'_>, Proven<'_>) {
    let (client, hello) = Client::start(client(secret), wanted(), CLIENT_NONCE);
    let (header, body) = open(&hello);
    let server = Server::new(server(secret), SERVER_NONCE);
    let (server, challenge) = server.hello(&header, body).unwrap();
    let (header, body) = open(&challenge);
    let (client, proof) = client.challenge(&header, body).unwrap();
    let (header, body) = open(&proof);
    (client, server.proof(&header, body).unwrap())
}

#[test]
fn a_client_of_the_cluster_is_told_why_it_is_turned_away() {
    let secret = secret();
    for reject in [Reject::NoSuchDisk, Reject::Busy, Reject::Denied] {
        let (client, server) = proven(&secret);
        let refused = server.reject(reject);
        assert_eq!(refused.error, HandshakeError::TurnedAway(reject));
        let answer = refused.answer.unwrap();
        let (header, body) = open(&answer);
        let told = client.welcome(&header, body);
        assert_eq!(told, Err(HandshakeError::Rejected(reject)));
    }
    // It asked for shard 3.
    for shards in 0..=3 {
        let (client, server) = proven(&secret);
        let answer = server.welcome(CREDITS, shards).unwrap_err().answer.unwrap();
        let (header, body) = open(&answer);
        let reject = Reject::WrongShard { shards };
        assert_eq!(
            client.welcome(&header, body),
            Err(HandshakeError::Rejected(reject))
        );
    }
}

/// A server of the cluster, with the secret, but with a bug.
#[test]
fn a_client_refuses_what_it_can_not_be_granted() {
    let secret = secret();
    let (_, _, said) = meet(client(&secret), server(&secret), untouched).unwrap();
    let [hello, challenge, ours, welcome] = said.each_ref().map(|frame| &frame[HEADER_BYTES..]);
    let numbers = welcome.len() - 40;
    for (credits, shards) in [(0, 4), (1025, 4), (u32::MAX, 4), (1, 3), (1, 0)] {
        let mut grant = welcome[..numbers].to_vec();
        grant.extend(u32::to_le_bytes(credits));
        grant.extend(u32::to_le_bytes(shards));
        let said: [&[u8]; 5] = [&[], hello, challenge, ours, &grant];
        let last = proof("moraine handshake, welcome", &said);
        let refused = meet(client(&secret), server(&secret), |number, frame| {
            if number == 3 {
                frame.truncate(HEADER_BYTES);
                frame.extend(&grant);
                frame.extend(&last);
                seal(frame);
            }
        });
        assert_eq!(
            client_error(refused),
            HandshakeError::BadGrant { credits, shards }
        );
    }
}

#[test]
fn a_client_refuses_a_version_that_it_did_not_offer_and_another_cluster() {
    let secret = secret();
    let refused = |at: usize, byte: u8| {
        client_error(meet(client(&secret), server(&secret), |number, frame| {
            if number == 1 {
                frame[HEADER_BYTES + at] = byte;
                seal(frame);
            }
        }))
    };
    assert_eq!(refused(0, 2), HandshakeError::NotOffered { chosen: 2 });
    assert_eq!(refused(0, 0), HandshakeError::NotOffered { chosen: 0 });
    assert_eq!(refused(2, 1).label(), "wrong_cluster");
}

#[test]
fn a_frame_whose_turn_it_is_not_ends_the_handshake_without_an_answer() {
    let secret = secret();
    let (_, _, said) = meet(client(&secret), server(&secret), untouched).unwrap();
    for (number, frame) in said.iter().enumerate() {
        let (header, body) = open(frame);
        let refused = Server::new(server(&secret), SERVER_NONCE).hello(&header, body);
        if let Err(refused) = refused {
            let due = Kind::Hello;
            let found = header.kind();
            assert_eq!(refused.error, HandshakeError::OutOfTurn { found, due });
            assert_eq!(refused.answer, None);
        } else {
            assert_eq!(number, 0);
        }
        let (proved, _) = proven(&secret);
        assert_eq!(proved.welcome(&header, body).is_ok(), number == 3);
    }
    // A request before the handshake.
    for (name, message) in samples() {
        let frame = message.encode();
        let (header, body) = open(&frame);
        let refused = Server::new(server(&secret), SERVER_NONCE).hello(&header, body);
        let refused = refused.unwrap_err();
        let is_unexpected = matches!(
            refused.error,
            HandshakeError::Frame(FrameError::Unexpected { .. })
        );
        assert!(is_unexpected && refused.answer.is_none(), "{name}");
    }
}

#[test]
fn a_frame_of_the_handshake_has_no_request_id() {
    let secret = secret();
    let (_, mut hello) = Client::start(client(&secret), wanted(), CLIENT_NONCE);
    hello[8] = 1;
    seal(&mut hello);
    let refused = Header::decode(hello.first_chunk().unwrap());
    let kind = Kind::Hello;
    assert_eq!(refused, Err(FrameError::HandshakeId { kind, id: 1 }));
}

#[test]
fn a_secret_is_long_and_never_printed() {
    let refused = Secret::new(&SECRET[1..]).unwrap_err();
    assert_eq!(refused, SecretTooShort { bytes: 31 });
    let secret = secret();
    let mut local = client(&secret);
    local.channel = b"channel";
    let (client, _) = Client::start(local, wanted(), CLIENT_NONCE);
    for text in [format!("{secret:?}"), format!("{client:?}")] {
        assert!(text.contains("Secret(not shown)"), "{text}");
        assert!(!text.contains(&format!("{:?}", b"channel")), "{text}");
    }
}

#[test]
fn the_name_of_a_node_can_stand_in_any_log() {
    let longest = "n".repeat(253);
    for name in ["a", "node-1.example_2", &longest] {
        assert_eq!(NodeName::new(name).unwrap().as_str(), name);
    }
    let too_long = "n".repeat(254);
    for name in ["", " ", "a\nb", "a\u{1b}[31m", "näme", "a/b", &too_long] {
        assert!(NodeName::new(name).is_err(), "{name:?}");
    }
    // On the wire too: the name stands behind versions and cluster, and its length before it.
    let secret = secret();
    for byte in [b'\n', 0, 0xff] {
        let (_, mut hello) = Client::start(client(&secret), wanted(), CLIENT_NONCE);
        hello[HEADER_BYTES + 21] = byte;
        seal(&mut hello);
        let (header, body) = open(&hello);
        let refused = Server::new(server(&secret), SERVER_NONCE).hello(&header, body);
        let refused = refused.unwrap_err();
        assert_eq!((refused.error.label(), refused.answer), ("malformed", None));
    }
}

//! Two peers whose every byte is fixed, for fixtures and for fuzzing.

use super::bodies::seal;
use moraine_model::{ClusterId, DiskId};
use moraine_protocol::handshake::{
    BootId, Caller, Client, HandshakeError, Local, NodeName, Nonce, Peer, Refused, Secret, Server,
    Session, Wanted,
};
use moraine_protocol::{HEADER_BYTES, Header, Versions};

pub(crate) const SECRET: [u8; 32] = *b"a secret of just thirty-two byte";
pub(crate) const CLIENT_NONCE: Nonce = [0xc1; 32];
pub(crate) const SERVER_NONCE: Nonce = [0x5e; 32];
pub(crate) const CREDITS: u32 = 0xb1;
pub(crate) const SHARDS: u32 = 4;

pub(crate) fn secret() -> Secret {
    Secret::new(&SECRET).unwrap()
}

pub(crate) fn cluster(number: u128) -> ClusterId {
    ClusterId::new(number).unwrap()
}

/// The side that calls.
pub(crate) fn client(secret: &Secret) -> Local<'_> {
    Local {
        versions: Versions::OURS,
        cluster: cluster(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
        node: NodeName::new("node-1.example").unwrap(),
        boot: BootId(0xb001),
        secret,
        channel: &[],
    }
}

/// The side that is called.
pub(crate) fn server(secret: &Secret) -> Local<'_> {
    Local {
        node: NodeName::new("node-2").unwrap(),
        boot: BootId(0xb002),
        ..client(secret)
    }
}

pub(crate) fn wanted() -> Wanted {
    Wanted {
        caller: Caller::Replica,
        disk: DiskId::new(0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110).unwrap(),
        shard: 3,
    }
}

/// Header and body of a frame.
pub(crate) fn open(frame: &[u8]) -> (Header, &[u8]) {
    let (header, body) = frame.split_first_chunk::<HEADER_BYTES>().unwrap();
    (Header::decode(header).unwrap(), body)
}

/// The frames of a handshake: hello, challenge, proof, welcome.
pub(crate) type Said = [Vec<u8>; 4];

/// What ended a handshake.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The client's error.
    Client(HandshakeError),
    /// The server's, and what it answered.
    Server(Refused),
}

/// Lets two peers meet; `between` may change each frame on its way, by its number.
pub(crate) fn meet(
    client: Local<'_>,
    server: Local<'_>,
    between: impl Fn(usize, &mut Vec<u8>),
) -> Result<(Session, Peer, Said), Failed> {
    let sent = |number, mut frame: Vec<u8>| {
        between(number, &mut frame);
        frame
    };
    let (client, hello) = Client::start(client, wanted(), CLIENT_NONCE);
    let hello = sent(0, hello);
    let server = Server::new(server, SERVER_NONCE);
    let (header, body) = open(&hello);
    let (server, challenge) = server.hello(&header, body).map_err(Failed::Server)?;
    let challenge = sent(1, challenge);
    let (header, body) = open(&challenge);
    let (client, proof) = client.challenge(&header, body).map_err(Failed::Client)?;
    let proof = sent(2, proof);
    let (header, body) = open(&proof);
    let server = server.proof(&header, body).map_err(Failed::Server)?;
    let (peer, welcome) = server.welcome(CREDITS, SHARDS).map_err(Failed::Server)?;
    let welcome = sent(3, welcome);
    let (header, body) = open(&welcome);
    let session = client.welcome(&header, body).map_err(Failed::Client)?;
    Ok((session, peer, [hello, challenge, proof, welcome]))
}

/// A fuzz body: any frame at any step of either side. Without the secret, and with the frames of an
/// older handshake, nobody gets further than hello.
pub(crate) fn handshake(bytes: &[u8]) {
    step(bytes);
    let mut frame = bytes.to_vec();
    frame.resize(frame.len().max(HEADER_BYTES), 0);
    frame[..6].copy_from_slice(b"MORA\0\0");
    frame[8..16].fill(0);
    frame[20..24].fill(0);
    seal(&mut frame);
    step(&frame);
}

fn step(frame: &[u8]) {
    let Some((header, body)) = frame.split_first_chunk::<HEADER_BYTES>() else {
        return;
    };
    let Ok(header) = Header::decode(header) else {
        return;
    };
    let secret = secret();
    let fresh = [7; 32];
    match Server::new(server(&secret), fresh).hello(&header, body) {
        Ok((_, challenge)) => assert!(open(&challenge).0.body_bytes() > 0),
        Err(refused) => is_told_properly(&refused),
    }
    let (client, hello) = Client::start(client(&secret), wanted(), fresh);
    let (hello, hello_body) = open(&hello);
    let challenged = Server::new(server(&secret), fresh).hello(&hello, hello_body);
    let (challenged, challenge) = challenged.expect("a peer of the cluster says hello");
    match challenged.proof(&header, body) {
        Ok(_) => unreachable!("it was made without the secret, or for another handshake"),
        Err(refused) => is_told_properly(&refused),
    }
    let (at, challenge_body) = open(&challenge);
    let (proved, _) = client.challenge(&at, challenge_body).expect("it is right");
    assert!(proved.welcome(&header, body).is_err());
    let (client, _) = Client::start(self::client(&secret), wanted(), fresh);
    assert!(client.challenge(&header, body).is_err());
}

/// What a client is told, it can read.
fn is_told_properly(refused: &Refused) {
    let Some(answer) = &refused.answer else {
        return;
    };
    let secret = secret();
    let (client, _) = Client::start(client(&secret), wanted(), CLIENT_NONCE);
    let (header, body) = open(answer);
    let told = client.challenge(&header, body);
    assert!(matches!(told, Err(HandshakeError::Rejected(_))));
}

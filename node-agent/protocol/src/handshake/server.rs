//! The side that is called. Until the client has proved itself it says what it must, and no more.

use super::message::{Challenge, Chosen, Grant, Hello, Welcome};
use super::proof::Proof;
use super::{BootId, HandshakeError, Local, NodeName, Nonce, Reject, Wanted, frame, receive};
use crate::cursor::Field;
use crate::limits::CREDITS_MAX;
use crate::{Header, Kind};

/// A server that waits for a hello.
#[derive(Debug)]
pub struct Server<'a> {
    local: Local<'a>,
    nonce: Nonce,
}

/// A server that has proved itself and waits for the client to do so.
#[derive(Debug)]
pub struct Challenged<'a> {
    local: Local<'a>,
    peer: Peer,
    hello: Vec<u8>,
    challenge: Vec<u8>,
}

/// A server whose client is of the cluster. What that one gets is for the shell to say.
#[derive(Debug)]
#[must_use = "the client waits for an answer"]
pub struct Proven<'a> {
    local: Local<'a>,
    peer: Peer,
    hello: Vec<u8>,
    challenge: Vec<u8>,
    proof: [u8; 32],
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The version that is spoken with it.
    pub version: u16,
    /// Its node, as it says: the secret proves only that it is of the cluster.
    pub node: NodeName,
    /// The boot of that node.
    pub boot: BootId,
    /// What it wants.
    pub wanted: Wanted,
}

/// A handshake that failed: to be counted by its error, and the connection to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What went wrong, for this side's log. The client is not told.
    pub error: HandshakeError,
    /// What the client is told, if anything: the frame to be sent before the connection is closed.
    pub answer: Option<Vec<u8>>,
}

impl From<HandshakeError> for Refused {
    /// A peer that doesn't speak the protocol is not answered in it.
    fn from(error: HandshakeError) -> Self {
        Self {
            error,
            answer: None,
        }
    }
}

impl Refused {
    fn answered(error: HandshakeError, reject: Reject) -> Self {
        Self {
            error,
            answer: Some(reject_frame(reject)),
        }
    }
}

fn reject_frame(reject: Reject) -> Vec<u8> {
    let mut body = Vec::new();
    reject.put(&mut body);
    frame(Kind::Reject, &body)
}

impl<'a> Server<'a> {
    /// A server for one connection.
    pub const fn new(local: Local<'a>, nonce: Nonce) -> Self {
        Self { local, nonce }
    }

    /// Takes the client's first frame, and gives the one that proves this side.
    pub fn hello(self, header: &Header, body: &[u8]) -> Result<(Challenged<'a>, Vec<u8>), Refused> {
        let hello: Hello = receive(Kind::Hello, header, body)?;
        let local = self.local;
        let Some(version) = local.versions.newest_of_both(hello.versions) else {
            let (theirs, ours) = (hello.versions, local.versions);
            let error = HandshakeError::NoCommonVersion { theirs, ours };
            return Err(Refused::answered(error, Reject::Version { spoken: ours }));
        };
        if hello.cluster != local.cluster {
            let (theirs, ours) = (hello.cluster, local.cluster);
            let error = HandshakeError::WrongCluster { theirs, ours };
            return Err(Refused::answered(error, Reject::WrongCluster));
        }
        let chosen = Chosen {
            version,
            cluster: local.cluster,
            nonce: self.nonce,
        };
        let mut said = Vec::new();
        chosen.put(&mut said);
        let proof = local
            .secret
            .prove(Proof::Server, &[local.channel, body, &said]);
        let mut challenge = Vec::new();
        Challenge { chosen, proof }.put(&mut challenge);
        let out = frame(Kind::Challenge, &challenge);
        let peer = Peer {
            version,
            node: hello.node,
            boot: hello.boot,
            wanted: Wanted {
                caller: hello.caller,
                disk: hello.disk,
                shard: hello.shard,
            },
        };
        let challenged = Challenged {
            local,
            peer,
            hello: body.to_vec(),
            challenge,
        };
        Ok((challenged, out))
    }
}

impl<'a> Challenged<'a> {
    /// Takes the client's proof.
    pub fn proof(self, header: &Header, body: &[u8]) -> Result<Proven<'a>, Refused> {
        let proof: [u8; 32] = receive(Kind::Proof, header, body)?;
        let said: [&[u8]; 3] = [self.local.channel, &self.hello, &self.challenge];
        if !self.local.secret.proves(Proof::Client, &said, &proof) {
            return Err(Refused::answered(HandshakeError::Unproven, Reject::Denied));
        }
        Ok(Proven {
            local: self.local,
            peer: self.peer,
            hello: self.hello,
            challenge: self.challenge,
            proof,
        })
    }
}

impl Proven<'_> {
    /// Who calls, and what for.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Lets the client in: the frame that says so, and who it is. `credits` is how many requests it
    /// may have unanswered, from 1 to [`CREDITS_MAX`]; `shards` how many the disk has.
    ///
    /// A client that asks for a shard which the disk does not have is told so instead.
    ///
    /// # Panics
    /// If there are no credits, or too many: a bug of the caller.
    pub fn welcome(self, credits: u32, shards: u32) -> Result<(Peer, Vec<u8>), Refused> {
        assert!(
            (1..=CREDITS_MAX).contains(&credits),
            "a client is let in with credits within the limit"
        );
        if self.peer.wanted.shard >= shards {
            return Err(self.reject(Reject::WrongShard { shards }));
        }
        let grant = Grant {
            node: self.local.node.clone(),
            boot: self.local.boot,
            credits,
            shards,
        };
        let mut said = Vec::new();
        grant.put(&mut said);
        let said: [&[u8]; 5] = [
            self.local.channel,
            &self.hello,
            &self.challenge,
            &self.proof,
            &said,
        ];
        let proof = self.local.secret.prove(Proof::Welcome, &said);
        let mut body = Vec::new();
        Welcome { grant, proof }.put(&mut body);
        Ok((self.peer, frame(Kind::Welcome, &body)))
    }

    /// Turns the client away: what to send, and what to count.
    pub fn reject(self, reason: Reject) -> Refused {
        Refused::answered(HandshakeError::TurnedAway(reason), reason)
    }
}

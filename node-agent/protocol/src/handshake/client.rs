//! The side that calls. It tells no proof to a server that hasn't given one first.

use super::message::{Challenge, Hello, Welcome};
use super::proof::Proof;
use super::{BootId, HandshakeError, Local, NodeName, Nonce, Reject, Wanted, frame, receive};
use crate::cursor::Field;
use crate::limits::CREDITS_MAX;
use crate::{Header, Kind};

/// A client that has said hello.
#[derive(Debug)]
pub struct Client<'a> {
    local: Local<'a>,
    wanted: Wanted,
    hello: Vec<u8>,
}

/// A client that knows the server for one of its cluster, and has proved itself.
#[derive(Debug)]
pub struct Proved<'a> {
    local: Local<'a>,
    wanted: Wanted,
    hello: Vec<u8>,
    challenge: Vec<u8>,
    proof: [u8; 32],
    version: u16,
}

/// What the handshake has brought a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The version that is spoken from now on.
    pub version: u16,
    /// The server's node.
    pub node: NodeName,
    /// The boot of that node.
    pub boot: BootId,
    /// How many requests may be unanswered at a time, at least one.
    pub credits: u32,
    /// How many shards the disk has: bucket b is served by shard b mod shards.
    pub shards: u32,
}

impl<'a> Client<'a> {
    /// Begins: the client, and the frame that it sends.
    pub fn start(local: Local<'a>, wanted: Wanted, nonce: Nonce) -> (Self, Vec<u8>) {
        let message = Hello {
            versions: local.versions,
            cluster: local.cluster,
            node: local.node.clone(),
            boot: local.boot,
            caller: wanted.caller,
            disk: wanted.disk,
            shard: wanted.shard,
            nonce,
        };
        let mut hello = Vec::new();
        message.put(&mut hello);
        let out = frame(Kind::Hello, &hello);
        let client = Self {
            local,
            wanted,
            hello,
        };
        (client, out)
    }

    /// Takes the server's answer, and gives the frame that proves this side.
    pub fn challenge(
        self,
        header: &Header,
        body: &[u8],
    ) -> Result<(Proved<'a>, Vec<u8>), HandshakeError> {
        let Challenge { chosen, proof } = receive_unless_rejected(Kind::Challenge, header, body)?;
        let local = self.local;
        if chosen.cluster != local.cluster {
            return Err(HandshakeError::WrongCluster {
                theirs: chosen.cluster,
                ours: local.cluster,
            });
        }
        if !local.versions.contains(chosen.version) {
            return Err(HandshakeError::NotOffered {
                chosen: chosen.version,
            });
        }
        let mut said = Vec::new();
        chosen.put(&mut said);
        let secret = local.secret;
        if !secret.proves(Proof::Server, &[local.channel, &self.hello, &said], &proof) {
            return Err(HandshakeError::Unproven);
        }
        let challenge = body.to_vec();
        let ours = secret.prove(Proof::Client, &[local.channel, &self.hello, &challenge]);
        let out = frame(Kind::Proof, &ours);
        let proved = Proved {
            local,
            wanted: self.wanted,
            hello: self.hello,
            challenge,
            proof: ours,
            version: chosen.version,
        };
        Ok((proved, out))
    }
}

impl Proved<'_> {
    /// Takes the server's last word. Requests may be sent from now on.
    pub fn welcome(self, header: &Header, body: &[u8]) -> Result<Session, HandshakeError> {
        let Welcome { grant, proof } = receive_unless_rejected(Kind::Welcome, header, body)?;
        let mut said = Vec::new();
        grant.put(&mut said);
        let local = &self.local;
        let said: [&[u8]; 5] = [
            local.channel,
            &self.hello,
            &self.challenge,
            &self.proof,
            &said,
        ];
        if !local.secret.proves(Proof::Welcome, &said, &proof) {
            return Err(HandshakeError::Unproven);
        }
        let (credits, shards) = (grant.credits, grant.shards);
        if credits == 0 || credits > CREDITS_MAX || self.wanted.shard >= shards {
            return Err(HandshakeError::BadGrant { credits, shards });
        }
        Ok(Session {
            version: self.version,
            node: grant.node,
            boot: grant.boot,
            credits,
            shards,
        })
    }
}

fn receive_unless_rejected<T: Field>(
    due: Kind,
    header: &Header,
    body: &[u8],
) -> Result<T, HandshakeError> {
    if header.kind() == Kind::Reject {
        let reject: Reject = receive(Kind::Reject, header, body)?;
        return Err(HandshakeError::Rejected(reject));
    }
    receive(due, header, body)
}

//! How two peers meet: which version they speak, that both belong to the cluster, and what the one
//! that calls wants of the other.
//!
//! Four frames: the client says hello ([`Client::start`]); the server proves that it knows the
//! cluster's secret ([`Server::hello`]); the client does ([`Client::challenge`]), and only then is
//! it told anything ([`Challenged::proof`]). Each step takes a frame and gives the next one, or an
//! error; after an error the connection is closed. No socket, clock or randomness here: nonces come
//! in as arguments, and how long a peer may take is for the shell to say.
//!
//! What it is not: encryption. It proves who is at the other end when the connection is made. Whoever
//! can change what goes over the wire afterwards must be kept out by TLS, which goes below it: then
//! [`Local::channel`] binds the proofs to that one TLS connection.
//!
//! What is said before a peer has proved itself, and why:
//! - the versions that are spoken, because a cluster that is upgraded halfway must be understood by
//!   whoever looks at its logs, and they are known to everyone who has the source;
//! - that the cluster is another one, not which: a node with the settings of another cluster is the
//!   most frequent mistake, and "denied" would send its owner to look at secrets;
//! - [`Reject::Denied`], for all else. Which disks, shards and nodes there are, and whether they are
//!   busy, is said to peers of the cluster only.

mod client;
mod error;
mod message;
mod proof;
mod server;

use crate::cursor::Field;
use crate::frame::put_frame;
use crate::{FrameError, Group, Header, Kind, Versions, wire};
use moraine_model::{ClusterId, DiskId};
use std::fmt;

pub use client::{Client, Proved, Session};
pub use error::{HandshakeError, Reject};
pub use message::{BootId, Caller, NodeName};
pub use proof::{SECRET_BYTES_MIN, Secret, SecretTooShort};
pub use server::{Challenged, Peer, Proven, Refused, Server};

/// 32 bytes that nobody can guess and that are never used again, from a cryptographic generator.
pub type Nonce = [u8; 32];

/// What a side knows of itself.
#[derive(Clone)]
pub struct Local<'a> {
    /// The versions that it speaks, [`Versions::OURS`].
    pub versions: Versions,
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The node that it runs on.
    pub node: NodeName,
    /// The boot of that node: a peer that has another one has forgotten what was in memory.
    pub boot: BootId,
    /// What all of the cluster know, and nobody else.
    pub secret: &'a Secret,
    /// What the two ends of this connection know and nobody else: of a TLS connection the keying
    /// material that it exports (RFC 9266), of plain TCP nothing. Both ends must have the same.
    pub channel: &'a [u8],
}

impl fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Local");
        shown.field("versions", &self.versions);
        shown.field("cluster", &self.cluster);
        shown.field("node", &self.node);
        shown.field("boot", &self.boot);
        // The channel is as much a secret as the secret.
        shown.field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// As what it comes.
    pub caller: Caller,
    /// The disk.
    pub disk: DiskId,
    /// The shard of the disk; whoever doesn't know yet how many there are asks for 0.
    pub shard: u32,
}

/// The cluster that a client's first frame names. Nothing is proved by it: a server that serves the
/// disks of several clusters shakes hands as the one that is asked for.
pub fn cluster_asked_for(header: &Header, body: &[u8]) -> Result<ClusterId, HandshakeError> {
    let hello: message::Hello = receive(Kind::Hello, header, body)?;
    Ok(hello.cluster)
}

/// A frame of the handshake.
fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(kind, 0, 0, &mut out, |out| out.extend_from_slice(body));
    out
}

/// Takes the message that is due.
fn receive<T: Field>(due: Kind, header: &Header, body: &[u8]) -> Result<T, HandshakeError> {
    header.expect(Group::Handshake)?;
    if header.kind() != due {
        return Err(HandshakeError::OutOfTurn {
            found: header.kind(),
            due,
        });
    }
    let message = wire::decode(header, Group::Handshake, body, |_, reader| {
        reader.take().map(Some)
    });
    Ok(message?)
}

impl From<FrameError> for HandshakeError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

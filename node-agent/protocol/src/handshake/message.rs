//! The bodies of the handshake. No version changes them, since they come before one is agreed on.

use super::{Nonce, Reject};
use crate::cursor::{Field, Reader, fields, tagged};
use crate::{BodyError, Versions};
use moraine_model::{ClusterId, DiskId, OutOfRange};
use std::fmt;

/// The name of a node, as the cluster knows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

impl NodeName {
    /// Most bytes of a name.
    pub const BYTES_MAX: usize = 253;

    /// A name of letters, digits, `.`, `-` and `_`, so that it can stand in any log.
    pub fn new(name: &str) -> Result<Self, OutOfRange> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if name.is_empty() || name.len() > Self::BYTES_MAX || !name.bytes().all(is_plain) {
            return Err(OutOfRange {
                what: "node name",
                value: format!("{name:?}"),
                allowed: "1 to 253 letters, digits, dots, hyphens and underscores",
            });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeName({})", self.0)
    }
}

/// One boot of a node: the kernel's boot id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u128);

/// As what a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The engine of some volumes.
    Engine,
    /// A replica that copies.
    Replica,
}

/// The client's first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: Versions,
    pub(super) cluster: ClusterId,
    pub(super) node: NodeName,
    pub(super) boot: BootId,
    pub(super) caller: Caller,
    pub(super) disk: DiskId,
    pub(super) shard: u32,
    pub(super) nonce: Nonce,
}

/// The server's answer, without its proof, which is over all of this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) version: u16,
    pub(super) cluster: ClusterId,
    pub(super) nonce: Nonce,
}

/// The frame in which the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) chosen: Chosen,
    pub(super) proof: [u8; 32],
}

/// What the client gets, without the proof that it is the server who grants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) node: NodeName,
    pub(super) boot: BootId,
    pub(super) credits: u32,
    pub(super) shards: u32,
}

/// The frame that ends the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) grant: Grant,
    pub(super) proof: [u8; 32],
}

fields! {
    Hello {
        versions: Versions,
        cluster: ClusterId,
        node: NodeName,
        boot: BootId,
        caller: Caller,
        disk: DiskId,
        shard: u32,
        nonce: Nonce
    }
    Chosen { version: u16, cluster: ClusterId, nonce: Nonce }
    Challenge { chosen: Chosen, proof: [u8; 32] }
    Grant { node: NodeName, boot: BootId, credits: u32, shards: u32 }
    Welcome { grant: Grant, proof: [u8; 32] }
}

tagged!(Caller, "kind of client" {
    0 = Engine {}
    1 = Replica {}
});

tagged!(Reject, "reason to turn a client away" {
    0 = WrongCluster {}
    1 = Version { spoken }
    2 = Denied {}
    3 = NoSuchDisk {}
    4 = WrongShard { shards }
    5 = Busy {}
});

impl Field for Versions {
    const BYTES_MIN: usize = 4;

    fn put(&self, out: &mut Vec<u8>) {
        self.min().put(out);
        self.max().put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        let (min, max) = (reader.take()?, reader.take()?);
        Ok(Self::new(min, max)?)
    }
}

impl Field for BootId {
    const BYTES_MIN: usize = 16;

    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        reader.take().map(Self)
    }
}

impl Field for NodeName {
    const BYTES_MIN: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        let bytes = u8::try_from(self.0.len()).expect("a name has at most 253 bytes");
        bytes.put(out);
        out.extend_from_slice(self.0.as_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        let bytes: u8 = reader.take()?;
        let name = reader.bytes(usize::from(bytes))?;
        // What is not UTF-8 has a replacement character then, and is refused for that.
        Ok(Self::new(&String::from_utf8_lossy(name))?)
    }
}

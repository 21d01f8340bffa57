//! Why a handshake failed, on either side.

use crate::{FrameError, Kind, Versions};
use moraine_model::ClusterId;
use thiserror::Error;

/// Why a server turns a client away, as it says it. Nothing proves that it was the server who said
/// it: a client may try again, later or elsewhere, and tell its operator, and do no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Reject {
    /// The server belongs to another cluster.
    #[error(
        "it belongs to another cluster; check the address, and the cluster id that this node is set to"
    )]
    WrongCluster,
    /// The server speaks none of the client's versions.
    #[error("it speaks {spoken} of the protocol; upgrade whichever side is older")]
    Version {
        /// What it speaks.
        spoken: Versions,
    },
    /// The client doesn't know the cluster's secret.
    #[error("it denied access; check that both nodes have the same secret of the cluster")]
    Denied,
    /// The server has no such disk.
    #[error("it has no such disk, or can't use it")]
    NoSuchDisk,
    /// The disk has no such shard.
    #[error("the disk has {shards} shards, and not the one that was asked for")]
    WrongShard {
        /// How many it has, counted from 0.
        shards: u32,
    },
    /// It has as many connections as it can serve.
    #[error("it has too many connections; it will be asked again later")]
    Busy,
}

impl Reject {
    /// A short name to count it by.
    pub const fn label(self) -> &'static str {
        match self {
            Self::WrongCluster => "rejected_wrong_cluster",
            Self::Version { .. } => "rejected_version",
            Self::Denied => "rejected_denied",
            Self::NoSuchDisk => "rejected_no_such_disk",
            Self::WrongShard { .. } => "rejected_wrong_shard",
            Self::Busy => "rejected_busy",
        }
    }
}

/// Why a handshake failed. The connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// A frame was refused.
    #[error(transparent)]
    Frame(FrameError),
    /// A frame of the handshake, but not the one whose turn it is.
    #[error("the peer sent {found}, but {due} is due")]
    OutOfTurn {
        /// What came.
        found: Kind,
        /// What was to come.
        due: Kind,
    },
    /// The peers have no version in common.
    #[error(
        "the peer speaks {theirs} of the protocol, and this side {ours}; upgrade the older one"
    )]
    NoCommonVersion {
        /// The peer's.
        theirs: Versions,
        /// Those of this side.
        ours: Versions,
    },
    /// The peer belongs to another cluster.
    #[error(
        "the peer belongs to cluster {theirs}, and this side to {ours}; check the cluster id that each is set to"
    )]
    WrongCluster {
        /// The peer's.
        theirs: ClusterId,
        /// That of this side.
        ours: ClusterId,
    },
    /// The server chose a version that it wasn't offered.
    #[error("the peer chose version {chosen} of the protocol, which it was not offered")]
    NotOffered {
        /// What it chose.
        chosen: u16,
    },
    /// The peer doesn't know the cluster's secret, or repeats what another one said.
    #[error(
        "the peer did not prove that it knows the cluster's secret; check that both nodes have the same one"
    )]
    Unproven,
    /// The server grants what can't be.
    #[error("the peer grants {credits} requests at a time, on a disk of {shards} shards")]
    BadGrant {
        /// How many requests at a time.
        credits: u32,
        /// How many shards the disk has.
        shards: u32,
    },
    /// The server turned this client away.
    #[error("the peer turned this side away: {0}")]
    Rejected(Reject),
    /// This side, the server, turned a client of the cluster away.
    #[error("the peer was turned away; it was told: {0}")]
    TurnedAway(Reject),
}

impl HandshakeError {
    /// A short name to count it by.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Frame(error) => error.label(),
            Self::OutOfTurn { .. } => "out_of_turn",
            Self::NoCommonVersion { .. } => "no_common_version",
            Self::WrongCluster { .. } => "wrong_cluster",
            Self::NotOffered { .. } => "not_offered",
            Self::Unproven => "unproven",
            Self::BadGrant { .. } => "bad_grant",
            Self::Rejected(reject) | Self::TurnedAway(reject) => reject.label(),
        }
    }
}

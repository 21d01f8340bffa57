//! What an attachment needs to know, and why it may not begin.

use super::{Attachment, StateError, driver};
use crate::{Limits, NewError};
use moraine_model::{Cut, VolumeId};
use moraine_protocol::handshake::{NodeName, Secret, SecretTooShort};
use moraine_protocol::{MapFile, MapFileError};
use moraine_tls::{FilesError, TlsFiles};
use std::path::{Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

/// Where the map comes from.
#[derive(Debug, Clone)]
pub enum MapSource {
    /// A file, which is read again when it changes.
    File(PathBuf),
    /// Whoever attaches, by [`Attachment::learn`].
    Told(MapFile),
}

/// A volume to be attached.
#[derive(Debug)]
pub struct AttachOptions {
    /// The map.
    pub map: MapSource,
    /// What all of the cluster know.
    pub secret: Secret,
    /// The certificates of this side, if connections are encrypted. They are read again when they
    /// change.
    pub tls: Option<TlsFiles>,
    /// The name of this node.
    pub node: NodeName,
    /// The volume.
    pub volume: VolumeId,
    /// The id that places its chunks: its own, or its ancestor's for a clone.
    pub placement_key: VolumeId,
    /// Its size, a multiple of 4096.
    pub size_bytes: u64,
    /// Grows by one at each attach; whoever gives it sees to it that no two attachments have the
    /// same. Restarts within one are counted in the state folder.
    pub attach: u32,
    /// The cut that the volume is to have.
    pub cut: Cut,
    /// Whether writes are refused.
    pub read_only: bool,
    /// The volume's folder on this node, which outlives restarts.
    pub state: PathBuf,
    /// Bounds and time-outs.
    pub limits: Limits,
}

/// Why an attachment couldn't begin. What happens later is told by its [`super::Status`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The map's or secret's file can't be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The map's file is no map.
    #[error("reading the map {path}")]
    Map {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: MapFileError,
    },
    /// The secret's file has too little of one.
    #[error("reading the secret {path}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: SecretTooShort,
    },
    /// The certificates can't be used.
    #[error("connections can't be encrypted")]
    Tls(#[from] FilesError),
    /// The state folder can't be used.
    #[error("the volume's state on this node can't be used")]
    State(#[from] StateError),
    /// The engine refuses the volume.
    #[error("the volume can't be attached")]
    New(#[from] NewError),
}

impl AttachOptions {
    /// The volume as its own placement key, writable, with the usual limits, over plain TCP, on a node
    /// that says `localhost` of itself.
    pub fn new(
        map: MapSource,
        secret: Secret,
        (volume, size_bytes): (VolumeId, u64),
        attach: u32,
        state: PathBuf,
    ) -> Self {
        Self {
            map,
            secret,
            tls: None,
            node: NodeName::new("localhost").expect("letters are allowed"),
            volume,
            placement_key: volume,
            size_bytes,
            attach,
            cut: Cut(0),
            read_only: false,
            state,
            limits: Limits::default(),
        }
    }

    /// Begins to attach the volume. Operations may be submitted at once; they wait until it is.
    ///
    /// To be called on a current-thread runtime where local tasks can be spawned: the engine and its
    /// connections run there from now on.
    pub fn open(self) -> Result<Attachment, OpenError> {
        driver::open(self)
    }
}

/// Reads the secret that all of the cluster share: the file's bytes, without white space around
/// them.
pub fn read_secret(path: &Path) -> Result<Secret, OpenError> {
    let bytes = fs::read(path).map_err(|source| OpenError::Read {
        path: path.to_owned(),
        source,
    })?;
    Secret::new(bytes.trim_ascii()).map_err(|source| OpenError::Secret {
        path: path.to_owned(),
        source,
    })
}

/// Reads a map.
pub(super) fn read_map(path: &Path) -> Result<MapFile, OpenError> {
    let text = fs::read_to_string(path).map_err(|source| OpenError::Read {
        path: path.to_owned(),
        source,
    })?;
    MapFile::parse(&text).map_err(|source| OpenError::Map {
        path: path.to_owned(),
        source,
    })
}

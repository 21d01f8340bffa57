//! Why a device could not be opened or made, in words that say what to do.

use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The classes of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// Nothing has that name.
    NotFound,
    /// A new file was asked for, and the name is taken.
    Exists,
    /// The process may not do that.
    Denied,
    /// Another process, a mount or an array has the device.
    Busy,
    /// Neither a file nor a block device.
    NotADisk,
    /// It holds no whole block, or a size was asked for that is not whole blocks.
    TooSmall,
    /// Its unit of transfer is this many bytes: more than a block of the store.
    BlockSize(u32),
    /// The file system has no room for a file of that size.
    NoSpace,
    /// The file system can't do that.
    Unsupported,
    /// The system gave no way to do I/O.
    NoBackend,
    /// The system or the device failed.
    Io,
}

/// A device could not be opened or made.
#[derive(Debug)]
pub struct OpenError {
    /// The class that callers match on.
    pub kind: OpenErrorKind,
    /// What was tried: a verb for the path.
    pub operation: &'static str,
    /// The device.
    pub path: PathBuf,
    /// What the system said, if it said something.
    pub source: Option<io::Error>,
}

impl fmt::Display for OpenErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::BlockSize(bytes) = self {
            return write!(
                f,
                "its logical block is {bytes} bytes; disks with up to 4096 can be used"
            );
        }
        f.write_str(match self {
            Self::NotFound => "it does not exist",
            Self::Exists => "it exists already; remove it or choose another name",
            Self::Denied => "permission denied; it takes read and write access to the device",
            Self::Busy => "it is in use; stop the process that has it open, or unmount it",
            Self::NotADisk => "it is neither a file nor a block device",
            Self::TooSmall => {
                "its size must be at least one block of 4096 bytes, and a new file's whole blocks"
            }
            Self::NoSpace => {
                "its file system is too full for this size; free some space or choose a smaller one"
            }
            Self::Unsupported => "its file system can't do that",
            Self::NoBackend => "the system allows no I/O in this way",
            Self::BlockSize(_) | Self::Io => "the system failed",
        })
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "can't {} {path}: {}", self.operation, self.kind)
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Makes errors about one path.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// For `map_err`: the error of a system call that was made to do `operation`.
    pub(super) fn during(&self, operation: &'static str) -> impl Fn(Errno) -> OpenError {
        move |errno| {
            let kind = match errno {
                Errno::NOENT => OpenErrorKind::NotFound,
                Errno::EXIST => OpenErrorKind::Exists,
                Errno::ACCESS | Errno::PERM | Errno::ROFS => OpenErrorKind::Denied,
                Errno::BUSY | Errno::WOULDBLOCK => OpenErrorKind::Busy,
                Errno::NOSPC | Errno::DQUOT | Errno::FBIG => OpenErrorKind::NoSpace,
                Errno::OPNOTSUPP | Errno::NOSYS => OpenErrorKind::Unsupported,
                _ => OpenErrorKind::Io,
            };
            self.failed(kind, operation, errno.into())
        }
    }

    pub(super) fn failed(
        &self,
        kind: OpenErrorKind,
        operation: &'static str,
        source: io::Error,
    ) -> OpenError {
        OpenError {
            source: Some(source),
            ..self.refuse(kind, operation)
        }
    }

    pub(super) fn refuse(&self, kind: OpenErrorKind, operation: &'static str) -> OpenError {
        OpenError {
            kind,
            operation,
            path: self.0.clone(),
            source: None,
        }
    }
}

//! A unix socket of our own: never somebody else's file, never a second server on the same path.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

/// Only root talks to the driver.
const MODE: u32 = 0o600;

/// Why a socket could not be opened.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The path holds something that we didn't make.
    #[error("{0} exists and is not a socket: remove it, or name another path")]
    Foreign(PathBuf),
    /// Another process serves on it.
    #[error("another process serves on {0}: end it first, two drivers must not share a node")]
    Busy(PathBuf),
    /// The system refused.
    #[error("could not open the socket {path}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket whose file goes away with it.
#[derive(Debug)]
pub struct OwnedSocket {
    path: PathBuf,
}

impl OwnedSocket {
    /// Binds `path`, replacing a socket that nobody serves on (left by a process that was killed).
    pub async fn bind(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let io = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::Foreign(path.to_owned()));
            }
            Ok(_) => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(SocketError::Busy(path.to_owned()));
                }
                std::fs::remove_file(path).map_err(io)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        let listener = UnixListener::bind(path).map_err(io)?;
        let owned = Self {
            path: path.to_owned(),
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(io)?;
        Ok((owned, listener))
    }
}

impl Drop for OwnedSocket {
    fn drop(&mut self) {
        // kubelet takes the disappearance of the registration socket as the driver's good-bye.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_process_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("csi.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the dead process left its socket");

        let (owned, _listener) = OwnedSocket::bind(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let second = OwnedSocket::bind(&path).await.unwrap_err();
        assert!(matches!(second, SocketError::Busy(_)), "{second}");

        drop(owned);
        assert!(!path.exists(), "the socket goes with its owner");
    }

    #[tokio::test]
    async fn a_file_that_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("csi.sock");
        std::fs::write(&path, "precious").unwrap();
        let refused = OwnedSocket::bind(&path).await.unwrap_err();
        assert!(matches!(refused, SocketError::Foreign(_)), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}

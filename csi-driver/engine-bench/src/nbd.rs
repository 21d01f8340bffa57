//! An NBD server on a unix socket: one volume for whoever speaks NBD, as fio and qemu-img do.
//!
//! Fixed newstyle negotiation without TLS, simple replies. Requests are of whole blocks of 4096
//! bytes, which the negotiation says and clients keep to; others are refused with EINVAL. There is
//! no read-modify-write here, since a volume's users never see smaller blocks either.

mod negotiate;
mod serve;
mod wire;

#[cfg(test)]
mod tests;

use crate::volume::Volume;
use negotiate::{Export, Outcome, negotiate};
use std::cell::Cell;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

/// The smallest request, and what every request is a multiple of.
const BLOCK_MIN: u32 = 4096;
/// The largest request with data.
const REQUEST_BYTES_MAX: u32 = 32 << 20;
/// Most clients at once; one more is turned away.
const CLIENTS_MAX: usize = 16;
/// How long a client may take to choose.
const NEGOTIATION_LIMIT: Duration = Duration::from_secs(10);

/// Why a connection was closed before the client said that it leaves.
#[derive(Debug, Error)]
enum CloseReason {
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    #[error("the client sent what is no NBD: {0}")]
    Malformed(&'static str),
    #[error("the client wants the export {0:?}, which there is not")]
    UnknownExport(String),
    #[error("the client did not choose an export in time")]
    TooSlow,
}

/// Listens on a socket of this name, in place of one that a killed server has left.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Whether it is a socket that nobody serves. (To connect to a plain file is refused alike.)
fn is_left(path: &Path) -> bool {
    let is_socket = std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused)
}

/// Serves a volume to all that connect, until dropped. To be run on the thread of the volume, where
/// local tasks can be spawned.
pub async fn run<V: Volume>(
    listener: UnixListener,
    volume: V,
    name: String,
    read_only: bool,
) -> io::Result<()> {
    let clients = Rc::new(Cell::new(0_usize));
    loop {
        let (stream, _) = listener.accept().await?;
        if clients.get() >= CLIENTS_MAX {
            tracing::warn!("an NBD client was turned away: {CLIENTS_MAX} are connected already");
            continue;
        }
        clients.set(clients.get() + 1);
        let export = Export {
            name: name.clone(),
            size_bytes: volume.size_bytes(),
            read_only,
        };
        let (volume, clients) = (volume.clone(), Rc::clone(&clients));
        tokio::task::spawn_local(async move {
            match client(stream, &volume, &export).await {
                Ok(()) => tracing::debug!("an NBD client has left"),
                Err(CloseReason::Lost(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    tracing::debug!("an NBD client has left without saying so");
                }
                Err(reason) => tracing::warn!(%reason, "an NBD connection is closed"),
            }
            clients.set(clients.get() - 1);
        });
    }
}

async fn client<V: Volume>(
    mut stream: UnixStream,
    volume: &V,
    export: &Export,
) -> Result<(), CloseReason> {
    let chosen = tokio::time::timeout(NEGOTIATION_LIMIT, negotiate(&mut stream, export)).await;
    match chosen.map_err(|_| CloseReason::TooSlow)?? {
        Outcome::Left => Ok(()),
        Outcome::Go => {
            let (input, output) = stream.split();
            serve::serve(volume, input, output).await
        }
    }
}

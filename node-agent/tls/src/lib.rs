//! How a connection of the data plane begins below its frames: plain, or by TLS 1.3 with a
//! certificate on either side. Agents and engines have it in common.
//!
//! A side that was given certificates never speaks without them, and the other way round. What goes
//! over the connection is not known here, nor who is of the cluster: that is the handshake's, which
//! comes next and takes [`Stream::channel`] into its proofs.
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "authority"))]
pub mod authority;
mod error;
mod files;
mod newest;
mod set;
mod stream;

pub use error::StreamError;
pub use files::{FilesError, TlsFiles};
pub use newest::Tls;
pub use stream::Stream;
pub use tokio_rustls::TlsStream;
/// For those who read and write by readiness, and for tests of what a peer must not do.
pub use tokio_rustls::rustls;

/// The name that every certificate of the data plane has among its DNS names, the client's as the
/// server's: addresses change, and a certificate for something else shall not do.
pub const SERVER_NAME: &str = "moraine-data-plane";

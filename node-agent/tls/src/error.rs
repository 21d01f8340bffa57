//! Why a connection didn't come about, in words for whoever has to put it right.

use crate::SERVER_NAME;
use std::io;
use thiserror::Error;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, InvalidMessage};

/// Why there is no connection, or why it ended before its peer was known.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// This side wants TLS and the peer doesn't speak it.
    #[error(
        "the peer doesn't speak TLS, and this side speaks nothing else; start the peer with --tls-cert, --tls-key and --tls-ca too, or both without"
    )]
    PeerIsPlain,
    /// The peer wants TLS and this side doesn't speak it.
    #[error(
        "the peer speaks TLS, and this side was started without; start this side with --tls-cert, --tls-key and --tls-ca too, or both without"
    )]
    PeerIsTls,
    /// The peer's certificate won't do.
    #[error(
        "the peer's certificate is refused: {0}; it must be valid now, of an authority in this side's --tls-ca, and for the DNS name {SERVER_NAME}"
    )]
    BadCertificate(rustls::Error),
    /// The peer brought no certificate.
    #[error(
        "the peer showed no certificate; start it with --tls-cert and --tls-key, of an authority in this side's --tls-ca"
    )]
    NoCertificate,
    /// The peer wants nothing to do with this side's certificate.
    #[error(
        "the peer refused this side's certificate ({0:?}); check that it is valid now, and that its authority is in the peer's --tls-ca"
    )]
    Refused(AlertDescription),
    /// Something else of TLS failed.
    #[error("TLS with the peer failed: {0}")]
    Tls(rustls::Error),
    /// The peer closed the connection. One with TLS does so to one without, and the other way round.
    #[error(
        "the peer closed the connection before it proved who it is; its log says why. This side {}; both must be started alike", if *.tls { "speaks TLS" } else { "speaks no TLS" }
    )]
    Closed {
        /// Whether this side speaks TLS.
        tls: bool,
    },
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
}

impl StreamError {
    /// What an error of a connection means before its peer is known.
    pub(crate) fn of(error: io::Error, tls: bool) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        if let Some(inner) = inner {
            return Self::of_tls(inner);
        }
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => {
                Self::Closed { tls }
            }
            _ => Self::Io(error),
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::PeerIsPlain,
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertificate(_) => Self::BadCertificate(error.clone()),
            rustls::Error::AlertReceived(alert) if is_of_certificates(*alert) => {
                Self::Refused(*alert)
            }
            _ => Self::Tls(error.clone()),
        }
    }

    /// A certificate that is not for the name.
    pub(crate) fn wrong_name(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(_) => Self::BadCertificate(error),
            _ => Self::BadCertificate(CertificateError::BadEncoding.into()),
        }
    }
}

fn is_of_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate
    )
}

//! The files that certificates are read from, and what may be wrong with them.

use crate::SERVER_NAME;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio_rustls::rustls::{self, pki_types};

/// Where a side's certificates are, as PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate of this side, and behind it those between it and its authority, if any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that a peer's certificate may be of.
    pub authorities: PathBuf,
}

/// Why certificates can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilesError {
    /// Some of the files are named and some not.
    #[error(
        "TLS needs --tls-cert, --tls-key and --tls-ca, and {missing} is not given; give all three, or none for plain TCP"
    )]
    Incomplete {
        /// The options that are missing.
        missing: String,
    },
    /// A file can't be read, or is not PEM.
    #[error("reading {what} {path}: {source}")]
    Read {
        /// What is in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pki_types::pem::Error,
    },
    /// A file has no certificate.
    #[error("{path} has no certificate; it must have at least one, as PEM")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The key is another one's.
    #[error("the key {key} is not that of the certificate {certificate}")]
    OtherKey {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// Every peer would refuse the certificate.
    #[error(
        "every peer would refuse the certificate {path}: {source}; it must be valid now, of an authority in --tls-ca, for the DNS name {SERVER_NAME}, and for servers and clients alike"
    )]
    WouldBeRefused {
        /// The certificate.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Something is of no use to TLS.
    #[error("{path} can't be used for TLS: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The files change faster than they can be read.
    #[error("the files of certificates change while they are read; replace them in one step")]
    Restless,
}

/// What differs between a file and the one that takes its place; nothing while there is none.
type Look = Option<(u64, u64, i64, i64)>;

/// The look of all files.
pub(crate) type Looks = [Look; 3];

fn look(path: &Path) -> Look {
    let file = fs::metadata(path).ok()?;
    // The time of the last change, since that of the last write can be set.
    Some((file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
}

impl TlsFiles {
    /// The files of a command line: all, or none of them.
    pub fn all_or_none(
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        authorities: Option<PathBuf>,
    ) -> Result<Option<Self>, FilesError> {
        match (certificate, key, authorities) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), Some(authorities)) => Ok(Some(Self {
                certificate,
                key,
                authorities,
            })),
            (certificate, key, authorities) => {
                let given = [
                    ("--tls-cert", certificate.is_some()),
                    ("--tls-key", key.is_some()),
                    ("--tls-ca", authorities.is_some()),
                ];
                let missing = given.iter().filter(|(_, is_given)| !is_given);
                let missing: Vec<_> = missing.map(|(option, _)| *option).collect();
                let missing = missing.join(" or ");
                Err(FilesError::Incomplete { missing })
            }
        }
    }

    /// How the files look now.
    pub(crate) fn looks(&self) -> Looks {
        [&self.certificate, &self.key, &self.authorities].map(|path| look(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_given_set_names_what_is_missing() {
        let path = || Some(PathBuf::from("x"));
        assert!(matches!(TlsFiles::all_or_none(None, None, None), Ok(None)));
        assert!(matches!(
            TlsFiles::all_or_none(path(), path(), path()),
            Ok(Some(_))
        ));
        let error = TlsFiles::all_or_none(path(), None, None).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("--tls-key or --tls-ca is not given"),
            "{error}"
        );
    }
}

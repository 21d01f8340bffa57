//! What is made of the files: one configuration for each side of a connection. When the files are
//! read is not decided here.

use crate::{FilesError, SERVER_NAME, TlsFiles};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::client::{Resumption, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{
    NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

/// One reading of the files.
pub(crate) struct Set {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// The name of every certificate, as TLS has it.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(SERVER_NAME).expect("it is a DNS name")
}

/// Whether a certificate is for the name.
pub(crate) fn check_name(certificate: &CertificateDer<'_>) -> Result<(), Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, &server_name())
}

impl Set {
    /// Reads the files. A certificate that this side would refuse from a peer is an error: a peer
    /// would refuse it too, and say so in another place.
    pub(crate) fn read(files: &TlsFiles) -> Result<Self, FilesError> {
        let chain = certificates("the certificate", &files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key);
        let key = key.map_err(|source| FilesError::Read {
            what: "the key",
            path: files.key.clone(),
            source,
        })?;
        let authorities = Arc::new(authorities(&files.authorities)?);
        let provider = Arc::new(ring::default_provider());
        let of_authorities = |error: &dyn std::error::Error| unusable(&files.authorities, error);
        let of_certificate = |error: Error| match error {
            Error::InconsistentKeys(_) => FilesError::OtherKey {
                key: files.key.clone(),
                certificate: files.certificate.clone(),
            },
            error => unusable(&files.certificate, &error),
        };
        let to_servers =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&authorities), provider.clone())
                .build()
                .map_err(|error| of_authorities(&error))?;
        let to_clients = WebPkiClientVerifier::builder_with_provider(authorities, provider.clone())
            .build()
            .map_err(|error| of_authorities(&error))?;
        check(&chain, &*to_servers, &*to_clients).map_err(|source| FilesError::WouldBeRefused {
            path: files.certificate.clone(),
            source,
        })?;
        let client = client(
            provider.clone(),
            to_servers,
            (chain.clone(), key.clone_key()),
        );
        let server = server(provider, to_clients, (chain, key));
        Ok(Self {
            server: Arc::new(server.map_err(of_certificate)?),
            client: Arc::new(client.map_err(of_certificate)?),
        })
    }
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// No session is ever taken up again, neither here nor below: each connection is judged by the
/// certificates of its own time.
fn server(
    provider: Arc<CryptoProvider>,
    peers: Arc<dyn ClientCertVerifier>,
    (chain, key): Own,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(peers)
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(
    provider: Arc<CryptoProvider>,
    peers: Arc<WebPkiServerVerifier>,
    (chain, key): Own,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(peers)
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Looks at the own certificate as a peer will.
fn check(
    chain: &[CertificateDer<'_>],
    to_servers: &dyn ServerCertVerifier,
    to_clients: &dyn ClientCertVerifier,
) -> Result<(), Error> {
    let (own, between) = chain.split_first().expect("an empty file was refused");
    let now = UnixTime::now();
    to_servers.verify_server_cert(own, between, &server_name(), &[], now)?;
    to_clients.verify_client_cert(own, between, now)?;
    Ok(())
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> FilesError {
    FilesError::Unusable {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// All certificates of a file, at least one.
fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(|source| FilesError::Read {
        what,
        path: path.to_owned(),
        source,
    })?;
    if found.is_empty() {
        let path = path.to_owned();
        return Err(FilesError::Empty { path });
    }
    Ok(found)
}

fn authorities(path: &Path) -> Result<RootCertStore, FilesError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates("the authorities", path)? {
        let added = store.add(certificate);
        added.map_err(|error| unusable(path, &error))?;
    }
    Ok(store)
}

//! An authority that makes certificates in a folder, good ones and bad ones, for tests.

use crate::set::server_name;
use crate::{SERVER_NAME, Stream, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    /// What a peer needs to find its way from a certificate up to the first authority.
    between: String,
}

/// What may be odd about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Good,
    /// It is for another name.
    OtherName,
    /// Its time is over.
    Expired,
    /// It is for servers only.
    ServerOnly,
}

impl Authority {
    /// A new authority.
    ///
    /// # Panics
    /// Here and below, if certificates or files can't be made: it is for tests.
    pub fn new(name: &str) -> Self {
        let (params, key) = authority(name);
        let certificate = params.self_signed(&key).expect("a CA signs itself");
        Self {
            certificate: certificate.pem(),
            between: String::new(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An authority that this one stands for.
    #[must_use]
    pub fn another(&self, name: &str) -> Self {
        let (params, key) = authority(name);
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("the authority signs").pem();
        Self {
            between: format!("{certificate}{}", self.between),
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// The certificate of the authority, as PEM.
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let added = roots.add(certificate.expect("it is PEM"));
        added.expect("it is a certificate");
        roots
    }

    /// A new certificate with those above it, and its key, as PEM.
    pub fn issue(&self, kind: Kind) -> (String, String) {
        let name = match kind {
            Kind::OtherName => "something-else",
            _ => SERVER_NAME,
        };
        let mut params = params(vec![name.to_owned()], "moraine");
        if kind == Kind::Expired {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if kind != Kind::ServerOnly {
            let usages = &mut params.extended_key_usages;
            usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        let key = KeyPair::generate().expect("ring makes keys");
        let signed = params.signed_by(&key, &self.issuer);
        let certificate = signed.expect("the authority signs");
        let chain = format!("{}{}", certificate.pem(), self.between);
        (chain, key.serialize_pem())
    }

    /// Puts a new certificate, its key and the authorities to be trusted into a folder, in place of
    /// what is there.
    pub fn write(&self, folder: &Path, kind: Kind, trusted: &[&Self]) -> TlsFiles {
        let (certificate, key) = self.issue(kind);
        let trusted: String = trusted.iter().map(|authority| authority.pem()).collect();
        fs::create_dir_all(folder).expect("the folder is the test's");
        let put = |name: &str, text: String| {
            let path = folder.join(name);
            let new = folder.join(format!("{name}.new"));
            fs::write(&new, text).expect("the folder is the test's");
            fs::rename(&new, &path).expect("the folder is the test's");
            path
        };
        TlsFiles {
            certificate: put("tls.crt", certificate),
            key: put("tls.key", key),
            authorities: put("ca.crt", trusted),
        }
    }
}

/// Begins as a client with whatever certificate, or with none, and never looks at it itself.
pub async fn connect_with(
    stream: TcpStream,
    trusted: &Authority,
    own: Option<(String, String)>,
) -> io::Result<Stream> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(trusted.roots());
    let config = match own {
        Some(own) => {
            let (chain, key) = parsed(&own);
            let config = config.with_client_auth_cert(chain, key);
            config.expect("the key is the certificate's")
        }
        None => config.with_no_client_auth(),
    };
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(server_name(), stream).await?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

/// Begins as a server with whatever certificate, and never looks at it itself.
pub async fn accept_with(
    stream: TcpStream,
    trusted: &Authority,
    own: (String, String),
) -> io::Result<Stream> {
    let provider = Arc::new(ring::default_provider());
    let roots = Arc::new(trusted.roots());
    let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let (chain, key) = parsed(&own);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_client_cert_verifier(clients.build().expect("there are authorities"))
        .with_single_cert(chain, key)
        .expect("the key is the certificate's");
    let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

fn parsed(
    (certificate, key): &(String, String),
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain: Result<_, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    (chain.expect("it is PEM"), key.expect("it is PEM"))
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = params(Vec::new(), name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params, KeyPair::generate().expect("ring makes keys"))
}

fn params(names: Vec<String>, name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(names).expect("these are names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params
}

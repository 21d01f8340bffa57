//! Who meets whom, and in which words the others are refused.

use super::*;
use crate::authority::{Authority, Kind, accept_with, connect_with};
use crate::rustls::HandshakeKind;
use crate::{FilesError, TlsFiles};
use std::path::Path;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Two ends of a connection, with nothing on it yet.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(to));
    (accepted.unwrap().0, connected.unwrap())
}

/// What a handshake says first, as far as it matters here.
const HELLO: &[u8; 32] = b"MORA and whatever else is said..";

/// Both sides up to the first answer, or what they say instead.
async fn meet(
    server: impl Future<Output = Result<Stream, StreamError>>,
    client: impl Future<Output = Result<Stream, StreamError>>,
) -> (Result<(), StreamError>, Result<(), StreamError>) {
    let mut heard = [0; 32];
    let serving = async {
        let mut stream = server.await?;
        stream.receive(&mut heard).await?;
        stream.send(HELLO).await
    };
    let calling = async {
        let mut stream = client.await?;
        stream.send(HELLO).await?;
        let mut answer = [0; 32];
        stream.receive(&mut answer).await?;
        assert_eq!(&answer, HELLO);
        Ok(())
    };
    tokio::join!(serving, calling)
}

struct Rig {
    folder: TempDir,
    ours: Authority,
    others: Authority,
}

impl Rig {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            ours: Authority::new("ours"),
            others: Authority::new("others"),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A side that everybody of ours accepts.
    fn good(&self) -> Tls {
        let files = self.ours.write(self.path(), Kind::Good, &[&self.ours]);
        Tls::open(files).unwrap()
    }
}

fn io(result: std::io::Result<Stream>) -> Result<Stream, StreamError> {
    result.map_err(|error| StreamError::of(error, true))
}

fn assert_says(error: &StreamError, words: &[&str]) {
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{said}: lacks {word}");
    }
}

#[tokio::test]
async fn both_ends_of_a_connection_have_one_channel_and_no_other_connection_has_it() {
    let tls = Rig::new().good();
    let mut channels = Vec::new();
    for _ in 0..2 {
        let (server, client) = pair().await;
        let accepting = Stream::accept(server, Some(&tls));
        let connecting = Stream::connect(client, Some(&tls));
        let (server, client) = tokio::join!(accepting, connecting);
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        assert_eq!(server.channel().unwrap(), client.channel().unwrap());
        channels.push(client.channel().unwrap());
        // What could be taken up again comes with the first bytes.
        server.send(HELLO).await.unwrap();
        client.receive(&mut [0; 32]).await.unwrap();
        let Stream::Tls(stream) = &client else {
            panic!("it is encrypted");
        };
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Full), "nothing is taken up again");
    }
    assert_eq!(channels[0].len(), 32);
    assert_ne!(channels[0], channels[1]);
    let (server, client) = pair().await;
    let mut client = Stream::connect(client, None).await.unwrap();
    client.send(HELLO).await.unwrap();
    let server = Stream::accept(server, None).await.unwrap();
    assert_eq!(server.channel().unwrap(), []);
    assert_eq!(client.channel().unwrap(), []);
}

#[tokio::test]
async fn a_client_without_the_right_certificate_is_refused() {
    let rig = Rig::new();
    let tls = rig.good();
    let cases = [
        (Some(rig.ours.issue(Kind::Expired)), "expired"),
        (Some(rig.ours.issue(Kind::OtherName)), "moraine-data-plane"),
        (Some(rig.ours.issue(Kind::ServerOnly)), "extended key usage"),
        (Some(rig.others.issue(Kind::Good)), "UnknownIssuer"),
        (None, "showed no certificate"),
    ];
    for (own, words) in cases {
        let (server, client) = pair().await;
        let client = async { io(connect_with(client, &rig.ours, own).await) };
        let (serving, calling) = meet(Stream::accept(server, Some(&tls)), client).await;
        assert_says(&serving.unwrap_err(), &[words, "--tls-"]);
        let told = calling.unwrap_err();
        let is_clear = matches!(told, StreamError::Refused(_) | StreamError::Closed { .. });
        assert!(is_clear, "{told}");
    }
    let (server, client) = pair().await;
    let own = Some(rig.ours.issue(Kind::Good));
    let client = async { io(connect_with(client, &rig.ours, own).await) };
    let (serving, calling) = meet(Stream::accept(server, Some(&tls)), client).await;
    assert!(serving.is_ok() && calling.is_ok());
}

#[tokio::test]
async fn certificates_between_a_side_and_its_authority_come_with_its_own() {
    let rig = Rig::new();
    let tls = rig.good();
    let below = rig.ours.another("below ours");
    let files = below.write(&rig.path().join("below"), Kind::Good, &[&rig.ours]);
    let own = Tls::open(files.clone()).unwrap();
    for (one, other) in [(&tls, &own), (&own, &tls)] {
        let (server, client) = pair().await;
        let server = Stream::accept(server, Some(one));
        let (serving, calling) = meet(server, Stream::connect(client, Some(other))).await;
        serving.unwrap();
        calling.unwrap();
    }
    let chain = std::fs::read_to_string(&files.certificate).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let (own, _) = chain.split_once(end).unwrap();
    std::fs::write(&files.certificate, format!("{own}{end}")).unwrap();
    let error = Tls::open(files).unwrap_err();
    assert!(
        matches!(error, FilesError::WouldBeRefused { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_without_the_right_certificate_is_refused() {
    let rig = Rig::new();
    let tls = rig.good();
    let cases = [
        (rig.ours.issue(Kind::Expired), "expired"),
        (rig.ours.issue(Kind::OtherName), "moraine-data-plane"),
        (rig.others.issue(Kind::Good), "UnknownIssuer"),
    ];
    for (own, words) in cases {
        let (server, client) = pair().await;
        let server = async { io(accept_with(server, &rig.ours, own).await) };
        let (serving, calling) = meet(server, Stream::connect(client, Some(&tls))).await;
        assert_says(&calling.unwrap_err(), &["is refused", words, "--tls-ca"]);
        let told = serving.unwrap_err();
        assert!(matches!(told, StreamError::Refused(_)), "{told}");
    }
}

#[tokio::test]
async fn a_side_with_tls_and_one_without_tell_each_other_apart() {
    let tls = Rig::new().good();
    let (server, client) = pair().await;
    let (serving, calling) = meet(
        Stream::accept(server, Some(&tls)),
        Stream::connect(client, None),
    )
    .await;
    assert_says(&serving.unwrap_err(), &["doesn't speak TLS", "--tls-cert"]);
    let closed = ["closed the connection", "speaks no TLS", "alike"];
    assert_says(&calling.unwrap_err(), &closed);

    let (server, client) = pair().await;
    let (serving, calling) = meet(
        Stream::accept(server, None),
        Stream::connect(client, Some(&tls)),
    )
    .await;
    assert_says(&serving.unwrap_err(), &["speaks TLS", "--tls-cert"]);
    let closed = ["closed the connection", "This side speaks TLS", "alike"];
    assert_says(&calling.unwrap_err(), &closed);

    // A server that answers what is no TLS.
    let (mut server, client) = pair().await;
    let (sent, calling) =
        tokio::join!(server.write_all(HELLO), Stream::connect(client, Some(&tls)));
    sent.unwrap();
    assert_says(&calling.unwrap_err(), &["doesn't speak TLS"]);
}

#[tokio::test]
async fn changed_files_count_for_the_next_connection_and_bad_ones_not_at_all() {
    let rig = Rig::new();
    let tls = rig.good();
    let first = tls.newest();
    assert!(std::sync::Arc::ptr_eq(&first, &tls.newest()));
    // What no peer would take, what is no certificate, and nothing: told, and the old set stays.
    rig.ours.write(rig.path(), Kind::Expired, &[&rig.ours]);
    assert!(std::sync::Arc::ptr_eq(&first, &tls.newest()));
    std::fs::write(rig.path().join("tls.crt"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &tls.newest()));
    std::fs::remove_file(rig.path().join("tls.crt")).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &tls.newest()));
    // Another authority takes over, in two steps as it is done.
    let both = [&rig.ours, &rig.others];
    rig.others.write(rig.path(), Kind::Good, &both);
    assert!(!std::sync::Arc::ptr_eq(&first, &tls.newest()));
    for (authority, is_taken) in [(&rig.ours, true), (&rig.others, true)] {
        assert_eq!(is_met(&tls, authority, &rig.others).await, is_taken);
    }
    rig.others.write(rig.path(), Kind::Good, &[&rig.others]);
    for (authority, is_taken) in [(&rig.ours, false), (&rig.others, true)] {
        assert_eq!(is_met(&tls, authority, &rig.others).await, is_taken);
    }
}

/// Whether a client of an authority gets an answer.
async fn is_met(tls: &Tls, of: &Authority, trusted: &Authority) -> bool {
    let (server, client) = pair().await;
    let client = async { io(connect_with(client, trusted, Some(of.issue(Kind::Good))).await) };
    let (serving, calling) = meet(Stream::accept(server, Some(tls)), client).await;
    assert_eq!(serving.is_ok(), calling.is_ok());
    serving.is_ok()
}

#[test]
fn certificates_that_would_be_refused_are_not_begun_with() {
    let rig = Rig::new();
    let open = |files: TlsFiles| Tls::open(files).unwrap_err();
    for kind in [Kind::Expired, Kind::OtherName, Kind::ServerOnly] {
        let error = open(rig.ours.write(rig.path(), kind, &[&rig.ours]));
        let is_clear = matches!(error, FilesError::WouldBeRefused { .. });
        assert!(is_clear, "{kind:?}: {error}");
    }
    let error = open(rig.ours.write(rig.path(), Kind::Good, &[&rig.others]));
    assert!(matches!(error, FilesError::WouldBeRefused { .. }));

    let files = rig.ours.write(rig.path(), Kind::Good, &[&rig.ours]);
    let (_, key) = rig.ours.issue(Kind::Good);
    std::fs::write(&files.key, key).unwrap();
    assert!(matches!(open(files), FilesError::OtherKey { .. }));

    let files = rig.ours.write(rig.path(), Kind::Good, &[]);
    assert!(matches!(open(files), FilesError::Empty { .. }));

    let files = rig.ours.write(rig.path(), Kind::Good, &[&rig.ours]);
    std::fs::remove_file(&files.key).unwrap();
    let error = open(files).to_string();
    assert!(error.contains("tls.key"), "{error}");
}

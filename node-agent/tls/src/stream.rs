//! A connection from its first byte until both sides are known. What comes after that, each shell
//! reads and writes in its own way.

use crate::set::{check_name, server_name};
use crate::{StreamError, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// The first byte of every TLS connection: a record of the handshake. No frame begins with it.
const TLS_BEGINS: u8 = 0x16;
/// What the two ends of a TLS connection, and nobody else, derive alike (RFC 9266).
const CHANNEL_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// How much of it.
const CHANNEL_BYTES: usize = 32;

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted; the certificates of both sides are verified.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Takes a connection that a client has made. The client has proved nothing yet but that it has a
    /// certificate, if this side has one. How long it may take is for the caller to say.
    pub async fn accept(stream: TcpStream, tls: Option<&Tls>) -> Result<Self, StreamError> {
        let is_tls = tls.is_some();
        let io = |error| StreamError::of(error, is_tls);
        // Looked at before anything is answered: each side hears of a mismatch in words, and gets
        // nothing that it would take for a damaged frame.
        let mut first = [0];
        let begins = stream.peek(&mut first).await.map_err(io)?;
        match (begins, tls) {
            (0, _) => Err(StreamError::Closed { tls: is_tls }),
            (_, Some(_)) if first != [TLS_BEGINS] => Err(StreamError::PeerIsPlain),
            (_, None) if first == [TLS_BEGINS] => Err(StreamError::PeerIsTls),
            (_, None) => Ok(Self::Plain(stream)),
            (_, Some(tls)) => {
                let acceptor = TlsAcceptor::from(tls.newest().server.clone());
                let stream = acceptor.accept(stream).await.map_err(io)?;
                let certificates = stream.get_ref().1.peer_certificates();
                let own = certificates.and_then(<[_]>::first);
                check_name(own.ok_or(StreamError::NoCertificate)?)
                    .map_err(StreamError::wrong_name)?;
                Ok(Self::Tls(Box::new(stream.into())))
            }
        }
    }

    /// Begins on a connection that this side has made.
    pub async fn connect(stream: TcpStream, tls: Option<&Tls>) -> Result<Self, StreamError> {
        let Some(tls) = tls else {
            return Ok(Self::Plain(stream));
        };
        let connector = TlsConnector::from(tls.newest().client.clone());
        let connected = connector.connect(server_name(), stream).await;
        let stream = connected.map_err(|error| StreamError::of(error, true))?;
        Ok(Self::Tls(Box::new(stream.into())))
    }

    /// What the two ends of this one connection know and nobody else: nothing of a plain one.
    pub fn channel(&self) -> Result<Vec<u8>, StreamError> {
        let Self::Tls(stream) = self else {
            return Ok(Vec::new());
        };
        let bytes = [0; CHANNEL_BYTES];
        let (label, context) = (CHANNEL_LABEL, Some(&[][..]));
        let exported = match &**stream {
            TlsStream::Client(stream) => {
                let (_, tls) = stream.get_ref();
                tls.export_keying_material(bytes, label, context)
            }
            TlsStream::Server(stream) => {
                let (_, tls) = stream.get_ref();
                tls.export_keying_material(bytes, label, context)
            }
        };
        Ok(exported.map_err(StreamError::Tls)?.to_vec())
    }

    /// Sends all of it.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let sent = match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                failed => failed,
            },
        };
        let Err(error) = sent else {
            return Ok(());
        };
        // Perhaps the peer said why before it went; nothing else can come any more.
        match self.receive(&mut [0]).await {
            Err(told @ StreamError::Refused(_)) => Err(told),
            _ => Err(StreamError::of(error, self.is_tls())),
        }
    }

    /// Receives as many bytes as there is room for. A server's word on this side's certificate comes
    /// here: the client is done with TLS before the server has looked at it.
    pub async fn receive(&mut self, room: &mut [u8]) -> Result<(), StreamError> {
        let received = match self {
            Self::Plain(stream) => stream.read_exact(room).await,
            Self::Tls(stream) => stream.read_exact(room).await,
        };
        let is_tls = self.is_tls();
        received.map_err(|error| StreamError::of(error, is_tls))?;
        Ok(())
    }

    fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

#[cfg(test)]
mod tests;

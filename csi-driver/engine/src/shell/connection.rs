//! One connection to one shard: it is made, both sides prove themselves, and then frames go out and
//! replies come in until it fails. It doesn't come back by itself; that is the keeper's work.

use super::keeper::{Identity, Wire};
use super::outbox::Outbox;
use bytes::{Bytes, BytesMut};
use moraine_protocol::handshake::{Client, HandshakeError, Nonce, Session, Wanted};
use moraine_protocol::{
    FrameError, Group, HEADER_BYTES, Header, Inbox, Reply, RequestId, decode_reply,
};
use moraine_tls::{Stream, StreamError};
use std::io;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

/// How long a connection may take until requests can be sent.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long what was sent may stay unacknowledged before the connection is given up: a peer that
/// has lost its power says nothing.
const SILENCE_LIMIT_MS: u32 = 10_000;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum ConnectionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Stream(#[from] StreamError),
    #[error("no answer in time")]
    Slow,
    #[error("the peer sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    #[error("the peers don't agree: {0}")]
    Handshake(#[from] HandshakeError),
    #[error("the disk has {found} shards, but the map says {said}")]
    Shards { found: u32, said: u32 },
}

/// A connection that requests can be sent on.
pub(super) struct Connection {
    stream: Stream,
    /// How many requests may be unanswered.
    pub(super) credits: u32,
    /// Whether the agent runs on this node.
    pub(super) local: bool,
}

impl Connection {
    /// Connects to a shard.
    pub(super) async fn open(
        address: &str,
        me: &Identity,
        wanted: Wanted,
        shards: u32,
    ) -> Result<Self, ConnectionError> {
        let opened = tokio::time::timeout(CONNECT_LIMIT, async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            rustix::net::sockopt::set_tcp_user_timeout(&stream, SILENCE_LIMIT_MS)
                .map_err(io::Error::from)?;
            let is_local = stream.local_addr()?.ip() == stream.peer_addr()?.ip();
            let mut connection = Self {
                stream: Stream::connect(stream, me.tls.as_ref()).await?,
                credits: 0,
                local: is_local,
            };
            let session = connection.shake_hands(me, wanted).await?;
            if session.shards != shards {
                return Err(ConnectionError::Shards {
                    found: session.shards,
                    said: shards,
                });
            }
            connection.credits = session.credits;
            Ok(connection)
        });
        opened.await.map_err(|_| ConnectionError::Slow)?
    }

    async fn shake_hands(
        &mut self,
        me: &Identity,
        wanted: Wanted,
    ) -> Result<Session, ConnectionError> {
        let mut nonce = Nonce::default();
        fill_random(&mut nonce)?;
        let channel = self.stream.channel()?;
        let (client, hello) = Client::start(me.local(&channel), wanted, nonce);
        self.stream.send(&hello).await?;
        let (header, body) = self.handshake_frame().await?;
        let (client, proof) = client.challenge(&header, &body)?;
        self.stream.send(&proof).await?;
        let (header, body) = self.handshake_frame().await?;
        Ok(client.welcome(&header, &body)?)
    }

    async fn handshake_frame(&mut self) -> Result<(Header, Vec<u8>), ConnectionError> {
        let mut bytes = [0; HEADER_BYTES];
        self.stream.receive(&mut bytes).await?;
        let header = Header::decode(&bytes)?;
        // Before anything is allocated: what may come before the proof is small.
        header.expect(Group::Handshake)?;
        let mut body = vec![0; header.body_bytes()];
        self.stream.receive(&mut body).await?;
        Ok((header, body))
    }

    /// Sends what the outbox gets and hands on what comes in, until one of both fails.
    pub(super) async fn run(self, outbox: &Outbox, wire: &Wire) -> ConnectionError {
        match self.stream {
            Stream::Plain(mut stream) => {
                let (input, output) = stream.split();
                converse(input, output, outbox, wire).await
            }
            Stream::Tls(stream) => {
                let (input, output) = tokio::io::split(stream);
                converse(input, output, outbox, wire).await
            }
        }
    }
}

async fn converse(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    outbox: &Outbox,
    wire: &Wire,
) -> ConnectionError {
    tokio::select! {
        error = receive(input, wire) => error,
        error = outbox.drain(output) => error.into(),
    }
}

fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags)?;
    }
    Ok(())
}

/// Hands on replies until the connection fails.
async fn receive(mut input: impl AsyncRead + Unpin, wire: &Wire) -> ConnectionError {
    let mut inbox = Inbox::default();
    loop {
        match next_reply(&mut input, &mut inbox).await {
            Ok((id, reply, data)) => wire.answered(id, reply, data).await,
            Err(error) => return error,
        }
    }
}

async fn next_reply(
    input: &mut (impl AsyncRead + Unpin),
    inbox: &mut Inbox,
) -> Result<(RequestId, Reply, Bytes), ConnectionError> {
    loop {
        if let Some((header, body)) = inbox.frame()? {
            let (id, reply) = decode_reply(&header, body)?;
            let mut data = BytesMut::zeroed(header.payload_bytes());
            let here = inbox.take(&mut data);
            input.read_exact(&mut data[here..]).await?;
            return Ok((id, reply, data.freeze()));
        }
        let got = input.read(inbox.room()).await?;
        if got == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        inbox.filled(got);
    }
}

//! One connection with frames on it, from either side, up to the end of the handshake.

use moraine_model::{ClusterId, DiskId};
use moraine_protocol::handshake::{
    BootId, Caller, Client, Local, NodeName, Peer, Secret, Server, Wanted,
};
use moraine_protocol::{Header, Inbox, Versions};
use moraine_tls::Stream;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Requests of a connection that may be unanswered.
const CREDITS: u32 = 64;

type Input = Box<dyn AsyncRead + Unpin>;
type Output = Box<dyn AsyncWrite + Unpin>;

/// Both halves of a stream, and what has arrived on it.
pub(crate) struct Link {
    input: Input,
    output: Sender,
    inbox: Inbox,
    channel: Vec<u8>,
}

/// The sending half of a link.
pub(crate) struct Sender(Output);

impl Sender {
    /// Sends all of it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }
}

/// A frame with its data.
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

fn local<'a>(secret: &'a Secret, cluster: ClusterId, channel: &'a [u8]) -> Local<'a> {
    Local {
        versions: Versions::OURS,
        cluster,
        node: NodeName::new("agent").expect("a plain name"),
        boot: BootId(1),
        secret,
        channel,
    }
}

/// An error of a peer.
pub(crate) fn bad(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The receiving half of a link.
pub(crate) struct Requests {
    input: Input,
    inbox: Inbox,
}

impl Requests {
    /// The next frame. Not to be dropped in its middle.
    pub(crate) async fn next(&mut self) -> io::Result<Frame> {
        next_frame(&mut self.input, &mut self.inbox).await
    }
}

async fn next_frame(input: &mut Input, inbox: &mut Inbox) -> io::Result<Frame> {
    loop {
        if let Some((header, body)) = inbox.frame().map_err(bad)? {
            let body = body.to_vec();
            let mut data = vec![0; header.payload_bytes()];
            let here = inbox.take(&mut data);
            input.read_exact(&mut data[here..]).await?;
            return Ok(Frame { header, body, data });
        }
        let got = input.read(inbox.room()).await?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inbox.filled(got);
    }
}

impl Link {
    pub(crate) fn new(stream: Stream) -> io::Result<Self> {
        let channel = stream.channel().map_err(bad)?;
        let (input, output): (Input, Output) = match stream {
            Stream::Plain(stream) => {
                let (input, output) = stream.into_split();
                (Box::new(input), Box::new(output))
            }
            Stream::Tls(stream) => {
                let (input, output) = tokio::io::split(stream);
                (Box::new(input), Box::new(output))
            }
        };
        Ok(Self {
            input,
            output: Sender(output),
            inbox: Inbox::default(),
            channel,
        })
    }

    /// The halves alone, to read requests from and to write replies to.
    pub(crate) fn split(self) -> (Requests, Sender) {
        let (input, inbox) = (self.input, self.inbox);
        (Requests { input, inbox }, self.output)
    }

    /// Sends all of it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.send(bytes).await
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> io::Result<Frame> {
        next_frame(&mut self.input, &mut self.inbox).await
    }

    /// Lets a client in.
    pub(crate) async fn accept(
        &mut self,
        secret: &Secret,
        cluster: ClusterId,
        shards: u32,
    ) -> io::Result<Peer> {
        let channel = self.channel.clone();
        let server = Server::new(local(secret, cluster, &channel), [7; 32]);
        let hello = self.frame().await?;
        let refused = |refused: moraine_protocol::handshake::Refused| bad(refused.error);
        let hello = server.hello(&hello.header, &hello.body);
        let (challenged, challenge) = hello.map_err(refused)?;
        self.send(&challenge).await?;
        let proof = self.frame().await?;
        let proven = challenged
            .proof(&proof.header, &proof.body)
            .map_err(refused)?;
        let (peer, welcome) = proven.welcome(CREDITS, shards).map_err(refused)?;
        self.send(&welcome).await?;
        Ok(peer)
    }

    /// Introduces this side as a replica that copies.
    pub(crate) async fn introduce(
        &mut self,
        secret: &Secret,
        cluster: ClusterId,
        (disk, shard): (DiskId, u32),
    ) -> io::Result<()> {
        let caller = Caller::Replica;
        let wanted = Wanted {
            caller,
            disk,
            shard,
        };
        let channel = self.channel.clone();
        let (client, hello) = Client::start(local(secret, cluster, &channel), wanted, [9; 32]);
        self.send(&hello).await?;
        let challenge = self.frame().await?;
        let challenge = client.challenge(&challenge.header, &challenge.body);
        let (proved, proof) = challenge.map_err(bad)?;
        self.send(&proof).await?;
        let welcome = self.frame().await?;
        proved
            .welcome(&welcome.header, &welcome.body)
            .map_err(bad)?;
        Ok(())
    }
}

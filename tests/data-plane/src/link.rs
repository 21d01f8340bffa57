//! One connection with frames on it, from either side, up to the end of the handshake.

use moraine_model::{ClusterId, DiskId};
use moraine_protocol::handshake::{
    BootId, Caller, Client, Local, NodeName, Peer, Secret, Server, Wanted,
};
use moraine_protocol::{Header, Inbox, Versions};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Requests of a connection that may be unanswered.
const CREDITS: u32 = 64;

/// Both halves of a stream, and what has arrived on it.
pub(crate) struct Link {
    input: OwnedReadHalf,
    pub(crate) output: OwnedWriteHalf,
    inbox: Inbox,
}

/// A frame with its data.
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

fn local(secret: &Secret, cluster: ClusterId) -> Local<'_> {
    Local {
        versions: Versions::OURS,
        cluster,
        node: NodeName::new("agent").expect("a plain name"),
        boot: BootId(1),
        secret,
        channel: &[],
    }
}

fn bad(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The receiving half of a link.
pub(crate) struct Requests {
    input: OwnedReadHalf,
    inbox: Inbox,
}

impl Requests {
    /// The next frame. Not to be dropped in its middle.
    pub(crate) async fn next(&mut self) -> io::Result<Frame> {
        next_frame(&mut self.input, &mut self.inbox).await
    }
}

async fn next_frame(input: &mut OwnedReadHalf, inbox: &mut Inbox) -> io::Result<Frame> {
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
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (input, output) = stream.into_split();
        let inbox = Inbox::default();
        Ok(Self {
            input,
            output,
            inbox,
        })
    }

    /// The halves alone, to read requests from and to write replies to.
    pub(crate) fn split(self) -> (Requests, OwnedWriteHalf) {
        let (input, inbox) = (self.input, self.inbox);
        (Requests { input, inbox }, self.output)
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
        let server = Server::new(local(secret, cluster), [7; 32]);
        let hello = self.frame().await?;
        let refused = |refused: moraine_protocol::handshake::Refused| bad(refused.error);
        let hello = server.hello(&hello.header, &hello.body);
        let (challenged, challenge) = hello.map_err(refused)?;
        self.output.write_all(&challenge).await?;
        let proof = self.frame().await?;
        let proven = challenged
            .proof(&proof.header, &proof.body)
            .map_err(refused)?;
        let (peer, welcome) = proven.welcome(CREDITS, shards).map_err(refused)?;
        self.output.write_all(&welcome).await?;
        Ok(peer)
    }

    /// Connects as a replica that copies.
    pub(crate) async fn connect(
        address: &str,
        secret: &Secret,
        cluster: ClusterId,
        (disk, shard): (DiskId, u32),
    ) -> io::Result<Self> {
        let mut link = Self::new(TcpStream::connect(address).await?)?;
        let caller = Caller::Replica;
        let wanted = Wanted {
            caller,
            disk,
            shard,
        };
        let (client, hello) = Client::start(local(secret, cluster), wanted, [9; 32]);
        link.output.write_all(&hello).await?;
        let challenge = link.frame().await?;
        let challenge = client.challenge(&challenge.header, &challenge.body);
        let (proved, proof) = challenge.map_err(bad)?;
        link.output.write_all(&proof).await?;
        let welcome = link.frame().await?;
        proved
            .welcome(&welcome.header, &welcome.body)
            .map_err(bad)?;
        Ok(link)
    }
}

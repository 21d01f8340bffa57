//! A client that does one thing after another: what an engine says to one agent, without an engine.

use crate::rig::Rig;
use anyhow::Result;
use moraine_model::{
    BLOCK_BYTES, BlockRange, ChunkIndex, Cut, Generation, Share, Stamp, VolumeId, block_checksums,
    bucket_of,
};
use moraine_protocol::handshake::{
    BootId, Caller, Client as Handshake, Local, NodeName, Secret, Wanted,
};
use moraine_protocol::{
    At, Block, Content, HEADER_BYTES, Header, Reply, Request, RequestId, Under, Versions,
    decode_reply, encode_request,
};
use moraine_tls::{Stream, StreamError, Tls};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// What write number `value` leaves in some blocks.
pub(crate) fn pattern(first: u16, count: u16, value: u8) -> Vec<u8> {
    let block = |block: u16| [block.to_le_bytes()[0], block.to_le_bytes()[1], value, 0xd5];
    let blocks = (first..first + count).map(|number| block(number).repeat(BLOCK_BYTES / 4));
    blocks.flatten().collect()
}

pub(crate) struct Client {
    stream: Waited,
    next: u64,
    /// The data of the reply that came last.
    data: Vec<u8>,
}

/// The first chunk of a volume, as one engine has it open.
pub(crate) struct Volume {
    under: Under,
    chunk: ChunkIndex,
    sequence: u64,
    opened: (Stamp, Cut),
}

/// A stream whose every step is waited for.
struct Waited {
    runtime: Runtime,
    stream: Stream,
}

impl Waited {
    fn send(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.runtime.block_on(self.stream.send(bytes))
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<(), StreamError> {
        self.runtime.block_on(self.stream.receive(room))
    }

    fn frame(&mut self) -> Result<(Header, Vec<u8>)> {
        let mut bytes = [0; HEADER_BYTES];
        self.receive(&mut bytes)?;
        let header = Header::decode(&bytes)?;
        let mut body = vec![0; header.body_bytes()];
        self.receive(&mut body)?;
        Ok((header, body))
    }
}

impl Client {
    /// Connects as the rig's agents do.
    pub(crate) fn connect(rig: &Rig, agent: usize, secret: &[u8; 32]) -> Result<Self> {
        let tls = rig.tls_files().map(Tls::open).transpose()?;
        let begin = async |tcp| Ok(Stream::connect(tcp, tls.as_ref()).await?);
        Self::begin(rig, agent, secret, begin)
    }

    /// Connects without TLS.
    pub(crate) fn connect_plain(rig: &Rig, agent: usize, secret: &[u8; 32]) -> Result<Self> {
        let begin = async |tcp| Ok(Stream::connect(tcp, None).await?);
        Self::begin(rig, agent, secret, begin)
    }

    /// Connects, and begins on the connection however the test wants.
    pub(crate) fn begin(
        rig: &Rig,
        agent: usize,
        secret: &[u8; 32],
        begin: impl AsyncFnOnce(TcpStream) -> Result<Stream>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let stream = runtime.block_on(async {
            let tcp = TcpStream::connect(rig.address(agent)).await?;
            tcp.set_nodelay(true)?;
            begin(tcp).await
        })?;
        let channel = stream.channel()?;
        let mut stream = Waited { runtime, stream };
        let secret = Secret::new(secret)?;
        let local = Local {
            versions: Versions::OURS,
            cluster: rig.map.cluster,
            node: NodeName::new("engine")?,
            boot: BootId(1),
            secret: &secret,
            channel: &channel,
        };
        let wanted = Wanted {
            caller: Caller::Engine,
            disk: rig.map.disks[agent].id,
            shard: 0,
        };
        let (handshake, hello) = Handshake::start(local, wanted, [7; 32]);
        stream.send(&hello)?;
        let (header, body) = stream.frame()?;
        let (handshake, proof) = handshake.challenge(&header, &body)?;
        stream.send(&proof)?;
        let (header, body) = stream.frame()?;
        handshake.welcome(&header, &body)?;
        Ok(Self {
            stream,
            next: 0,
            data: Vec::new(),
        })
    }

    pub(crate) fn send(&mut self, request: &Request, data: &[u8]) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        let mut bytes = Vec::new();
        encode_request(id, request, &mut bytes);
        bytes.extend_from_slice(data);
        self.send_bytes(&bytes);
        id
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.send(bytes).unwrap();
    }

    pub(crate) fn receive(&mut self) -> (RequestId, Reply) {
        let (header, body) = self.stream.frame().unwrap();
        self.data.resize(header.payload_bytes(), 0);
        self.stream.receive(&mut self.data).unwrap();
        decode_reply(&header, &body).unwrap()
    }

    /// Whether the other side ends the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.stream.receive(&mut [0; 1]).is_err()
    }

    fn ask(&mut self, request: &Request, data: &[u8]) -> Reply {
        let asked = self.send(request, data);
        let (id, reply) = self.receive();
        assert_eq!(id, asked);
        reply
    }

    /// The bytes of the reply that came last.
    pub(crate) fn data_of(&self, reply: Reply) -> Vec<u8> {
        let Reply::Data { parts } = reply else {
            panic!("{reply:?}");
        };
        let mut data = &self.data[..];
        let mut bytes = Vec::new();
        for part in parts {
            let length = part.version.range.bytes();
            if part.checksums.is_empty() {
                bytes.resize(bytes.len() + length, 0);
            } else {
                let (here, rest) = data.split_at(length);
                assert_eq!(block_checksums(here), part.checksums);
                bytes.extend_from_slice(here);
                data = rest;
            }
        }
        assert!(data.is_empty(), "data that no part is of");
        bytes
    }

    /// Opens the bucket of the first chunk of a volume.
    pub(crate) fn open(&mut self, rig: &Rig, attach: u32, incarnation: u8) -> Volume {
        let volume = VolumeId::new(5).unwrap();
        let chunk = ChunkIndex::new(0).unwrap();
        let buckets = u32::try_from(rig.map.entries.len()).unwrap();
        let bucket = bucket_of(volume, chunk, buckets).unwrap();
        let entry = rig.map.entries[bucket.get() as usize].clone();
        let generation = Generation {
            attach,
            incarnation: incarnation.into(),
        };
        let under = Under {
            share: Share { volume, bucket },
            generation,
            epoch: entry.epoch(),
        };
        let open = Request::Open {
            volume,
            generation,
            entry,
        };
        let reply = self.ask(&open, &[]);
        let Reply::Opened { mark, cut, .. } = reply else {
            panic!("{reply:?}");
        };
        Volume {
            under,
            chunk,
            sequence: 0,
            opened: (mark, cut),
        }
    }
}

impl Volume {
    /// Mark and greatest cut that the agent told when it was opened.
    pub(crate) fn opened_at(&self) -> (Stamp, Cut) {
        self.opened
    }

    fn change(&mut self, (first, count): (u16, u16), content: Content) -> Request {
        self.sequence += 1;
        Request::Write {
            under: self.under,
            block: Block {
                chunk: self.chunk,
                range: BlockRange::new(first, count).unwrap(),
            },
            sequence: self.sequence,
            cut: Cut(0),
            mark: Stamp::ZERO,
            content,
        }
    }

    /// Sends a write and doesn't wait for its answer.
    pub(crate) fn send(&mut self, client: &mut Client, at: (u16, u16), value: u8) -> RequestId {
        let data = pattern(at.0, at.1, value);
        let checksums = block_checksums(&data);
        let request = self.change(at, Content::Data { checksums });
        client.send(&request, &data)
    }

    pub(crate) fn write(&mut self, client: &mut Client, at: (u16, u16), value: u8) {
        let id = self.send(client, at, value);
        assert_eq!(client.receive(), (id, Reply::Done));
    }

    pub(crate) fn zero(&mut self, client: &mut Client, at: (u16, u16)) {
        let request = self.change(at, Content::Zero);
        assert_eq!(client.ask(&request, &[]), Reply::Done);
    }

    /// Asks for some blocks, and doesn't wait for them.
    pub(crate) fn ask_for(&self, client: &mut Client, (first, count): (u16, u16)) -> RequestId {
        let request = Request::Read {
            under: self.under,
            block: Block {
                chunk: self.chunk,
                range: BlockRange::new(first, count).unwrap(),
            },
            at: At::Head,
            mark: Stamp::ZERO,
        };
        client.send(&request, &[])
    }

    /// The bytes of some blocks that were all written, or none if none was.
    pub(crate) fn read(&mut self, client: &mut Client, at: (u16, u16)) -> Vec<u8> {
        let asked = self.ask_for(client, at);
        let (id, reply) = client.receive();
        assert_eq!(id, asked);
        client.data_of(reply)
    }
}

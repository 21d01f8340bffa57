//! A client that does one thing after another: what an engine says to one agent, without an engine.

use crate::rig::Rig;
use moraine_model::{
    BLOCK_BYTES, BlockRange, ChunkIndex, Cut, Generation, Share, Stamp, VolumeId, block_checksums,
    bucket_of,
};
use moraine_protocol::handshake::{
    BootId, Caller, Client as Handshake, HandshakeError, Local, NodeName, Secret, Wanted,
};
use moraine_protocol::{
    At, Block, Content, HEADER_BYTES, Header, Reply, Request, RequestId, Under, Versions,
    decode_reply, encode_request,
};
use std::io::{Read, Write};
use std::net::TcpStream;

/// What write number `value` leaves in some blocks.
pub(crate) fn pattern(first: u16, count: u16, value: u8) -> Vec<u8> {
    let block = |block: u16| [block.to_le_bytes()[0], block.to_le_bytes()[1], value, 0xd5];
    let blocks = (first..first + count).map(|number| block(number).repeat(BLOCK_BYTES / 4));
    blocks.flatten().collect()
}

pub(crate) struct Client {
    stream: TcpStream,
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

fn receive(stream: &mut TcpStream) -> (Header, Vec<u8>) {
    let mut bytes = [0; HEADER_BYTES];
    stream.read_exact(&mut bytes).unwrap();
    let header = Header::decode(&bytes).unwrap();
    let mut body = vec![0; header.body_bytes()];
    stream.read_exact(&mut body).unwrap();
    (header, body)
}

impl Client {
    pub(crate) fn connect(
        rig: &Rig,
        agent: usize,
        secret: &[u8; 32],
    ) -> Result<Self, HandshakeError> {
        let mut stream = TcpStream::connect(rig.address(agent)).unwrap();
        stream.set_nodelay(true).unwrap();
        let secret = Secret::new(secret).unwrap();
        let local = Local {
            versions: Versions::OURS,
            cluster: rig.map.cluster,
            node: NodeName::new("engine").unwrap(),
            boot: BootId(1),
            secret: &secret,
            channel: &[],
        };
        let wanted = Wanted {
            caller: Caller::Engine,
            disk: rig.map.disks[agent].id,
            shard: 0,
        };
        let (handshake, hello) = Handshake::start(local, wanted, [7; 32]);
        stream.write_all(&hello).unwrap();
        let (header, body) = receive(&mut stream);
        let (handshake, proof) = handshake.challenge(&header, &body)?;
        stream.write_all(&proof).unwrap();
        let (header, body) = receive(&mut stream);
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
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn receive(&mut self) -> (RequestId, Reply) {
        let (header, body) = receive(&mut self.stream);
        self.data.resize(header.payload_bytes(), 0);
        self.stream.read_exact(&mut self.data).unwrap();
        decode_reply(&header, &body).unwrap()
    }

    /// Whether the other side ends the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }

    fn ask(&mut self, request: &Request, data: &[u8]) -> Reply {
        let asked = self.send(request, data);
        let (id, reply) = self.receive();
        assert_eq!(id, asked);
        reply
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

    /// The bytes of some blocks that were all written, or none if none was.
    pub(crate) fn read(&mut self, client: &mut Client, (first, count): (u16, u16)) -> Vec<u8> {
        let request = Request::Read {
            under: self.under,
            block: Block {
                chunk: self.chunk,
                range: BlockRange::new(first, count).unwrap(),
            },
            at: At::Head,
            mark: Stamp::ZERO,
        };
        let reply = client.ask(&request, &[]);
        let Reply::Data { parts } = reply else {
            panic!("{reply:?}");
        };
        let mut data = &client.data[..];
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
}

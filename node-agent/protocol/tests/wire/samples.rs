//! One message of each kind, and more where a kind has several shapes. Their bytes are kept in
//! `tests/fixtures`: what is here is only ever added to.

use moraine_model::{
    BlockRange, BucketEntry, BucketId, Checksums, ChunkIndex, Cut, DiskId, Epoch, Generation,
    Listing, Role, Share, Stamp, Tag, VolumeId,
};
use moraine_protocol::{
    At, Block, ChunkStamp, Content, LayerStamp, Part, Refusal, Reply, Request, RequestId, Rule,
    ShareState, Under, Version, VersionKind, encode_reply, encode_request,
};

/// The request that every sample is, or answers.
pub(crate) const ID: RequestId = RequestId(0x0807_0605_0403_0201);

const GENERATION: Generation = Generation {
    attach: 0x21,
    incarnation: 0x22,
};
const MARK: Stamp = Stamp {
    generation: GENERATION,
    sequence: 0x23,
};

/// A message of either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Request(Request),
    Reply(Reply),
}

impl Message {
    /// Header and body.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Request(request) => encode_request(ID, request, &mut out),
            Self::Reply(reply) => encode_reply(ID, reply, &mut out),
        }
        out
    }
}

fn volume(number: u128) -> VolumeId {
    VolumeId::new(number).unwrap()
}

fn share() -> Share {
    Share {
        volume: volume(0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110),
        bucket: BucketId::new(0x2627).unwrap(),
    }
}

fn under() -> Under {
    Under {
        share: share(),
        generation: GENERATION,
        epoch: Epoch(0x28),
    }
}

fn range(first: u16, count: u16) -> BlockRange {
    BlockRange::new(first, count).unwrap()
}

fn block(first: u16, count: u16) -> Block {
    Block {
        chunk: ChunkIndex::new(0x0a_0b0c).unwrap(),
        range: range(first, count),
    }
}

fn entry() -> BucketEntry {
    let listing = |disk, role, since| Listing {
        disk: DiskId::new(disk).unwrap(),
        role,
        since: Epoch(since),
    };
    let listings = vec![
        listing(0x31, Role::InSync, 0x32),
        listing(0x33 << 120, Role::Syncing, 0x34),
    ];
    BucketEntry::new(share().bucket, Epoch(0x35), listings).unwrap()
}

fn tag(sequence: u64) -> Tag {
    Tag {
        stamp: Stamp {
            generation: GENERATION,
            sequence,
        },
        cut: Cut(0x41),
        epoch: Epoch(0x42),
    }
}

fn write(count: u16, content: Content) -> Request {
    Request::Write {
        under: under(),
        block: block(0x51, count),
        sequence: 0x52,
        cut: Cut(0x53),
        mark: MARK,
        content,
    }
}

/// Requests of engines, by names that the fixtures know.
fn of_engines() -> Vec<(&'static str, Request)> {
    let checksums = |sums: &[u32]| Content::Data {
        checksums: Checksums::from(sums),
    };
    let read = |at| Request::Read {
        under: under(),
        block: block(7, 256),
        at,
        mark: MARK,
    };
    let open = Request::Open {
        volume: share().volume,
        generation: GENERATION,
        entry: entry(),
    };
    let close = Request::Close {
        under: under(),
        mark: MARK,
    };
    let several = checksums(&[0x6162_6364, 0, u32::MAX]);
    vec![
        ("open", open),
        ("write-one", write(1, checksums(&[0x6162_6364]))),
        ("write-several", write(3, several)),
        ("write-zero", write(0x300, Content::Zero)),
        ("read-head", read(At::Head)),
        ("read-cut", read(At::Cut(Cut(0x54)))),
        ("close", close),
        ("ping", Request::Ping),
    ]
}

/// Requests of replicas that copy.
fn of_replicas() -> Vec<(&'static str, Request)> {
    let (share, epoch, generation) = (share(), Epoch(0x28), Some(GENERATION));
    let chunk = block(0, 1).chunk;
    let shares = |after| Request::Shares {
        bucket: share.bucket,
        epoch,
        after,
    };
    let layers = |generation| Request::Layers {
        share,
        epoch,
        generation,
        chunk,
    };
    let chunks = Request::Chunks {
        share,
        epoch,
        generation,
        above: MARK,
        from: chunk,
    };
    let versions = Request::Versions {
        share,
        epoch,
        generation,
        chunk,
        cut: Cut(0x53),
    };
    let copy = Request::Copy {
        share,
        epoch,
        block: block(0, 2),
        cut: Cut(0x53),
    };
    vec![
        ("adopt", Request::Adopt { entry: entry() }),
        ("list-shares", shares(None)),
        ("list-shares-after", shares(Some(share.volume))),
        ("list-chunks", chunks),
        ("list-layers", layers(None)),
        ("list-layers-engine", layers(generation)),
        ("list-versions", versions),
        ("copy", copy),
    ]
}

fn shares() -> Reply {
    Reply::Shares {
        shares: vec![
            ShareState {
                volume: volume(0x81),
                fence: GENERATION,
                deleted_at: Some(Cut(0x82)),
                deleted_snapshots: vec![Cut(0x83), Cut(0x84)],
                references: vec![(Cut(0x83), volume(0x85)), (Cut(0x84), volume(0x86))],
            },
            ShareState {
                volume: volume(0x87),
                fence: Generation::default(),
                deleted_at: None,
                deleted_snapshots: Vec::new(),
                references: Vec::new(),
            },
        ],
        more: true,
    }
}

/// Replies, by names that the fixtures know.
fn replies() -> Vec<(&'static str, Reply)> {
    let version = |first, count, kind| Version {
        range: range(first, count),
        kind,
        tag: tag(u64::from(first)),
    };
    let part = |first, sums: &[u32]| Part {
        version: version(
            first,
            2,
            [VersionKind::Zero, VersionKind::Data][sums.len() / 2],
        ),
        inherited: sums.is_empty(),
        checksums: Checksums::from(sums),
    };
    let opened = Reply::Opened {
        mark: MARK,
        cut: Cut(0x71),
        above_mark: true,
    };
    let data = Reply::Data {
        parts: vec![part(3, &[0x72, 0x73]), part(9, &[])],
    };
    let chunk = |chunk| ChunkStamp {
        chunk: ChunkIndex::new(chunk).unwrap(),
        newest: MARK,
    };
    let chunks = Reply::Chunks {
        chunks: vec![chunk(0x88), chunk(0x89)],
        more: false,
    };
    let layer = |cut| LayerStamp {
        cut: Cut(cut),
        newest: MARK,
    };
    let layers = Reply::Layers {
        fence: GENERATION,
        layers: vec![layer(0x8b), layer(0x8a)],
    };
    let versions = Reply::Versions {
        fence: GENERATION,
        versions: vec![
            version(0, 1, VersionKind::Data),
            version(1, 1023, VersionKind::Zero),
        ],
    };
    vec![
        ("opened", opened),
        ("done", Reply::Done),
        ("data", data),
        ("data-none", Reply::Data { parts: Vec::new() }),
        ("shares", shares()),
        ("chunks", chunks),
        ("layers", layers),
        ("versions", versions),
    ]
}

/// Every refusal, by names that the fixtures know.
fn refusals() -> Vec<(&'static str, Refusal)> {
    let malformed = |rule| Refusal::Malformed { rule };
    vec![
        ("stale-epoch", Refusal::StaleEpoch { entry: entry() }),
        ("fenced", Refusal::Fenced { by: GENERATION }),
        ("not-open", Refusal::NotOpen),
        ("not-in-sync", Refusal::NotInSync),
        ("not-here", Refusal::NotHere),
        ("unknown-volume", Refusal::UnknownVolume),
        ("deleted", Refusal::Deleted),
        ("no-snapshot", Refusal::NoSnapshot),
        ("no-space", Refusal::NoSpace),
        ("damaged", Refusal::Damaged { block: 0x91 }),
        ("mismatch", Refusal::Mismatch { block: 1023 }),
        ("busy", Refusal::Busy),
        ("stopped", Refusal::Stopped),
        ("rule-payload", malformed(Rule::PayloadFitsRange)),
        ("rule-entry", malformed(Rule::OneEntryPerEpoch)),
        ("rule-listed", malformed(Rule::AskedIsListed)),
        ("rule-stamp", malformed(Rule::StampInRange)),
        ("rule-source", malformed(Rule::SourceInSync)),
        ("rule-store", malformed(Rule::StoreLimits)),
    ]
}

/// All of them.
pub(crate) fn samples() -> Vec<(&'static str, Message)> {
    let requests = of_engines().into_iter().chain(of_replicas());
    let mut samples: Vec<_> = requests
        .map(|(name, request)| (name, Message::Request(request)))
        .collect();
    let refused = refusals().into_iter();
    let refused = refused.map(|(name, refusal)| (name, Reply::Refused(refusal)));
    let replies = replies().into_iter().chain(refused);
    samples.extend(replies.map(|(name, reply)| (name, Message::Reply(reply))));
    samples
}

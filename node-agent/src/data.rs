//! The data plane of the agent: serves the bucket replicas of its disks to engines and other agents.
//!
//! ```text
//!  listener ── handshake ──> the thread of the shard that is asked for
//!  map file ── changes ────> every shard
//!  shards ──── events ─────> one line each on the standard output
//! ```
//!
//! It runs from a map file, without Kubernetes: for tests, benchmarks and first trials. What the
//! pool's objects say instead is not here.

pub(crate) mod draft;
mod identity;
mod listen;
mod map;
mod outgoing;
mod peers;
mod session;
mod shard;
mod socket;

use anyhow::{Context, Result, ensure};
use identity::Identity;
use map::Followed;
use moraine_model::{BLOCK_BYTES, BucketId, DiskId, Epoch};
use moraine_protocol::MapFile;
use moraine_replica::Options as ReplicaOptions;
use moraine_store::FormatOptions;
use moraine_store::disk::{Allocation, Device, OpenOptions, create_file};
use moraine_store::format::SEGMENT_BLOCKS;
use moraine_tls::TlsFiles;
use peers::Peers;
use shard::{Start, Told};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What may wait for a shard's thread, and for who reads its events.
const WAITING_MAX: usize = 1024;

/// How the data plane runs.
#[derive(Debug)]
pub(crate) struct Options {
    /// The map file.
    pub(crate) map: PathBuf,
    /// The file with the cluster's secret.
    pub(crate) secret: PathBuf,
    /// The certificates of this agent, if connections are encrypted.
    pub(crate) tls: Option<TlsFiles>,
    /// Name of the node.
    pub(crate) node: String,
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// The disks.
    pub(crate) disks: Vec<PathBuf>,
    /// Make and format disks that are not there, as files of this size: the first as the first disk
    /// that the map has at our address, and so on.
    pub(crate) create_bytes: Option<u64>,
}

/// Something that whoever runs us wants to know.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// The copy of a bucket is whole.
    Synced {
        /// The disk that has it.
        disk: DiskId,
        /// The bucket.
        bucket: BucketId,
        /// The epoch since which the replica is listed.
        since: Epoch,
    },
}

/// The shards of all disks, by disk and number.
type Shards = BTreeMap<(DiskId, u32), mpsc::Sender<Told>>;

/// Serves until `stop` completes; an error if it can't start, or if no disk is left to serve.
pub(crate) async fn serve(options: Options, stop: impl Future<Output = ()>) -> Result<()> {
    let mut followed = Followed::open(options.map)?;
    let map = Arc::clone(followed.map());
    let identity = Identity::read(&options.secret, &options.node, map.cluster, options.tls)?;
    let identity = Arc::new(identity);
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listening on {}", options.listen))?;
    let (events, happened) = mpsc::channel(WAITING_MAX);
    let (ended, mut ends) = mpsc::channel(WAITING_MAX);
    let mut shards = Shards::new();
    for (number, path) in options.disks.iter().enumerate() {
        let made = options.create_bytes.map(|bytes| (number, bytes));
        let disk = open_disk(path, &map, options.listen, made)?;
        for shard in 0..disk.opened.superblock.layout.shards {
            let (tell, told) = mpsc::channel(WAITING_MAX);
            shards.insert((disk.opened.superblock.disk, shard), tell);
            let start = Start {
                handle: disk.device.handle()?.disk,
                opened: Arc::clone(&disk.opened),
                shard,
                options: replica_options(&disk, &map),
                peers: Peers::new(Arc::clone(&identity), Arc::clone(&map)),
                told,
                events: events.clone(),
            };
            spawn_shard(start, ended.clone())?;
        }
    }
    println!(
        "{}",
        serde_json::json!({ "listening": listener.local_addr()? })
    );
    tokio::select! {
        () = stop => Ok(()),
        () = tell_changes(&mut followed, &shards) => Ok(()),
        () = report(happened) => Ok(()),
        () = listen::accept(listener, identity, &shards) => Ok(()),
        error = all_ended(&mut ends, shards.len()) => Err(error),
    }
}

/// A device whose store is open, and before any shard has recovered.
struct OpenDisk {
    device: Device,
    opened: Arc<moraine_store::Opened>,
}

fn replica_options(disk: &OpenDisk, map: &MapFile) -> ReplicaOptions {
    ReplicaOptions {
        buckets: u32::try_from(map.entries.len()).unwrap_or(u32::MAX),
        ..ReplicaOptions::new(disk.opened.superblock.disk)
    }
}

/// Opens a disk of this cluster, and makes it first if that is asked for and nothing is there: as
/// the disk that the map has at this place of our address.
fn open_disk(
    path: &Path,
    map: &MapFile,
    address: SocketAddr,
    made: Option<(usize, u64)>,
) -> Result<OpenDisk> {
    let mut format = None;
    if let Some((number, bytes)) = made
        && !path.exists()
    {
        let address = address.to_string();
        let mut here = map.disks.iter().filter(|disk| disk.address == address);
        let place = here.nth(number).with_context(|| {
            format!(
                "the map has no disk number {number} at {address}, which {} could be",
                path.display()
            )
        })?;
        create_file(path, bytes, Allocation::Reserved)?;
        format = Some(FormatOptions {
            shards: place.shards,
            segment_blocks: segment_blocks(bytes, place.shards),
            ..FormatOptions::new(map.cluster, place.id)
        });
    }
    let device = Device::open(path, &OpenOptions::default())?;
    let mut handle = device.handle()?.disk;
    let opening = || format!("opening the disk {}", path.display());
    if let Some(options) = format {
        moraine_store::format(&mut handle, &options).with_context(opening)?;
    }
    let opened = moraine_store::open(&mut handle, map.cluster).with_context(opening)?;
    let Some(place) = map.disk(opened.superblock.disk) else {
        anyhow::bail!(
            "{}: the map doesn't list the disk {}",
            path.display(),
            opened.superblock.disk
        );
    };
    let shards = opened.superblock.layout.shards;
    ensure!(
        place.shards == shards,
        "{}: the map says {} shards, and the disk has {shards}",
        path.display(),
        place.shards
    );
    Ok(OpenDisk {
        device,
        opened: Arc::new(opened),
    })
}

/// Blocks of a segment for a new disk: the usual, or fewer for a small one, so that each shard has
/// enough segments for its reserve not to be most of the disk.
fn segment_blocks(bytes: u64, shards: u32) -> u32 {
    const SEGMENTS_WANTED: u64 = 32;
    // A write of the most that a frame has must fit a batch.
    const FEWEST: u32 = 2048;
    let mut blocks = SEGMENT_BLOCKS;
    while blocks > FEWEST
        && bytes / (u64::from(blocks) * BLOCK_BYTES as u64) < SEGMENTS_WANTED * u64::from(shards)
    {
        blocks /= 2;
    }
    blocks
}

/// Gives a shard its thread. How it ends, if it does, is told.
fn spawn_shard(start: Start, ended: mpsc::Sender<anyhow::Error>) -> Result<()> {
    let (disk, shard) = (start.options.disk, start.shard);
    let named = std::thread::Builder::new().name(format!("shard-{shard}"));
    let body = move || {
        if let Err(error) = shard::run(start) {
            let error = error.context(format!("disk {disk}, shard {shard}"));
            // Nobody listens any more only when the program ends anyway.
            let _ = ended.blocking_send(error);
        }
    };
    named
        .spawn(body)
        .context("starting the thread of a shard")?;
    Ok(())
}

/// Waits until the last shard has ended. One that ends takes its part of its disk with it, and what
/// it held is read elsewhere; the others go on.
async fn all_ended(ends: &mut mpsc::Receiver<anyhow::Error>, shards: usize) -> anyhow::Error {
    let mut left = shards;
    loop {
        let error = ends.recv().await;
        let error = error.unwrap_or_else(|| anyhow::anyhow!("there is nothing to serve"));
        left = left.saturating_sub(1);
        if left == 0 {
            return error.context("no disk is left to serve");
        }
        tracing::error!("a shard is not served any more: {error:#}");
    }
}

async fn tell_changes(followed: &mut Followed, shards: &Shards) {
    loop {
        let map = Arc::clone(followed.changed().await);
        for shard in shards.values() {
            // A shard that is gone has said why.
            let _ = shard.send(Told::Map(Arc::clone(&map))).await;
        }
    }
}

/// Says what happens, a line of JSON each.
async fn report(mut happened: mpsc::Receiver<Event>) {
    while let Some(event) = happened.recv().await {
        let Event::Synced {
            disk,
            bucket,
            since,
        } = event;
        let disk = disk.to_string();
        let line = serde_json::json!({"synced": {"disk": disk, "bucket": bucket, "since": since}});
        println!("{line}");
    }
}

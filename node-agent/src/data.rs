//! The data plane of the agent: serves the bucket replicas of its disks to engines and other agents.
//!
//! ```text
//!  listener ── handshake ──> the thread of the shard that is asked for
//!  maps ───────────────────> every shard of the pool
//!  shards ──── events ─────> whoever runs it
//! ```
//!
//! In a cluster `serving` feeds it from the pool's objects. Here it also runs from a map file, without
//! Kubernetes, for tests, benchmarks and first trials: events are then one line each on the standard
//! output.

pub(crate) mod draft;
pub(crate) mod identity;
pub(crate) mod listen;
mod map;
pub(crate) mod open;
mod outgoing;
mod peers;
pub(crate) mod pool_map;
pub(crate) mod served;
mod session;
mod shard;
pub(crate) mod socket;
pub(crate) mod view;

use anyhow::{Context, Result, ensure};
use identity::Identity;
use map::Followed;
use moraine_model::{BucketId, DiskId, Epoch};
use moraine_protocol::MapFile;
use moraine_store::disk::Allocation;
use moraine_tls::TlsFiles;
use open::{NewDisk, OpenDisk};
use served::Served;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What may wait for a shard's thread, and for who reads the events.
pub(crate) const WAITING_MAX: usize = 1024;

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
    /// A shard is not served any more; its view says why.
    Ended,
}

/// Serves until `stop` completes; an error if it can't start, or if no disk is left to serve.
pub(crate) async fn serve(options: Options, stop: impl Future<Output = ()>) -> Result<()> {
    let mut followed = Followed::open(options.map)?;
    let map = Arc::clone(followed.map());
    let identity = Identity::read(&options.secret, &options.node, options.tls)?;
    let identity = Arc::new(identity);
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listening on {}", options.listen))?;
    let (events, happened) = mpsc::channel(WAITING_MAX);
    let served = Arc::new(Served::new(Arc::clone(&identity), events));
    served.follow((*map).clone());
    let buckets = u32::try_from(map.entries.len()).unwrap_or(u32::MAX);
    for (number, path) in options.disks.iter().enumerate() {
        let made = options.create_bytes.map(|bytes| (number, bytes));
        let disk = open_disk(path, &map, options.listen, made)?;
        served.add(&disk, buckets)?;
    }
    println!(
        "{}",
        serde_json::json!({ "listening": listener.local_addr()? })
    );
    let ended = tokio::select! {
        () = stop => Ok(()),
        () = tell_changes(&mut followed, &served) => Ok(()),
        error = report(happened, served.shards()) => Err(error),
        () = listen::accept(listener, identity, Arc::clone(&served)) => Ok(()),
    };
    served.end().await;
    ended
}

/// Opens a disk of this cluster, and makes it first if that is asked for and nothing is there: as
/// the disk that the map has at this place of our address.
fn open_disk(
    path: &Path,
    map: &MapFile,
    address: SocketAddr,
    made: Option<(usize, u64)>,
) -> Result<OpenDisk> {
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
        let new = NewDisk {
            cluster: map.cluster,
            disk: place.id,
            shards: place.shards,
        };
        return open::make(path, bytes, Allocation::Reserved, &new);
    }
    let disk = open::open(path, map.cluster)?;
    let superblock = disk.opened.superblock;
    let Some(place) = map.disk(superblock.disk) else {
        anyhow::bail!(
            "{}: the map doesn't list the disk {}",
            path.display(),
            superblock.disk
        );
    };
    let shards = superblock.layout.shards;
    ensure!(
        place.shards == shards,
        "{}: the map says {} shards, and the disk has {shards}",
        path.display(),
        place.shards
    );
    Ok(disk)
}

async fn tell_changes(followed: &mut Followed, served: &Served) {
    loop {
        served.follow((**followed.changed().await).clone());
    }
}

/// Says what happens, a line of JSON each, until the last shard has ended.
async fn report(mut happened: mpsc::Receiver<Event>, shards: usize) -> anyhow::Error {
    let mut left = shards;
    while left > 0
        && let Some(event) = happened.recv().await
    {
        match event {
            Event::Synced {
                disk,
                bucket,
                since,
            } => {
                let disk = disk.to_string();
                let line =
                    serde_json::json!({"synced": {"disk": disk, "bucket": bucket, "since": since}});
                println!("{line}");
            }
            Event::Ended => left -= 1,
        }
    }
    anyhow::anyhow!("no disk is left to serve: the lines above say why")
}

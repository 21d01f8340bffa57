//! The cluster as tests see it: a map that can be changed, disks that can be killed.

use crate::agent::{Agent, World, blank_disk};
use moraine_engine::shell::{AttachOptions, MapSource, read_secret};
use moraine_engine_bench::trial;
use moraine_model::{ClusterId, DiskId, OutOfRange, Role, VolumeId};
use moraine_protocol::handshake::Secret;
use moraine_protocol::{DiskPlace, MapFile};
use moraine_store::disk::MemoryDisk;
use moraine_tls::authority::{Authority, Kind};
use moraine_tls::{Tls, TlsFiles};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// What all of the cluster know.
pub const SECRET: &[u8] = b"a secret of the tests, long enough";
const CLUSTER: u128 = 0xc1;
/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(20);

/// Agents with a disk each, and the map that says where everything lies.
pub struct Cluster {
    folder: TempDir,
    tls: Option<TlsFiles>,
    world: Rc<World>,
    disks: Vec<MemoryDisk>,
    agents: Vec<Option<Agent>>,
}

impl Cluster {
    /// So many disks of so many shards, and so many buckets with a replica on each disk. To be
    /// called where local tasks can be spawned.
    pub async fn start(disks: u32, shards: u32, buckets: u32) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        Self::start_in(folder, None, (disks, shards, buckets)).await
    }

    /// The same with certificates of an authority on all sides.
    pub async fn start_with_tls(authority: &Authority, sizes: (u32, u32, u32)) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let tls = folder.path().join("tls");
        let files = authority.write(&tls, Kind::Good, &[authority]);
        Self::start_in(folder, Some(files), sizes).await
    }

    async fn start_in(
        folder: TempDir,
        tls: Option<TlsFiles>,
        (disks, shards, buckets): (u32, u32, u32),
    ) -> Self {
        let cluster = ClusterId::new(CLUSTER).expect("not zero");
        let (mut places, mut memories, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=disks {
            let id = DiskId::new(u128::from(number)).expect("not zero");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("it is bound").to_string();
            places.push(DiskPlace {
                id,
                address,
                shards,
            });
            memories.push(blank_disk(cluster, id, shards));
            listeners.push(listener);
        }
        let map = MapFile::spread(cluster, places, buckets, disks as usize);
        let world = World {
            secret: Secret::new(SECRET).expect("it is long enough"),
            tls: tls
                .clone()
                .map(|files| Tls::open(files).expect("they are good")),
            map: RefCell::new(map.expect("a map of few buckets")),
            next_session: Cell::new(1),
            synced: RefCell::default(),
        };
        let world = Rc::new(world);
        let agents = memories.iter().zip(listeners);
        let agents = agents.map(|(disk, listener)| Some(Agent::start(&world, disk, listener)));
        let cluster = Self {
            agents: agents.collect(),
            folder,
            tls,
            world,
            disks: memories,
        };
        std::fs::write(cluster.path("secret"), SECRET).expect("the folder is ours");
        cluster.write_map();
        cluster
    }

    /// A file or folder of the cluster's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How to attach a volume; `attach` as in the options, `state` names its folder.
    pub fn options(&self, size_bytes: u64, attach: u32, state: &str) -> AttachOptions {
        let map = MapSource::File(self.path("map.json"));
        let secret = read_secret(&self.path("secret")).expect("it was just written");
        let volume = VolumeId::new(0x70).expect("not zero");
        let state = self.path(state);
        let mut options = AttachOptions::new(map, secret, (volume, size_bytes), attach, state);
        options.tls.clone_from(&self.tls);
        options
    }

    /// The disk by its place in the list.
    pub fn disk(&self, number: usize) -> DiskId {
        self.world.map.borrow().disks[number].id
    }

    /// Where the agent of a disk listens, if it runs.
    pub fn address(&self, number: usize) -> String {
        self.world.map.borrow().disks[number].address.clone()
    }

    /// Kills the agent of a disk: what it hadn't answered is never answered.
    pub fn kill(&mut self, number: usize) {
        self.agents[number] = None;
    }

    /// Starts a killed agent again, with what its disk holds.
    pub async fn restart(&mut self, number: usize) {
        let address = self.address(number);
        let listener = loop {
            match TcpListener::bind(&address).await {
                Ok(listener) => break listener,
                // The kernel gives it back when the last connection is closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let agent = Agent::start(&self.world, &self.disks[number], listener);
        self.agents[number] = Some(agent);
    }

    /// Cuts all connections of an agent.
    pub fn cut_connections(&self, number: usize) {
        if let Some(agent) = &self.agents[number] {
            agent.cut_connections();
        }
    }

    /// Takes a disk out of every bucket.
    pub fn drop_disk(&self, number: usize) {
        self.change(number, trial::drop_disk);
    }

    /// Lists a disk as syncing wherever it isn't listed.
    pub fn list_disk(&self, number: usize) {
        self.change(number, trial::list_disk);
    }

    /// Makes a syncing disk in sync, once it says of each bucket that its copy is whole.
    pub async fn promote_disk(&self, number: usize) {
        let disk = self.disk(number);
        let waited = tokio::time::timeout(LIMIT, async {
            while !self.is_synced(disk) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("a copy ends");
        self.change(number, trial::promote_disk);
    }

    fn is_synced(&self, disk: DiskId) -> bool {
        let (map, synced) = (self.world.map.borrow(), self.world.synced.borrow());
        map.entries.iter().all(|entry| {
            entry.on(disk).is_none_or(|listing| {
                let whole = (disk, entry.bucket().get(), listing.since.0);
                listing.role == Role::InSync || synced.contains(&whole)
            })
        })
    }

    /// Changes the map, for agents and engines.
    fn change(
        &self,
        number: usize,
        change: impl Fn(&mut MapFile, DiskId) -> Result<(), OutOfRange>,
    ) {
        let disk = self.disk(number);
        change(&mut self.world.map.borrow_mut(), disk).expect("a replica in sync is left");
        self.write_map();
        self.agents.iter().flatten().for_each(Agent::learn);
    }

    fn write_map(&self) {
        let map = self.world.map.borrow();
        trial::write(&self.path("map.json"), &map).expect("the folder is ours");
    }
}

//! The disks of a node with pools that a test makes up in place of the API server: files of its own, served over
//! loopback.

use super::maps::map_file;
use super::sample::{feeding, listed, map};
use super::*;
use crate::data::listen;
use crate::data::open::NewDisk;
use crate::devices::{Content, DeviceNumber, Facts, Found, Take};
use crate::observe::Wanted;
use crate::scan::look;
use k8s_openapi::jiff::Timestamp;
use moraine_crds::{Answer, BucketPlace, DiskStatus, Move, MoveStep, StoragePool};
use moraine_protocol::MapFile;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const BYTES: u64 = 256 << 20;
const BUCKETS: u32 = 4;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn pool_id() -> ClusterId {
    ClusterId::new(7).unwrap()
}

fn wants_file(bytes: u64) -> Wanted {
    Wanted {
        pool: "a".to_owned(),
        id: Some(pool_id()),
        paths: Vec::new(),
        wipe: false,
        file_bytes: Some(bytes),
    }
}

/// A node's disks, and what opens the door to them.
struct Node {
    serving: Arc<Serving>,
    happened: mpsc::Receiver<Event>,
    identity: Arc<Identity>,
    address: String,
    door: JoinHandle<()>,
    pools: BTreeMap<String, StoragePool>,
}

impl Node {
    async fn start(folder: &Path) -> Self {
        let (serving, happened) = feeding(folder);
        serving.restore().unwrap();
        let serving = Arc::new(serving);
        let identity = Identity::read(&folder.join("secret"), "node", None).unwrap();
        let identity = Arc::new(identity);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accept = listen::accept(listener, Arc::clone(&identity), Arc::clone(&serving.served));
        Self {
            serving,
            happened,
            identity,
            address,
            door: tokio::spawn(accept),
            pools: BTreeMap::new(),
        }
    }

    async fn end(self) {
        self.door.abort();
        self.serving.end().await;
    }

    async fn told(&self, maps: &[BucketMap]) {
        for ending in self.serving.take_maps(maps, |_| false) {
            ending.wait().await;
        }
    }

    async fn look(&self, wanted: Vec<Wanted>) {
        let serving = Arc::clone(&self.serving);
        let look = move || look(None, &serving, wanted, BTreeSet::new());
        let looked = tokio::task::spawn_blocking(look).await.unwrap();
        assert_eq!(looked.devices, [], "nothing was refused");
    }

    /// What is said, when it is what the test waits for.
    async fn said(&mut self, is_it: impl Fn(&[DiskStatus]) -> bool) -> Vec<DiskStatus> {
        loop {
            while let Ok(event) = self.happened.try_recv() {
                self.serving.hear(&event);
            }
            let now = Timestamp::from_second(100).unwrap();
            if let Some(said) = self.serving.said(&self.pools, now)
                && is_it(&said.disks)
            {
                return said.disks;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The one disk of the node, served.
    async fn one(&mut self) -> DiskStatus {
        let is_healthy =
            |disks: &[DiskStatus]| disks.len() == 1 && disks[0].health == DiskHealth::Healthy;
        self.said(is_healthy).await.remove(0)
    }

    /// The one disk that it gets for a pool that is new.
    async fn first(&mut self) -> DiskStatus {
        self.told(&[without_disks()]).await;
        self.look(vec![wants_file(BYTES)]).await;
        self.one().await
    }

    /// Whether somebody may talk to a disk as one of a pool.
    async fn calls(&self, pool: ClusterId, disk: &str) -> Result<()> {
        let stream = TcpStream::connect(&self.address).await?;
        let shard = (disk.parse()?, 0);
        self.identity.introduce(stream, pool, shard).await?;
        Ok(())
    }
}

fn without_disks() -> BucketMap {
    let mut map = map(0, BUCKETS, |_| listed(&[0], &[]));
    map.status = None;
    map
}

/// A map with these disks in place of the sample's.
fn map_of(
    epoch: u64,
    disks: &[(&DiskStatus, &Node)],
    place: impl Fn(u32) -> BucketPlace,
) -> BucketMap {
    let mut map = map(epoch, BUCKETS, place);
    let entries = &mut map.status.as_mut().unwrap().disks;
    entries.truncate(disks.len());
    for (entry, (disk, node)) in entries.iter_mut().zip(disks) {
        entry.id.clone_from(&disk.id);
        entry.addresses = vec![node.address.clone()];
    }
    map
}

#[tokio::test]
async fn a_file_is_made_and_served_and_is_again_after_a_restart_with_the_api_server_away() {
    let folder = folder();
    let mut node = Node::start(folder.path()).await;
    let disk = node.first().await;
    assert_eq!((disk.pool.as_str(), disk.shards, disk.epoch), ("a", 1, 0));
    assert!(disk.size_bytes > BYTES / 2 && disk.size_bytes <= BYTES);
    assert!(disk.used_bytes < disk.size_bytes / 4);
    assert_eq!(disk.message, None);
    node.calls(pool_id(), &disk.id).await.unwrap();
    let map = map_of(5, &[(&disk, &node)], |_| listed(&[0], &[]));
    node.told(std::slice::from_ref(&map)).await;
    node.said(|disks| disks[0].epoch == 5).await;
    node.end().await;

    let mut node = Node::start(folder.path()).await;
    let again = node.said(|disks| disks[0].epoch == 5).await.remove(0);
    assert_eq!((&again.id, &again.path), (&disk.id, &disk.path));
    node.calls(pool_id(), &disk.id).await.unwrap();
    node.look(vec![wants_file(BYTES)]).await;
    assert_eq!(node.one().await.id, disk.id, "it is not made twice");
    node.end().await;
}

#[tokio::test]
async fn who_asks_for_another_pool_or_a_disk_of_another_is_turned_away() {
    let folder = folder();
    let mut node = Node::start(folder.path()).await;
    let disk = node.first().await;
    let other = ClusterId::new(8).unwrap();
    let error = node.calls(other, &disk.id).await.unwrap_err().to_string();
    assert!(error.contains("cluster"), "{error}");
    // The same when the node knows that pool, but the disk is none of it.
    let mut of_other = without_disks();
    (of_other.spec.pool, of_other.spec.pool_id) = ("b".to_owned(), other.to_string());
    node.told(&[without_disks(), of_other]).await;
    let error = node.calls(other, &disk.id).await.unwrap_err().to_string();
    assert!(error.contains("disk"), "{error}");
    node.calls(pool_id(), &disk.id).await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn an_offer_is_accepted_while_there_is_room_and_refused_without() {
    let folder = folder();
    let mut node = Node::start(folder.path()).await;
    let disk = node.first().await;
    let other = DiskStatus {
        id: format!("{:032x}", 99),
        ..disk.clone()
    };
    let offering = |epoch| {
        map_of(epoch, &[(&disk, &node), (&other, &node)], |bucket| {
            let mut place = listed(&[1], &[]);
            place.moving = (bucket == 2).then_some(Move {
                to: 0,
                from: Some(1),
                step: MoveStep::Offered,
                since: epoch,
            });
            place
        })
    };
    let (first, second) = (offering(5), offering(6));
    node.told(&[first]).await;
    let said = node.said(|disks| !disks[0].reports.is_empty()).await;
    let report = &said[0].reports[0];
    assert_eq!((report.bucket, report.epoch), (2, 5));
    assert_eq!(report.answer, Answer::Accepted);
    // Of a pool whose disks are nearly full from their first percent on.
    let pool = serde_json::json!({
        "metadata": {"name": "a"},
        "spec": {
            "devices": {"file": {"size": "1Gi"}},
            "fullRatios": {"nearFullPercent": 1, "fullPercent": 2},
        },
    });
    let pool: StoragePool = serde_json::from_value(pool).unwrap();
    node.pools = [("a".to_owned(), pool)].into();
    node.told(&[second]).await;
    let said = node.said(|disks| disks[0].reports[0].epoch == 6).await;
    assert_eq!(said[0].reports[0].answer, Answer::Refused);
    node.end().await;
}

#[tokio::test]
async fn a_copy_that_is_whole_is_said_until_the_map_says_so() {
    let folders = [folder(), folder()];
    let mut source = Node::start(folders[0].path()).await;
    let mut target = Node::start(folders[1].path()).await;
    let disks = [source.first().await, target.first().await];
    let map = |epoch, place: &dyn Fn(u32) -> BucketPlace| {
        map_of(epoch, &[(&disks[0], &source), (&disks[1], &target)], place)
    };
    let maps = [
        map(1, &|_| listed(&[0], &[])),
        map(2, &|_| listed(&[0], &[1])),
        map(3, &|_| listed(&[0, 1], &[])),
    ];
    for map in &maps[..2] {
        source.told(std::slice::from_ref(map)).await;
        target.told(std::slice::from_ref(map)).await;
    }
    let all = |disks: &[DiskStatus]| disks[0].reports.len() == BUCKETS as usize;
    let said = target.said(all).await;
    for report in &said[0].reports {
        assert_eq!((report.answer, report.epoch), (Answer::Synced, 2));
    }
    target.told(&maps[2..]).await;
    target
        .said(|disks| disks[0].reports.is_empty() && disks[0].epoch == 3)
        .await;
    target.end().await;
    source.end().await;
}

#[tokio::test]
async fn an_older_map_is_not_taken_and_the_newest_is_what_a_restart_finds() {
    let folder = folder();
    let mut node = Node::start(folder.path()).await;
    let disk = node.first().await;
    let at = |epoch| map_of(epoch, &[(&disk, &node)], |_| listed(&[0], &[]));
    let (newer, older) = (at(6), at(5));
    node.told(std::slice::from_ref(&newer)).await;
    node.told(std::slice::from_ref(&older)).await;
    let kept = node.serving.kept.clone();
    assert_eq!(kept.maps().unwrap(), std::slice::from_ref(&newer));
    node.end().await;
    let node = Node::start(folder.path()).await;
    node.told(&[older]).await;
    assert_eq!(kept.maps().unwrap(), [newer]);
    node.end().await;
}

#[tokio::test]
async fn the_disks_of_a_pool_that_is_gone_are_closed_and_left_as_they_are() {
    let folder = folder();
    let mut node = Node::start(folder.path()).await;
    let disk = node.first().await;
    let map = map_of(5, &[(&disk, &node)], |_| listed(&[0], &[]));
    node.told(std::slice::from_ref(&map)).await;
    node.said(|disks| disks[0].epoch == 5).await;
    let not_understood = node.serving.take_maps(&[], |name| name == "a");
    assert!(not_understood.is_empty(), "it may be there all the same");
    node.one().await;
    node.told(&[]).await;
    node.said(<[DiskStatus]>::is_empty).await;
    assert!(node.calls(pool_id(), &disk.id).await.is_err());
    node.end().await;

    let mut node = Node::start(folder.path()).await;
    node.said(<[DiskStatus]>::is_empty).await;
    node.told(&[map]).await;
    node.look(vec![wants_file(BYTES)]).await;
    let again = node.one().await;
    assert_eq!(again.id, disk.id, "it is opened, not formatted");
    node.said(|disks| disks[0].epoch == 5).await;
    node.end().await;
}

#[tokio::test]
async fn a_disk_that_is_gone_is_missing_until_it_is_evicted() {
    let folder = folder();
    let mut node = Node::start(folder.path()).await;
    let disk = node.first().await;
    std::fs::rename(&disk.path, folder.path().join("elsewhere")).unwrap();
    let wanted = || vec![wants_file(BYTES)];
    node.look(wanted()).await;
    let is_missing = |disks: &[DiskStatus]| disks[0].health == DiskHealth::Missing;
    let said = node.said(is_missing).await;
    let message = said[0].message.as_deref().unwrap();
    assert!(message.contains("is not there (since 1970"), "{message}");
    assert_eq!(said.len(), 1, "no other is made in its place");
    // It comes back.
    std::fs::rename(folder.path().join("elsewhere"), &disk.path).unwrap();
    node.look(wanted()).await;
    assert_eq!(node.one().await.id, disk.id);
    node.calls(pool_id(), &disk.id).await.unwrap();
    // What is there is not forgotten, whatever the operator says.
    node.serving.forget_evicted(std::slice::from_ref(&disk.id));
    assert_eq!(node.one().await.id, disk.id);
    std::fs::remove_file(&disk.path).unwrap();
    node.look(wanted()).await;
    node.said(is_missing).await;
    node.serving.forget_evicted(std::slice::from_ref(&disk.id));
    node.look(wanted()).await;
    assert_ne!(node.one().await.id, disk.id);
    node.end().await;
}

#[tokio::test]
async fn a_pool_that_wants_a_larger_file_is_told_that_it_does_not_grow() {
    let folder = folder();
    let mut node = Node::start(folder.path()).await;
    let disk = node.first().await;
    node.look(vec![wants_file(2 * BYTES)]).await;
    let said = node.said(|disks| disks[0].message.is_some()).await;
    assert_eq!(said[0].size_bytes, disk.size_bytes);
    assert_eq!(said[0].health, DiskHealth::Healthy);
    let message = said[0].message.as_deref().unwrap();
    assert!(message.contains("512.0Mi"), "{message}");
    node.end().await;
}

fn found(path: &Path) -> Found {
    Found {
        path: path.to_string_lossy().into_owned(),
        node: path.to_owned(),
        number: Some(DeviceNumber { major: 8, minor: 0 }),
        exists: true,
    }
}

fn facts() -> Facts {
    Facts {
        size_bytes: BYTES,
        read_only: false,
        removable: false,
        zoned: false,
        used: None,
        partitions: Vec::new(),
        content: Content::Blank,
        model: Some("M".to_owned()),
        serial: Some("S".to_owned()),
    }
}

#[tokio::test]
async fn a_device_is_formatted_only_if_it_is_blank_and_opened_only_by_its_own_pool() {
    let folder = folder();
    let mut node = Node::start(folder.path()).await;
    node.told(&[without_disks()]).await;
    let path = folder.path().join("device");
    let pool = ClaimingPool {
        name: "a".to_owned(),
        id: pool_id(),
    };
    let (found, facts) = (found(&path), facts());
    let claim = |take| {
        let claim = DeviceClaim {
            found: &found,
            facts: &facts,
            take,
        };
        node.serving.claim_device(&pool, &claim)
    };
    // Somebody wrote to it after it was judged.
    std::fs::write(&path, "data").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(BYTES).unwrap();
    let error = format!("{:#}", claim(Take::Format { wipe: false }).unwrap_err());
    assert!(error.contains("unknown kind"), "{error}");
    assert!(std::fs::read(&path).unwrap().starts_with(b"data"));
    // Another pool's disk.
    std::fs::remove_file(&path).unwrap();
    let theirs = NewDisk {
        cluster: ClusterId::new(8).unwrap(),
        disk: DiskId::new(80).unwrap(),
        shards: 1,
    };
    let sparse = moraine_store::disk::Allocation::Sparse;
    drop(open::make(&path, BYTES, sparse, &theirs).unwrap());
    let before = std::fs::read(&path).unwrap();
    for take in [Take::Open(theirs.disk), Take::Format { wipe: false }] {
        let error = format!("{:#}", claim(take).unwrap_err());
        assert!(
            error.contains("belongs to cluster") || error.contains("a Moraine store"),
            "{error}"
        );
    }
    assert!(std::fs::read(&path).unwrap() == before);
    // Given up.
    claim(Take::Format { wipe: true }).unwrap();
    let disk = node.one().await;
    assert_ne!(disk.id, theirs.disk.to_string());
    assert_eq!(disk.model.as_deref(), Some("M"));
    node.end().await;
}

#[test]
fn a_map_goes_to_the_disks_that_come_later_too() {
    // What `Served` is told before it has any disk must not be lost; the rest of it is tested above.
    let folder = folder();
    let (serving, _happened) = feeding(folder.path());
    let map = map(5, BUCKETS, |_| listed(&[0], &[]));
    assert!(
        serving
            .take_maps(std::slice::from_ref(&map), |_| false)
            .is_empty()
    );
    assert_eq!(serving.pools(), [pool_id()].into());
    assert_eq!(serving.buckets(pool_id()), Some(BUCKETS));
    let file: MapFile = map_file(&map).unwrap();
    assert_eq!(file.entries.len(), BUCKETS as usize);
}

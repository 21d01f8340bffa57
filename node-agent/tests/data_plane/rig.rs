//! Agents as processes, their disks and their map, in a folder that goes with the test.

use moraine_model::{BucketEntry, BucketId, ClusterId, DiskId, Epoch, Listing, Role};
use moraine_protocol::{DiskPlace, MapFile};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::TempDir;

pub(crate) const SECRET: &[u8; 32] = b"a secret that this test has made";
const DISK_BYTES: u64 = 256 << 20;

pub(crate) struct Rig {
    folder: TempDir,
    pub(crate) map: MapFile,
}

/// An agent that runs until it is dropped.
pub(crate) struct Agent {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Rig {
    /// Disks with agents to be, on addresses of this process alone: all of 127/8 is loopback.
    pub(crate) fn new(agents: u8, buckets: u32) -> Self {
        static RIGS: AtomicU8 = AtomicU8::new(0);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let rig = RIGS.fetch_add(1, Ordering::Relaxed);
        let disk = |number: u8| DiskPlace {
            id: DiskId::new(u128::from(number) + 1).unwrap(),
            address: format!(
                "127.{}.{high}.{low}:{}",
                100 + rig,
                7700 + u16::from(number)
            ),
            shards: 1,
        };
        let cluster = ClusterId::new(77).unwrap();
        let disks = (0..agents).map(disk).collect();
        let map = MapFile::spread(cluster, disks, buckets, usize::from(agents)).unwrap();
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let rig = Self { folder, map };
        rig.save();
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn save(&self) {
        std::fs::write(self.path("map.new"), self.map.to_text()).unwrap();
        std::fs::rename(self.path("map.new"), self.path("map")).unwrap();
    }

    /// Changes the entries of all buckets.
    pub(crate) fn list(&mut self, epoch: u64, listed: &[(usize, Role, u64)]) {
        let listings: Vec<_> = listed
            .iter()
            .map(|&(disk, role, since)| Listing {
                disk: self.map.disks[disk].id,
                role,
                since: Epoch(since),
            })
            .collect();
        for (bucket, entry) in (0..).zip(&mut self.map.entries) {
            let bucket = BucketId::new(bucket).unwrap();
            *entry = BucketEntry::new(bucket, Epoch(epoch), listings.clone()).unwrap();
        }
        self.save();
    }

    pub(crate) fn address(&self, agent: usize) -> &str {
        &self.map.disks[agent].address
    }

    /// Starts an agent, and waits until it listens.
    pub(crate) fn start(&self, agent: usize) -> Agent {
        let mut child = Command::new(env!("CARGO_BIN_EXE_moraine-agent"))
            .args(["serve", "--node", &format!("n{agent}")])
            .args(["--listen", self.address(agent)])
            .args(["--create", &DISK_BYTES.to_string()])
            .arg("--map")
            .arg(self.path("map"))
            .arg("--secret-file")
            .arg(self.path("secret"))
            .arg("--disk")
            .arg(self.path(&format!("disk{agent}")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut agent = Agent { child, said };
        assert!(agent.next_line().get("listening").is_some());
        agent
    }
}

impl Agent {
    fn next_line(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the agent has ended");
        serde_json::from_str(&line).unwrap()
    }

    /// The next bucket whose copy is said to be whole, and its listing; what was said before, once.
    pub(crate) fn next_synced(&mut self) -> (u32, u64) {
        let line = self.next_line();
        let synced = &line["synced"];
        let number = |name: &str| synced[name].as_u64().unwrap();
        (u32::try_from(number("bucket")).unwrap(), number("since"))
    }

    /// Power off, as far as a process can see.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

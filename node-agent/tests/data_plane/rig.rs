//! Agents as processes, their disks and their map, in a folder that goes with the test.

use moraine_model::{BucketEntry, BucketId, ClusterId, DiskId, Epoch, Listing, Role};
use moraine_protocol::{DiskPlace, MapFile};
use moraine_tls::TlsFiles;
use moraine_tls::authority::{Authority, Kind};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const SECRET: &[u8; 32] = b"a secret that this test has made";
const DISK_BYTES: u64 = 256 << 20;

pub(crate) struct Rig {
    folder: TempDir,
    pub(crate) map: MapFile,
    /// Whoever has made the certificates, if there are any.
    authority: Option<Authority>,
}

/// An agent that runs until it is dropped.
pub(crate) struct Agent {
    child: Child,
    said: BufReader<ChildStdout>,
    log: PathBuf,
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
        let authority = None;
        let rig = Self {
            folder,
            map,
            authority,
        };
        rig.save();
        rig
    }

    /// The same with a certificate that all of it have.
    pub(crate) fn with_tls(mut self) -> Self {
        let authority = Authority::new("ours");
        authority.write(&self.tls_folder(), Kind::Good, &[&authority]);
        self.authority = Some(authority);
        self
    }

    /// Whoever has made the certificates.
    pub(crate) fn authority(&self) -> &Authority {
        self.authority.as_ref().unwrap()
    }

    pub(crate) fn tls_folder(&self) -> PathBuf {
        self.path("tls")
    }

    pub(crate) fn tls_files(&self) -> Option<TlsFiles> {
        let file = |name| self.tls_folder().join(name);
        self.authority.as_ref().map(|_| TlsFiles {
            certificate: file("tls.crt"),
            key: file("tls.key"),
            authorities: file("ca.crt"),
        })
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

    /// An agent without certificates, to be started.
    pub(crate) fn command(&self, agent: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moraine-agent"));
        command
            .args(["serve", "--node", &format!("n{agent}")])
            .args(["--listen", self.address(agent)])
            .args(["--create", &DISK_BYTES.to_string()])
            .arg("--map")
            .arg(self.path("map"))
            .arg("--secret-file")
            .arg(self.path("secret"))
            .arg("--disk")
            .arg(self.path(&format!("disk{agent}")));
        command
    }

    /// Starts an agent, and waits until it listens.
    pub(crate) fn start(&self, agent: usize) -> Agent {
        let mut command = self.command(agent);
        if let Some(files) = self.tls_files() {
            command.arg("--tls-cert").arg(files.certificate);
            command.arg("--tls-key").arg(files.key);
            command.arg("--tls-ca").arg(files.authorities);
        }
        self.run(agent, &mut command)
    }

    /// Starts an agent without its certificates.
    pub(crate) fn start_plain(&self, agent: usize) -> Agent {
        self.run(agent, &mut self.command(agent))
    }

    fn run(&self, agent: usize, command: &mut Command) -> Agent {
        wait_until_unlocked(&self.path(&format!("disk{agent}")));
        let log = self.path(&format!("log{agent}"));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut agent = Agent { child, said, log };
        assert!(agent.next_line().get("listening").is_some());
        agent
    }
}

/// The kernel takes a killed process's rings apart after it is gone, and holds their files until then.
fn wait_until_unlocked(disk: &Path) {
    let Ok(disk) = File::open(disk) else {
        return;
    };
    rustix::fs::flock(&disk, FlockOperation::LockExclusive).unwrap();
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

    /// Waits until a line of the log has all these words.
    pub(crate) fn wait_for_log(&self, words: &[&str]) {
        let has_all = |line: &str| words.iter().all(|word| line.contains(word));
        while !self.log().lines().any(has_all) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
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
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
    }
}

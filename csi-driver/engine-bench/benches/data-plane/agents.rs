//! Three agents as processes of their own, with a disk each in one folder, and a volume attached by
//! the engine's shell in this process.

use moraine_engine::shell::{AttachOptions, Attachment, MapSource, read_secret};
use moraine_engine_bench::trial;
use moraine_model::{ClusterId, DiskId, OutOfRange, VolumeId};
use moraine_protocol::{DiskPlace, MapFile};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const REPLICAS: usize = 3;
const BUCKETS: u32 = 64;
/// How long an agent may take to open its disk, and a copy to end.
const LIMIT: Duration = Duration::from_mins(3);
const MIB: usize = 1 << 20;

/// The agents.
pub(crate) struct Agents {
    folder: TempDir,
    pub(crate) map: MapFile,
    running: Vec<Option<Running>>,
    disk_bytes: u64,
}

struct Running {
    process: Child,
    lines: Receiver<Value>,
}

impl Agents {
    /// Starts them on new disks in a folder of their own below `parent`.
    pub(crate) fn start(parent: &Path, disk_bytes: u64) -> Self {
        let disks = (1..=REPLICAS).map(|number| {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            DiskPlace {
                id: DiskId::new(number as u128).expect("not zero"),
                address: free.local_addr().expect("it is bound").to_string(),
                shards: 1,
            }
        });
        let cluster = ClusterId::new(1).expect("not zero");
        let map = MapFile::spread(cluster, disks.collect(), BUCKETS, REPLICAS);
        let mut agents = Self {
            folder: tempfile::tempdir_in(parent).expect("a folder for disks"),
            map: map.expect("a small map"),
            running: (0..REPLICAS).map(|_| None).collect(),
            disk_bytes,
        };
        fs::write(agents.path("secret"), [b's'; 40]).expect("the folder is ours");
        agents.write_map();
        (0..REPLICAS).for_each(|number| agents.run(number));
        agents
    }

    /// Writes every block of the disks once, as they are: a file system notes the first write of
    /// each block, which would be measured as the store's.
    pub(crate) fn touch_disks(&mut self) {
        for number in 0..REPLICAS {
            self.kill(number);
            let path = self.disk_path(number);
            let file = File::options().read(true).write(true).open(path);
            let file = file.expect("the agent made it");
            let mut buffer = vec![0; MIB];
            for part in 0..self.disk_bytes / MIB as u64 {
                let at = part * MIB as u64;
                file.read_exact_at(&mut buffer, at).expect("it is there");
                file.write_all_at(&buffer, at).expect("it has its room");
            }
            file.sync_all().expect("the disk takes it");
            self.run(number);
        }
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn disk_path(&self, number: usize) -> PathBuf {
        self.path(&format!("disk-{number}"))
    }

    /// The processes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let running = self.running.iter().flatten();
        running.map(|running| running.process.id()).collect()
    }

    /// The process of a disk.
    pub(crate) fn pid(&self, number: usize) -> u32 {
        let running = self.running[number].as_ref();
        running.expect("it runs").process.id()
    }

    /// Starts the agent of a disk and waits until it listens.
    pub(crate) fn run(&mut self, number: usize) {
        let log = File::create(self.path(&format!("agent-{number}.log")));
        let mut process = Command::new(program())
            .arg("serve")
            .arg("--map")
            .arg(self.path("map.json"))
            .arg("--secret-file")
            .arg(self.path("secret"))
            .arg(format!("--node=node-{number}"))
            .arg(format!("--listen={}", self.map.disks[number].address))
            .arg("--disk")
            .arg(self.disk_path(number))
            .arg(format!("--create={}", self.disk_bytes))
            .stdout(Stdio::piped())
            .stderr(log.expect("the folder is ours"))
            .spawn()
            .expect("the agent was built");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("the agent prints JSON");
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        self.running[number] = Some(Running { process, lines });
        self.wait_for(number, |line| line.get("listening").is_some());
    }

    /// Waits for a line of an agent.
    fn wait_for(&mut self, number: usize, wanted: impl Fn(&Value) -> bool) {
        let log = self.path(&format!("agent-{number}.log"));
        let running = self.running[number].as_mut().expect("it runs");
        loop {
            let Ok(line) = running.lines.recv_timeout(LIMIT) else {
                let ended = running.process.try_wait();
                let log = fs::read_to_string(&log).unwrap_or_default();
                unreachable!("the agent says nothing more; ended: {ended:?}; its log: {log}");
            };
            if wanted(&line) {
                return;
            }
        }
    }

    /// Waits until an agent has said of every bucket that its copy is whole.
    pub(crate) fn wait_for_copies(&mut self, number: usize) {
        let copied = std::cell::RefCell::new(std::collections::BTreeSet::new());
        self.wait_for(number, |line| {
            let mut copied = copied.borrow_mut();
            copied.extend(line["synced"]["bucket"].as_u64());
            copied.len() == BUCKETS as usize
        });
    }

    /// Kills the agent of a disk, without a chance to finish anything.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut running) = self.running[number].take() {
            running.process.kill().expect("the process is ours");
            running.process.wait().expect("the process is ours");
        }
    }

    /// Kills the agent of a disk and doesn't wait for its end.
    pub(crate) fn kill_at_once(&mut self, number: usize) {
        let mut running = self.running[number].take().expect("it runs");
        running.process.kill().expect("the process is ours");
        thread::spawn(move || running.process.wait());
    }

    /// Changes what the map says of a disk.
    pub(crate) fn change(
        &mut self,
        number: usize,
        change: impl Fn(&mut MapFile, DiskId) -> Result<(), OutOfRange>,
    ) {
        let disk = self.map.disks[number].id;
        change(&mut self.map, disk).expect("a replica in sync is left");
        self.write_map();
    }

    fn write_map(&self) {
        trial::write(&self.path("map.json"), &self.map).expect("the folder is ours");
    }

    /// Attaches a new volume, whose number is its state's and id.
    pub(crate) async fn attach(&self, number: u128, size_bytes: u64) -> Attachment {
        let map = MapSource::File(self.path("map.json"));
        let secret = read_secret(&self.path("secret")).expect("it is there");
        let volume = VolumeId::new(number).expect("not zero");
        let state = self.path(&format!("engine-{number}"));
        let options = AttachOptions::new(map, secret, (volume, size_bytes), 1, state);
        let attachment = options.open().expect("it can be attached");
        attachment.attached().await.expect("the agents run");
        attachment
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        (0..REPLICAS).for_each(|number| self.kill(number));
    }
}

/// Where cargo puts the programs of the same build.
fn program() -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    let target = this
        .ancestors()
        .nth(2)
        .expect("it lies in a folder of cargo's");
    target.join("moraine-agent")
}

/// Builds the agent as it is measured.
pub(crate) fn build() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "moraine-agent",
        ])
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "building the agent"
    );
    assert!(program().exists(), "{} is missing", program().display());
}

//! A load on a volume of a pool from outside of the cluster: `moraine-engine-bench`, which checks every
//! read against what it wrote, and follows the pool's map as an engine in the cluster would.

use crate::command::kubeconfig;
use crate::{chart, kubectl};
use anyhow::{Context, Result, bail};
use moraine_crds::BucketMap;
use moraine_protocol::{DiskPlace, MapFile};
use serde_json::{Deserializer, Value};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// The Secret that the chart makes, and its field.
const SECRET: (&str, &str) = ("moraine-data-plane", "secret");

/// A load that runs. Dropped, it is ended.
pub struct Load {
    bench: Child,
    watch: Child,
    follower: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Load {
    /// Begins to write and read a volume of 256 MiB of a pool that is ready, for so many seconds.
    pub fn start(pool: &str, seconds: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let map = folder.path().join("map");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, read_secret()?)?;
        let first: BucketMap = serde_json::from_value(kubectl(["get", "bucketmap", pool]).json()?)?;
        write(&map, &first)?;
        let mut watch = Command::new("kubectl")
            .args(["get", "bucketmap", pool, "--watch", "-o", "json"])
            .env("KUBECONFIG", kubeconfig()?)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("watching the map")?;
        let news = watch.stdout.take().context("standard output is piped")?;
        let follower = std::thread::spawn(move || {
            let maps = Deserializer::from_reader(news).into_iter::<BucketMap>();
            for map_object in maps.map_while(Result::ok) {
                if let Err(error) = write(&map, &map_object) {
                    eprintln!("the load doesn't get the newest map: {error:#}");
                }
            }
        });
        let program = std::env::var_os("MORAINE_ENGINE_BENCH")
            .context("MORAINE_ENGINE_BENCH isn't set: `cargo xtask test` builds that program")?;
        let bench = Command::new(program)
            .args([
                "bench",
                "--rw=mixed",
                "--iodepth=8",
                "--rate=400",
                "--verify",
                "--json",
            ])
            .args(["--size=256M", "--attach-limit=60", "--volume=e2e"])
            .arg(format!("--runtime={seconds}"))
            .arg("--map")
            .arg(folder.path().join("map"))
            .arg("--secret-file")
            .arg(secret)
            .arg("--state")
            .arg(folder.path().join("state"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting the load")?;
        Ok(Self {
            bench,
            watch,
            follower: Some(follower),
            _folder: folder,
        })
    }

    /// Whether it still runs; an error if it ended badly.
    pub fn check(&mut self) -> Result<()> {
        match self.bench.try_wait()? {
            Some(status) if !status.success() => bail!("{}", self.said("the load failed")),
            _ => Ok(()),
        }
    }

    /// Waits for its end, and gives its figures; fails if a request failed or data was not as
    /// written.
    pub fn finish(mut self) -> Result<Value> {
        let mut figures = String::new();
        if let Some(mut stdout) = self.bench.stdout.take() {
            stdout.read_to_string(&mut figures)?;
        }
        if !self.bench.wait()?.success() {
            bail!("{}: {figures}", self.said("the load failed"));
        }
        serde_json::from_str(&figures).with_context(|| format!("no figures: {figures}"))
    }

    fn said(&mut self, what: &str) -> String {
        let mut complaints = String::new();
        if let Some(mut stderr) = self.bench.stderr.take() {
            // What can't be read is missing from a message, no more.
            let _ = stderr.read_to_string(&mut complaints);
        }
        format!("{what}: {complaints}")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in [&mut self.bench, &mut self.watch] {
            // One that has ended can't be ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(follower) = self.follower.take() {
            // It ends with its watch; that it panicked was printed.
            let _ = follower.join();
        }
    }
}

fn read_secret() -> Result<String> {
    let place = format!("--namespace={}", chart::NAMESPACE);
    let template = format!("go-template={{{{.data.{} | base64decode}}}}", SECRET.1);
    kubectl(["get", "secret", SECRET.0, &place, "-o", &template]).run()
}

/// Puts a map where the load reads it.
fn write(path: &Path, object: &BucketMap) -> Result<()> {
    let entries = object.entries()?;
    if entries.is_empty() {
        bail!("the pool has no buckets on disks yet");
    }
    let disks = object.status.iter().flat_map(|status| &status.disks);
    let disks = disks.filter_map(|disk| {
        Some(DiskPlace {
            id: disk.id().ok()?,
            address: disk.address()?.to_string(),
            shards: disk.shards,
        })
    });
    let map = MapFile {
        cluster: object.cluster()?,
        disks: disks.collect(),
        entries,
    };
    let new: PathBuf = path.with_extension("new");
    std::fs::write(&new, map.to_text())?;
    std::fs::rename(&new, path)?;
    Ok(())
}

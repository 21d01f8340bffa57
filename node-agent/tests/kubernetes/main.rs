//! The agent as a process with an API server that a test plays: what becomes of a pool on a file, from the first
//! look to a restart without the API server.
// The helpers of tests are outside the functions that clippy takes for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;

use api::Server;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::Duration;
use tempfile::TempDir;

const SECRET: &[u8; 32] = b"a secret that this test has made";
const POOL_ID: &str = "00000000000000000000000000000007";

/// An agent on node `n1`, which is killed with this.
struct Agent {
    child: Child,
    metrics_port: u16,
    health_port: u16,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("[::]:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Agent {
    fn start(folder: &TempDir, api_port: u16) -> Self {
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("secret"), SECRET).unwrap();
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{api_port}")}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        std::fs::write(path("kubeconfig"), config.to_string()).unwrap();
        // All of 127/8 is loopback: an address that no other test has.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let (metrics_port, health_port) = (free_port(), free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_moraine-agent"))
            .args(["run", "--node=n1", "--namespace=ns"])
            .arg(format!("--data-dir={}", path("data").display()))
            .arg(format!("--secret-file={}", path("secret").display()))
            .arg(format!("--data-address=127.99.{high}.{low}"))
            .arg(format!("--metrics-port={metrics_port}"))
            .arg(format!("--health-port={health_port}"))
            .env("KUBECONFIG", path("kubeconfig"))
            .spawn()
            .unwrap();
        Self {
            child,
            metrics_port,
            health_port,
        }
    }

    /// Asks it to stop, and waits until it has; whether it ended as it should.
    fn stop(mut self) -> bool {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().success()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page of the agent, when it is there.
fn page(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Looks until there is something; the limit of the whole test ends it.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn bucket_map(status: Option<Value>) -> Value {
    let mut map = json!({
        "apiVersion": "moraine.io/v1alpha1",
        "kind": "BucketMap",
        "metadata": {"name": "a"},
        "spec": {"pool": "a", "poolId": POOL_ID, "buckets": 2},
    });
    if let Some(status) = status {
        map["status"] = status;
    }
    map
}

/// The map of a pool whose one disk this is, with one bucket listed and one offered.
fn placed(epoch: u64, disk: &Value) -> Value {
    let entry = json!({"epoch": epoch, "inSync": [0], "since": [epoch]});
    let mut offered = json!({"epoch": epoch, "inSync": [1], "since": [epoch]});
    offered["move"] = json!({"to": 0, "from": 1, "step": "Offered", "since": epoch});
    let other = json!({"node": "n2", "id": "99", "shards": 1, "addresses": []});
    let disk = json!({"node": "n1", "id": disk["id"], "shards": 1, "addresses": ["127.0.0.1:1"]});
    bucket_map(Some(json!({
        "epoch": epoch,
        "disks": [disk, other],
        "buckets": [entry, offered],
        "healthy": 0,
        "degraded": 0,
        "moving": 1,
    })))
}

/// The status of the node's one disk, when it is as it should be.
fn disk(server: &Server, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
    let node = server.object("storagenodes", "n1")?;
    let disks = node["status"]["disks"].as_array()?;
    assert!(disks.len() <= 1, "{disks:?}");
    disks.first().filter(|disk| is_it(disk)).cloned()
}

fn populate(server: &Server) {
    server.put(
        "nodes",
        json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}}),
    );
    server.put(
        "storagepools",
        json!({
            "apiVersion": "moraine.io/v1alpha1",
            "kind": "StoragePool",
            "metadata": {"name": "a"},
            "spec": {"devices": {"file": {"size": "1Gi"}}},
        }),
    );
}

/// The disk that the node gets for the pool, once that has a BucketMap.
async fn gets_a_disk(server: &Server, agent: &Agent) -> Value {
    // Without a BucketMap it waits: the pool has no id that a disk could carry.
    until(|| {
        server.object("storagenodes", "n1")?["status"]["conditions"][0]["reason"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    assert_eq!(disk(server, |_| true), None);
    server.put("bucketmaps", bucket_map(None));
    let first = until(|| disk(server, |disk| disk["health"] == "Healthy")).await;
    assert_eq!(
        (&first["pool"], &first["shards"], &first["epoch"]),
        (&json!("a"), &json!(1), &json!(0))
    );
    let path = format!("data/pools/{POOL_ID}/disk");
    assert!(first["path"].as_str().unwrap().ends_with(&path), "{first}");
    let status = server.object("storagenodes", "n1").unwrap()["status"].clone();
    assert!(
        status["addresses"][0].as_str().unwrap().ends_with(":7420"),
        "{status}"
    );
    assert_eq!(status["summary"]["disks"], "1/1");
    until(|| page(agent.health_port, "/readyz").filter(|answer| answer.contains(" 200 "))).await;
    first
}

// On several threads, for the test waits where the server has to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_a_file_gets_a_disk_that_is_told_served_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    populate(&server);
    let agent = Agent::start(&folder, server.port);
    let first = gets_a_disk(&server, &agent).await;
    server.put("bucketmaps", placed(5, &first));
    let told = until(|| {
        disk(&server, |disk| {
            disk["epoch"] == 5 && disk["reports"].is_array()
        })
    })
    .await;
    let accepted = json!([{"bucket": 1, "epoch": 5, "answer": "Accepted"}]);
    assert_eq!(told["reports"], accepted);
    assert_eq!(told["id"], first["id"]);
    let metrics = page(agent.metrics_port, "/metrics").unwrap();
    let id = first["id"].as_str().unwrap();
    let serving = format!("moraine_agent_disk_shards_serving{{disk=\"{id}\",pool=\"a\"}} 1");
    assert!(metrics.contains(&serving), "{metrics}");
    assert!(
        metrics.contains("moraine_agent_disk_requests_total"),
        "{metrics}"
    );

    assert!(agent.stop());
    let beats = server.written("leases/moraine-node-n1");
    assert!(beats[0]["spec"]["holderIdentity"].is_string());
    assert!(
        beats.last().unwrap()["spec"]["holderIdentity"].is_null(),
        "it is given up"
    );
    let statuses = server.written("storagenodes/status");
    for pair in statuses.windows(2) {
        assert_ne!(pair[0], pair[1], "what was said is not said again");
    }

    // Nobody answers at this port, and the disk is served all the same.
    let agent = Agent::start(&folder, free_port());
    until(|| page(agent.metrics_port, "/metrics").filter(|metrics| metrics.contains(&serving)))
        .await;
    assert!(agent.stop());

    // The API server is back, from an older backup: the newer map that was kept counts.
    let server = Server::start().await;
    populate(&server);
    server.put("bucketmaps", placed(4, &first));
    let agent = Agent::start(&folder, server.port);
    let again = until(|| disk(&server, |disk| disk["health"] == "Healthy")).await;
    assert_eq!((&again["id"], &again["epoch"]), (&first["id"], &json!(5)));
    assert_eq!(again["reports"][0]["epoch"], 5);
    assert!(agent.stop());
}

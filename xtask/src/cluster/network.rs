//! The cluster's network: one /16 of its own, a bridge in the control plane's namespace, a veth for each node and
//! one for the host.
//!
//! ```text
//! 10.N.0.1         control plane (the bridge)      10.N.0.2        the host, by the link mrnN
//! 10.N.0.(10+i)    node i                          10.N.(64+i).0/24  pods of node i
//! 10.N.128.0/18    services
//! ```
//!
//! There is no way from the nodes to the world outside: images are imported, nothing is pulled.

mod range;

pub(super) use range::Range;

use super::journal::{Journal, Made};
use super::state::{Node, State};
use crate::lock::{self, Lock};
use crate::places;
use crate::proc::Cmd;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The folder in which `ip netns` looks for namespaces by name.
const NAMED: &str = "/run/netns";
const BRIDGE: &str = "br0";

/// The name of a node's or the control plane's namespace as a file.
pub(super) fn handle(label: &str) -> PathBuf {
    Path::new(NAMED).join(label)
}

/// A range that is ours as soon as it is in use; until then, nobody else chooses one.
pub(super) struct Claim {
    pub(super) range: Range,
    _lock: Lock,
}

/// Finds a range that this machine and no other cluster uses. To be kept until the control plane's network is made.
pub(super) fn claim_range() -> Result<Claim> {
    let lock = lock::wait_for(&places::cache()?.join("locks/ranges"), "chooses a network")?;
    let range = free_range()?;
    Ok(Claim { range, _lock: lock })
}

fn free_range() -> Result<Range> {
    let routes = Cmd::new("ip", "list the routes")
        .args(["-json", "-4", "route", "show", "table", "all"])
        .read()?;
    let addresses = Cmd::new("ip", "list the addresses")
        .args(["-json", "-4", "address"])
        .read()?;
    range::choose(&range::used(&routes, &addresses)?)
}

/// Makes the control plane's namespace with the bridge, and the host's link into it.
pub(super) fn make_control_plane(journal: &Journal, state: &State) -> Result<()> {
    let (range, label) = (state.range, state.label("cp"));
    let link = range.host_link();
    make_namespace(journal, &label)?;
    ip(
        &label,
        &format!(
            "link set lo up\n\
             link add {BRIDGE} type bridge\n\
             link set {BRIDGE} up\n\
             address add {}/24 dev {BRIDGE}\n",
            range.control_plane()
        ),
    )?;
    let alias = state.label("host");
    journal.record(&Made::Link(link.clone(), alias.clone()))?;
    // The alias is how `down` knows it as ours; without one yet, it goes with the namespace of its other end.
    ip_on_host(&format!(
        "link add {link} type veth peer name host netns {label}\n\
         link set {link} alias {alias}\n\
         address add {}/24 dev {link}\n\
         link set {link} up\n",
        range.host()
    ))?;
    ip(&label, &format!("link set host master {BRIDGE} up\n"))?;
    forward(&label)
}

/// Makes a node's namespace, links it to the bridge, and routes between its pods and those of the other nodes.
pub(super) fn make_node(journal: &Journal, state: &State, node: &Node) -> Result<()> {
    let (range, hub, name) = (state.range, state.label("cp"), node.name());
    let label = state.label(&name);
    make_namespace(journal, &label)?;
    ip(
        &hub,
        &format!("link add {name} type veth peer name eth0 netns {label}\n"),
    )?;
    ip(&hub, &format!("link set {name} master {BRIDGE} up\n"))?;
    ip(
        &label,
        &format!(
            "link set lo up\n\
             address add {}/24 dev eth0\n\
             link set eth0 up\n\
             route add default via {}\n",
            range.node(node),
            range.control_plane()
        ),
    )?;
    ip(&hub, &route_to(range, node))?;
    for other in state.live().filter(|other| other.index != node.index) {
        ip(&label, &route_to(range, other))?;
        ip(&state.label(&other.name()), &route_to(range, node))?;
    }
    forward(&label)
}

/// Takes a node's link away, as when its cable is pulled.
pub(super) fn cut_node(state: &State, node: &Node) -> Result<()> {
    ip(
        &state.label("cp"),
        &format!("link delete {}\n", node.name()),
    )
}

/// Removes a namespace. What is inside goes with it once no process holds it.
pub(super) fn remove_namespace(handle: &Path) -> Result<()> {
    use rustix::mount::{UnmountFlags, unmount};
    if !handle.exists() {
        return Ok(());
    }
    // Not mounted if `up` ended between making the file and the namespace.
    unmount(handle, UnmountFlags::DETACH).ok();
    fs::remove_file(handle).with_context(|| format!("removing {}", handle.display()))?;
    // Only goes if it is empty, and then nobody misses it: whoever needs it makes it.
    fs::remove_dir(NAMED).ok();
    Ok(())
}

/// Removes a link from the host's network if it is there and bears our alias.
pub(super) fn remove_link(link: &str, alias: &str) -> Result<()> {
    let found = fs::read_to_string(format!("/sys/class/net/{link}/ifalias")).unwrap_or_default();
    if found.trim() != alias {
        return Ok(());
    }
    ip_on_host(&format!("link delete {link}\n"))
}

fn route_to(range: Range, node: &Node) -> String {
    format!(
        "route replace {} via {}\n",
        range.pods_of(node),
        range.node(node)
    )
}

/// A namespace that is kept by a file. `ip netns add` would leave a mount on its folder for good.
fn make_namespace(journal: &Journal, label: &str) -> Result<()> {
    let file = handle(label);
    fs::create_dir_all(NAMED).with_context(|| format!("making {NAMED}"))?;
    // Checked before it is recorded: what exists already is not ours to take down.
    anyhow::ensure!(
        !file.exists(),
        "{} exists and is not of this cluster: choose another name",
        file.display()
    );
    journal.record(&Made::Network(file.clone()))?;
    File::create_new(&file).with_context(|| format!("making {}", file.display()))?;
    let mut argument = std::ffi::OsString::from("--net=");
    argument.push(&file);
    Cmd::new("unshare", "make a network namespace")
        .arg(argument)
        .arg("true")
        .run()
}

/// Lets a namespace route; the setting is its own, not the host's.
fn forward(label: &str) -> Result<()> {
    let mut argument = std::ffi::OsString::from("--net=");
    argument.push(handle(label));
    Cmd::new("nsenter", "let a node route")
        .arg(argument)
        .args(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
        .run()
}

fn ip(label: &str, lines: &str) -> Result<()> {
    Cmd::new("ip", format!("set up the network of {label}"))
        .args(["-netns", label, "-batch", "-"])
        .input(lines)
        .run()
}

fn ip_on_host(lines: &str) -> Result<()> {
    Cmd::new("ip", "set up the host's link to the cluster")
        .args(["-batch", "-"])
        .input(lines)
        .run()
}

//! Bringing a cluster up. If that fails or is stopped, what was made is taken down again.

use super::cgroup::Hierarchies;
use super::control_plane::ControlPlane;
use super::daemon::Running;
use super::journal::Made;
use super::kube::{Kube, ready_nodes};
use super::pki::Authority;
use super::state::{Home, Node, State};
use super::{down, images, network, node, settings, snapshots};
use crate::components::{self, Built};
use crate::progress::Step;
use crate::{apt, interrupt, places, preflight};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Debian packages of the programs that make up nodes.
const PACKAGES: [&str; 7] = [
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "kmod",
    "mount",
    "nftables",
    "util-linux",
];
/// What a cluster writes while it is used, without volumes.
const NEED_BYTES: u64 = 2 << 30;
const READY_LIMIT: Duration = Duration::from_mins(3);
/// Folders that nodes have for themselves, so that they do not see the host's.
const HIDDEN: [&str; 3] = ["/var/lib", "/var/log", "/run"];

/// `cluster up`.
pub(super) fn run(name: &str, nodes: u8, keep_logs: bool) -> Result<()> {
    check_place(&places::cache()?)?;
    apt::ensure(&PACKAGES)?;
    preflight::kernel()?;
    Hierarchies::find()?.check()?;
    let built = components::ensure(&components::CONTROL_PLANE)?;
    let home = Home::of(name)?;
    let _lock = home.lock()?;
    if home.path().exists() && !is_new(&home, nodes)? {
        return Ok(());
    }
    preflight::disk(home.path(), NEED_BYTES, "a cluster")?;
    let brought_up = bring_up(name, nodes, &home, &built);
    if let Err(error) = brought_up {
        let step = Step::start("taking down what was made");
        let kept = interrupt::shielded(|| down::take_down(&home, keep_logs))
            .with_context(|| format!("after this: {error:#}"))?;
        step.done("");
        match kept {
            Some(logs) => eprintln!("  its logs are in {}", logs.display()),
            None if interrupt::check().is_ok() => {
                eprintln!("  with --keep-logs, the next try leaves its logs");
            }
            None => {}
        }
        return Err(error);
    }
    println!(
        "cluster {name} is up: {}, Kubernetes {}",
        counted(nodes),
        components::KUBERNETES
    );
    println!("  cargo xtask cluster --name {name} kubectl get nodes");
    println!(
        "  eval \"$(cargo xtask cluster --name {name} env)\"   (kubectl and helm in this shell)"
    );
    println!("  cargo xtask cluster --name {name} down");
    Ok(())
}

fn counted(nodes: u8) -> String {
    let ending = if nodes == 1 { "" } else { "s" };
    format!("{nodes} node{ending}")
}

/// Deals with a cluster that has a folder already. False if it is up as wanted.
fn is_new(home: &Home, nodes: u8) -> Result<bool> {
    if let Some(state) = home.read()?
        && is_running(home)?
    {
        let live = state.live().count();
        if live != usize::from(nodes) {
            bail!(
                "cluster {} has {live} live nodes: use add-node and kill-node, or take it down first",
                state.name
            );
        }
        println!("cluster {} is up already", state.name);
        return Ok(false);
    }
    let step = Step::start("removing what an earlier run left");
    interrupt::shielded(|| down::take_down(home, false))?;
    step.done("");
    Ok(true)
}

/// Whether `up` came to its end and the control plane still runs: not so after a reboot, or a kill of `up`.
pub(super) fn is_running(home: &Home) -> Result<bool> {
    let entries = home.journal().read()?;
    let alive = entries
        .iter()
        .any(|made| matches!(made, Made::Process(one) if one.runs()));
    Ok(alive && home.path().join(COMPLETE).exists())
}

/// The file that says that `up` came to its end.
const COMPLETE: &str = "complete";

fn bring_up(name: &str, nodes: u8, home: &Home, built: &Built) -> Result<()> {
    home.make()?;
    settings::raise()?;
    let claim = network::claim_range()?;
    let name = name.to_owned();
    let mut state = State {
        name,
        range: claim.range,
        nodes: Vec::new(),
    };
    home.save(&state)?;
    network::make_control_plane(&home.journal(), &state)?;
    drop(claim);
    for image in built.list("images")? {
        images::keep(home, &image)?;
    }
    let mut parts = start_control_plane(home, &state, built)?;
    let started = start_nodes(nodes, home, &mut state, built)?;
    let kube = wait_for_api_server(home, &state, built, &parts)?;
    let plane = ControlPlane {
        home,
        state: &state,
        built,
    };
    parts.extend(plane.start_controllers()?);
    for node in &state.nodes {
        node::join(home, node)?;
    }
    let step = Step::start("installing the snapshot controller");
    snapshots::install(&kube, built)?;
    parts.push(plane.start_snapshot_controller()?);
    step.done("");
    parts.extend(started);
    wait_for_nodes(&kube, &state, &parts)?;
    // Pods can be made only then.
    interrupt::wait_until("the default service account", READY_LIMIT, || {
        check(&parts)?;
        Ok(kube.get(&["serviceaccount", "default"]).is_ok())
    })?;
    fs::write(home.path().join(COMPLETE), "").context("keeping the state")
}

fn start_control_plane(home: &Home, state: &State, built: &Built) -> Result<Vec<Running>> {
    let step = Step::start("starting the control plane");
    Hierarchies::find()?.make(&home.journal(), &state.label("cp"), None)?;
    Authority::make(home, state)?.control_plane(state)?;
    let parts = ControlPlane { home, state, built }.start()?;
    step.done("");
    Ok(parts)
}

/// Starts the nodes, up to where they wait for the API server.
fn start_nodes(count: u8, home: &Home, state: &mut State, built: &Built) -> Result<Vec<Running>> {
    let mut step = Step::start(format!("starting {}", counted(count)));
    let mut started = Vec::new();
    for _ in 0..count {
        let node = Node {
            index: state.next_index()?,
            killed: false,
        };
        state.nodes.push(node.clone());
        home.save(state)?;
        started.push(start_node(home, state, built, &node)?);
        step.tick();
    }
    import_all(home, built, &started)?;
    step.done("");
    Ok(started)
}

fn wait_for_api_server(
    home: &Home,
    state: &State,
    built: &Built,
    parts: &[Running],
) -> Result<Kube> {
    let mut step = Step::start("waiting for the API server");
    let kube = Kube::new(home, state, built)?;
    interrupt::wait_until("the API server's start", READY_LIMIT, || {
        step.tick();
        check(parts)?;
        Ok(kube.is_ready())
    })?;
    step.done("");
    Ok(kube)
}

/// `cluster add-node`: starts a node that the state names already.
pub(super) fn add_node(home: &Home, state: &State, built: &Built, node: &Node) -> Result<()> {
    let kube = Kube::new(home, state, built)?;
    let step = Step::start(format!("starting {}", node.name()));
    let running = start_node(home, state, built, node)?;
    import_all(home, built, std::slice::from_ref(&running))?;
    node::join(home, node)?;
    step.done("");
    wait_for_nodes(&kube, state, &[running])
}

fn start_node(home: &Home, state: &State, built: &Built, node: &Node) -> Result<Running> {
    Authority::open(home, state)?.node(state, node)?;
    node::start(home, state, built, node)
}

fn import_all(home: &Home, built: &Built, started: &[Running]) -> Result<()> {
    for running in started {
        node::wait_for_containerd(running, built)?;
    }
    let nodes: Vec<i32> = started.iter().map(|running| running.identity.pid).collect();
    images::import(&nodes, built, &images::kept(home)?)
}

/// Waits until all live nodes are Ready, and says which are not yet.
fn wait_for_nodes(kube: &Kube, state: &State, parts: &[Running]) -> Result<()> {
    let wanted: Vec<String> = state.live().map(Node::name).collect();
    let mut step = Step::start(format!("waiting for {} to be Ready", wanted.join(" ")));
    let mut missing = wanted.clone();
    let all_ready = interrupt::wait_until("the nodes' readiness", READY_LIMIT, || {
        step.tick();
        check(parts)?;
        let ready = ready_nodes(&kube.get(&["nodes"])?);
        missing.retain(|name| !ready.contains(name));
        Ok(missing.is_empty())
    });
    if all_ready.is_err() {
        interrupt::check()?;
    }
    all_ready.with_context(|| format!("not ready: {}", missing.join(" ")))?;
    step.done("");
    Ok(())
}

fn check(parts: &[Running]) -> Result<()> {
    parts.iter().try_for_each(Running::check)
}

/// A node could not see its own files below a folder that it has for itself.
fn check_place(cache: &Path) -> Result<()> {
    let own = std::env::current_exe().context("finding this program")?;
    for path in [cache, &own] {
        if let Some(hidden) = HIDDEN.iter().find(|hidden| path.starts_with(hidden)) {
            bail!(
                "{} lies in {hidden}, which nodes have for themselves: set MORAINE_CACHE (and CARGO_TARGET_DIR) to folders elsewhere",
                path.display()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_nodes_could_not_see_is_refused() {
        check_place(Path::new("/srv/cache/moraine")).unwrap();
        let refused = check_place(Path::new("/var/lib/moraine")).unwrap_err();
        assert!(
            refused.to_string().contains("set MORAINE_CACHE"),
            "{refused}"
        );
    }
}

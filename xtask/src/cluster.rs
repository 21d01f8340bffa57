//! `cargo xtask cluster`: a real Kubernetes on one machine, for tests, trials and the demo.
//!
//! ```text
//! state    what is kept of a cluster, and where        journal  what was made, written before it is made
//! network  one /16, namespaces, links                  pki      certificates and kubeconfigs
//! control_plane, node, snapshots                       the parts of Kubernetes
//! cgroup, process, daemon                              how programs are started and found again
//! up, down                                             bringing it up, taking it down
//! ```
//!
//! The programs come from [`crate::components`]. It is deliberately no product: one control plane, no DNS, no way
//! to the world outside. See docs/cluster.md.

mod cgroup;
mod control_plane;
mod daemon;
mod down;
mod images;
mod journal;
mod kube;
mod logs;
mod loops;
mod network;
mod node;
mod pki;
mod process;
mod settings;
mod snapshots;
mod state;
mod up;

use crate::components::{self, Built};
use crate::interrupt;
use crate::preflight;
use crate::progress::Step;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use kube::Kube;
use process::Identity;
use state::{Home, Node, State};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where and what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which cluster
    #[arg(long, global = true, default_value = "dev")]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring a cluster up
    Up {
        /// How many nodes
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
        nodes: u8,
        /// Keep the logs if it fails
        #[arg(long)]
        keep_logs: bool,
    },
    /// Take a cluster down and leave nothing of it
    Down {
        /// Move its logs to the cache's folder of logs
        #[arg(long)]
        keep_logs: bool,
    },
    /// List the clusters
    List,
    /// Run kubectl against the cluster
    Kubectl {
        /// What kubectl shall do
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run ctr, containerd's client, on a node
    Ctr {
        /// A node, such as n1
        node: String,
        /// What ctr shall do
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Print what a shell needs to reach the cluster: eval "$(cargo xtask cluster env)"
    Env,
    /// Import image archives into every node, also those that are added later
    Load {
        /// Archives of OCI images
        #[arg(required_unless_present = "sidecars")]
        archives: Vec<PathBuf>,
        /// The CSI sidecars too, under the names that a chart pulls
        #[arg(long)]
        sidecars: bool,
    },
    /// Copy the logs of its parts and pods into a folder
    Logs {
        /// The folder, which need not exist
        folder: PathBuf,
    },
    /// Add one node
    AddNode,
    /// Take a node's power away: its link and all its processes at once
    KillNode {
        /// A node, such as n1
        node: String,
    },
}

/// What xtask runs as within a cluster; not for users.
#[derive(Subcommand)]
pub(crate) enum Inner {
    #[command(hide = true)]
    /// Join a cgroup, then become a program
    Launch {
        #[arg(long)]
        group: String,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    #[command(hide = true)]
    /// Be the first process of a node
    NodeInit { plan: PathBuf },
}

impl Inner {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Launch { group, command } => daemon::launch(&group, &command),
            Self::NodeInit { plan } => node::init::run(&plan),
        }
    }
}

/// Runs the command.
pub(crate) fn command(args: Args) -> Result<ExitCode> {
    preflight::system()?;
    let home = Home::of(&args.name)?;
    match args.command {
        Command::Up { nodes, keep_logs } => up(&args.name, nodes, keep_logs)?,
        Command::Down { keep_logs } => down(&args.name, keep_logs)?,
        Command::List => list()?,
        Command::Kubectl { arguments } => {
            let kube = Kube::new(&home, &home.need()?, &control_plane()?)?;
            return Err(kube.ctl("run kubectl").args(arguments).replace_us());
        }
        Command::Ctr { node, arguments } => {
            let state = home.need()?;
            let unshare = unshare_of(&home, &state, find_node(&state, &node)?)?;
            let ctr = node::ctr(unshare, &control_plane()?)?;
            return Err(ctr.args(arguments).replace_us());
        }
        Command::Env => print_environment(&args.name)?,
        Command::Load { archives, sidecars } => {
            load(&args.name, &archives)?;
            if sidecars {
                load_sidecars(&args.name)?;
            }
        }
        Command::Logs { folder } => copy_logs(&args.name, &folder)?,
        Command::AddNode => add_node(&home)?,
        Command::KillNode { node } => kill_node(&home, &node)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings a cluster up; one that is up with as many nodes stays as it is.
pub(crate) fn up(name: &str, nodes: u8, keep_logs: bool) -> Result<()> {
    up::run(name, nodes, keep_logs)
}

/// Takes a cluster down, also one that is only half up; none is fine, too.
pub(crate) fn down(name: &str, keep_logs: bool) -> Result<()> {
    let home = Home::of(name)?;
    let _lock = home.lock()?;
    if !home.path().exists() {
        println!("there is no cluster {name}");
        return Ok(());
    }
    let step = Step::start(format!("taking cluster {name} down"));
    let kept = interrupt::shielded(|| down::take_down(&home, keep_logs))?;
    step.done("");
    if let Some(logs) = kept {
        println!("its logs are in {}", logs.display());
    }
    Ok(())
}

/// Whether anything of a cluster is there.
pub(crate) fn exists(name: &str) -> Result<bool> {
    Ok(Home::of(name)?.path().exists())
}

/// The environment in which kubectl and helm reach a cluster.
pub(crate) fn environment(name: &str) -> Result<Vec<(String, OsString)>> {
    let home = Home::of(name)?;
    home.need()?;
    let mut path = control_plane()?.own_search_path()?;
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    Ok(vec![
        ("KUBECONFIG".to_owned(), home.kubeconfig().into()),
        (kube::CACHE_VARIABLE.to_owned(), home.kubectl_cache().into()),
        ("PATH".to_owned(), path),
    ])
}

/// Imports archives into every node, and into those that are added later.
pub(crate) fn load(name: &str, archives: &[PathBuf]) -> Result<()> {
    let home = Home::of(name)?;
    let _lock = home.lock()?;
    let state = home.need()?;
    let built = control_plane()?;
    let unshare = |node| unshare_of(&home, &state, node);
    let nodes: Vec<i32> = state.live().map(unshare).collect::<Result<_>>()?;
    for archive in archives {
        let kept = images::keep(&home, archive)?;
        let title = kept.file_name().unwrap_or_default().to_string_lossy();
        let step = Step::start(format!("importing {title} into every node"));
        images::import(&nodes, &built, std::slice::from_ref(&kept))?;
        step.done("");
    }
    Ok(())
}

/// Builds the CSI sidecars if they are not in the cache, and imports their images.
pub(crate) fn load_sidecars(name: &str) -> Result<()> {
    let built = components::ensure(&components::SIDECARS)?;
    load(name, &built.list("images")?)
}

/// Copies the logs of a cluster's parts and pods into a folder.
pub(crate) fn copy_logs(name: &str, folder: &Path) -> Result<()> {
    logs::copy(&Home::of(name)?, folder)
}

fn control_plane() -> Result<Built> {
    components::cached(&components::CONTROL_PLANE)
}

fn print_environment(name: &str) -> Result<()> {
    for (name, value) in environment(name)? {
        println!("export {name}={}", quoted(&value.to_string_lossy()));
    }
    Ok(())
}

fn list() -> Result<()> {
    println!("{:<20} {:<6} {:<24} NODES", "NAME", "STATE", "API SERVER");
    for name in state::names()? {
        let home = Home::of(&name)?;
        let Some(state) = home.read()? else {
            println!("{name:<20} partial");
            continue;
        };
        let condition = if up::is_running(&home)? { "up" } else { "dead" };
        let address = format!("https://{}:6443", state.range.control_plane());
        let nodes: Vec<String> = state.nodes.iter().map(describe).collect();
        println!(
            "{name:<20} {condition:<6} {address:<24} {}",
            nodes.join(" ")
        );
    }
    Ok(())
}

fn describe(node: &Node) -> String {
    let killed = if node.killed { "(killed)" } else { "" };
    format!("{}{killed}", node.name())
}

fn add_node(home: &Home) -> Result<()> {
    let _lock = home.lock()?;
    let mut state = home.need()?;
    let built = control_plane()?;
    let node = Node {
        index: state.next_index()?,
        killed: false,
    };
    state.nodes.push(node.clone());
    // Kept before anything is made: an index must not be used twice.
    home.save(&state)?;
    let added = up::add_node(home, &state, &built, &node);
    if added.is_err() {
        let step = Step::start(format!("taking {} away again", node.name()));
        interrupt::shielded(|| {
            take_power(home, &mut state, &node)?;
            let kube = Kube::new(home, &state, &built)?;
            kube.ctl("remove the node from the API")
                .args(["delete", "node", &node.name(), "--ignore-not-found"])
                .run()
        })?;
        step.done("");
    }
    added
}

fn kill_node(home: &Home, name: &str) -> Result<()> {
    let _lock = home.lock()?;
    let mut state = home.need()?;
    let node = find_node(&state, name)?.clone();
    interrupt::shielded(|| take_power(home, &mut state, &node))?;
    println!("{name} has lost its power");
    Ok(())
}

fn take_power(home: &Home, state: &mut State, node: &Node) -> Result<()> {
    for other in &mut state.nodes {
        other.killed |= other.index == node.index;
    }
    home.save(state)?;
    down::cut_power(home, state, node)
}

fn find_node<'a>(state: &'a State, name: &str) -> Result<&'a Node> {
    let Some(node) = state.nodes.iter().find(|node| node.name() == name) else {
        let names: Vec<String> = state.nodes.iter().map(Node::name).collect();
        bail!("there is no node {name}; there are {}", names.join(" "));
    };
    if node.killed {
        bail!("{name} has been killed");
    }
    Ok(node)
}

/// The process that stands for a node on the host: `unshare`, the parent of the node's first process.
fn unshare_of(home: &Home, state: &State, node: &Node) -> Result<i32> {
    let group = format!("{}/system", state.label(&node.name()));
    let grouped = cgroup::Hierarchies::find()?.processes(&group);
    let recorded = home
        .journal()
        .read()?
        .into_iter()
        .filter_map(|made| match made {
            journal::Made::Process(identity) => Some(identity),
            _ => None,
        });
    recorded
        .filter(|identity: &Identity| identity.runs())
        .map(|identity| identity.pid)
        .find(|pid| grouped.contains(pid))
        .with_context(|| format!("{} is not running", node.name()))
}

/// A word for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let odd = "/srv/o'neill and co/$x";
        let script = format!("printf %s {}", quoted(odd));
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), odd);
    }
}

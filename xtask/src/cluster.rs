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
mod handle;
mod images;
mod journal;
mod kube;
mod loops;
mod network;
mod node;
mod pki;
mod process;
mod settings;
mod snapshots;
mod state;
mod up;

pub(crate) use handle::Handle;

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
use std::path::PathBuf;
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
        #[arg(required = true)]
        archives: Vec<PathBuf>,
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
        Command::Up { nodes, keep_logs } => up::run(&args.name, nodes, keep_logs)?,
        Command::Down { keep_logs } => take_down(&args.name, &home, keep_logs)?,
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
        Command::Env => env(&home)?,
        Command::Load { archives } => load(&home, &archives)?,
        Command::AddNode => add_node(&home)?,
        Command::KillNode { node } => kill_node(&home, &node)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn env(home: &Home) -> Result<()> {
    home.need()?;
    let variables = [
        ("KUBECONFIG", home.kubeconfig()),
        (kube::CACHE_VARIABLE, home.kubectl_cache()),
    ];
    for (name, value) in variables {
        println!("export {name}={}", quoted(&value.display().to_string()));
    }
    let path = control_plane()?.own_search_path()?;
    println!("export PATH={}:\"$PATH\"", quoted(&path.to_string_lossy()));
    Ok(())
}

fn control_plane() -> Result<Built> {
    components::cached(&components::CONTROL_PLANE)
}

fn take_down(name: &str, home: &Home, keep_logs: bool) -> Result<()> {
    let _lock = home.lock()?;
    if !home.path().exists() {
        println!("there is no cluster {name}");
        return Ok(());
    }
    let step = Step::start(format!("taking cluster {name} down"));
    let kept = interrupt::shielded(|| down::take_down(home, keep_logs))?;
    step.done("");
    if let Some(logs) = kept {
        println!("its logs are in {}", logs.display());
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

fn load(home: &Home, archives: &[PathBuf]) -> Result<()> {
    let _lock = home.lock()?;
    let state = home.need()?;
    let built = control_plane()?;
    for archive in archives {
        let kept = images::keep(home, archive)?;
        for node in state.live() {
            let step = Step::start(format!(
                "importing {} into {}",
                archive.display(),
                node.name()
            ));
            images::import(unshare_of(home, &state, node)?, &built, &kept)?;
            step.done("");
        }
    }
    Ok(())
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
    up::add_node(home, &state, &built, &node)
}

fn kill_node(home: &Home, name: &str) -> Result<()> {
    let _lock = home.lock()?;
    let mut state = home.need()?;
    let node = find_node(&state, name)?.clone();
    for other in &mut state.nodes {
        other.killed |= other.index == node.index;
    }
    interrupt::shielded(|| {
        home.save(&state)?;
        down::cut_power(home, &state, &node)
    })?;
    println!("{name} has lost its power");
    Ok(())
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
        let odd = "/home/o'neill and co/$x";
        let script = format!("printf %s {}", quoted(odd));
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), odd);
    }
}

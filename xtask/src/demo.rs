//! `cargo xtask demo`: the main job of Moraine, run live on a Kubernetes made for it.
//!
//! It grows with the product. Today: the cluster comes up, the chart installs, a StoragePool is declared, the agents
//! make its disks, the operator places its buckets, and a bad pool is refused with a reason. It is no test: what it shows is
//! checked by tests/e2e.

use crate::lab::{self, Lab, NAMESPACE};
use crate::progress::Step;
use crate::{interrupt, places};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

const NODES: u8 = 3;
/// How long a new pool may take to be ready.
const READY: Duration = Duration::from_mins(2);

/// How to run the demo.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave the cluster up afterwards, and say how to use it
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    println!(
        "Moraine on a Kubernetes of its own, {NODES} nodes on this machine. Ctrl-C ends it and leaves nothing."
    );
    let lab = Lab::of("demo", NODES, &[]);
    lab::with(&lab, options.keep, |lab| show(lab, started))?;
    if options.keep {
        println!("\nThe cluster stays up. To look around, and to end it:");
        println!(
            "  eval \"$(cargo xtask cluster --name demo env)\" && kubectl explain storagepool.spec"
        );
        println!("  cargo xtask cluster --name demo down");
    }
    println!("\nThe demo took {} s.", started.elapsed().as_secs());
    Ok(())
}

fn show(lab: &Lab, started: Instant) -> Result<()> {
    lab.prepare()?;
    lab.install()?;
    println!(
        "Moraine runs {} s after the start.",
        started.elapsed().as_secs()
    );
    present(lab, &["get", "pods", "-n", NAMESPACE, "-o", "wide"])?;

    let pool = places::repository().join("docs/examples/storagepool.yaml");
    let pool = pool
        .to_str()
        .context("the checkout's path is not text")?
        .to_owned();
    present(lab, &["apply", "-f", &pool])?;
    wait_until_ready(lab)?;
    present(lab, &["get", "storagepools,storagenodes,bucketmaps"])?;
    present(
        lab,
        &[
            "get",
            "storagepools",
            "-o",
            r"jsonpath={.items[*].status.conditions[?(@.type=='Ready')].message}{'\n'}",
        ],
    )?;
    present(lab, &["get", "csinodes"])?;

    println!("\nA pool that can't work is refused, and told why:");
    let patch = r#"{"spec":{"replicas":9}}"#;
    let change = [
        "patch",
        "storagepool",
        "default",
        "--type=merge",
        "-p",
        patch,
    ];
    println!("$ kubectl {}", change.join(" "));
    match lab.kubectl("try a bad pool")?.args(change).read() {
        Ok(_) => bail!("the API server took a pool with 9 replicas"),
        Err(error) => println!("{}", last_line(&format!("{error:#}"))),
    }
    Ok(())
}

/// Waits until the agents have made the pool's disks and its buckets are placed.
fn wait_until_ready(lab: &Lab) -> Result<()> {
    let mut step = Step::start("waiting for the pool to be ready");
    let ready = r"jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    interrupt::wait_until("a pool that is ready", READY, || {
        step.tick();
        let status = read(lab, &["get", "storagepool", "default", "-o", ready])?;
        Ok(status == "True")
    })?;
    step.done("");
    Ok(())
}

fn read(lab: &Lab, arguments: &[&str]) -> Result<String> {
    lab.kubectl("look at the cluster")?.args(arguments).read()
}

/// Shows a command as a user would type it, and what it prints.
fn present(lab: &Lab, arguments: &[&str]) -> Result<()> {
    let typed: Vec<String> = arguments.iter().map(|word| typed(word)).collect();
    println!("\n$ kubectl {}", typed.join(" "));
    println!("{}", read(lab, arguments)?);
    Ok(())
}

/// A word as a shell wants it.
fn typed(word: &str) -> String {
    if word.contains(['{', '[', ' ', '*']) {
        format!("\"{word}\"")
    } else {
        word.to_owned()
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default().trim()
}

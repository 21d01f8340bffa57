//! The command line of `moraine-csi`; each flag can come from the environment, as the chart gives it.

use crate::node::NodeName;
use crate::serve::{self, NodeOptions, Pages};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

/// Moraine's CSI driver.
#[derive(Debug, Parser)]
#[command(name = "moraine-csi", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Least grave log lines that are written: error, warn, info, debug or trace.
    #[arg(long, env = "MORAINE_LOG_LEVEL", default_value = "info", global = true)]
    log_level: LevelFilter,
    /// How log lines look.
    #[arg(
        long,
        env = "MORAINE_LOG_FORMAT",
        value_enum,
        default_value = "text",
        global = true
    )]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve this node: register with kubelet and answer its calls
    Node(NodeArgs),
}

#[derive(Debug, clap::Args)]
struct NodeArgs {
    /// Name of this node in Kubernetes.
    #[arg(long, env = "NODE_NAME")]
    node: NodeName,
    /// Socket that kubelet and sidecars call.
    #[arg(long, default_value = "/csi/csi.sock")]
    csi_socket: PathBuf,
    /// The same socket, as kubelet on the host sees it.
    #[arg(
        long,
        default_value = "/var/lib/kubelet/plugins/block.csi.moraine.io/csi.sock"
    )]
    kubelet_csi_socket: PathBuf,
    /// Socket in the folder that kubelet watches for drivers, as this process sees it.
    #[arg(long, default_value = "/registration/block.csi.moraine.io@reg.sock")]
    registration_socket: PathBuf,
    /// Port of /metrics.
    #[arg(long, default_value_t = 9100)]
    metrics_port: u16,
    /// Port of /healthz and /readyz.
    #[arg(long, default_value_t = 9101)]
    health_port: u16,
}

/// Runs the program; the exit code says whether it ended as it should.
pub fn main(args: Args) -> ExitCode {
    log_to_stderr(args.log_level, args.log_format);
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(level: LevelFilter, format: LogFormat) {
    let logger = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logger.with_ansi(false).init(),
        LogFormat::Json => logger.json().init(),
    }
}

#[tokio::main]
async fn run(command: Command) -> Result<()> {
    let Command::Node(args) = command;
    let options = NodeOptions {
        node: args.node,
        csi_socket: args.csi_socket,
        kubelet_csi_socket: args.kubelet_csi_socket,
        registration_socket: args.registration_socket,
    };
    let pages = Pages::listen(args.health_port, args.metrics_port).await?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("asked to stop");
    };
    serve::node(options, pages, stop).await
}

//! The command line of `moraine-csi`; each flag can come from the environment, as the chart gives it.

use crate::DRIVER_NAME;
use crate::node::NodeName;
use crate::serve::{self, NodeOptions};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Moraine's CSI driver.
#[derive(Debug, Parser)]
#[command(name = "moraine-csi", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
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
    node_name: NodeName,
    /// Socket that kubelet and sidecars call.
    #[arg(long, env = "CSI_SOCKET", default_value = "/csi/csi.sock")]
    csi_socket: PathBuf,
    /// The same socket, as kubelet on the host sees it.
    #[arg(
        long,
        env = "KUBELET_CSI_SOCKET",
        default_value = "/var/lib/kubelet/plugins/block.csi.moraine.io/csi.sock"
    )]
    kubelet_csi_socket: PathBuf,
    /// Folder that kubelet watches for drivers, as this process sees it.
    #[arg(long, env = "REGISTRATION_DIR", default_value = "/registration")]
    registration_dir: PathBuf,
    /// Address of /healthz and /readyz.
    #[arg(long, env = "HEALTH_ADDRESS", default_value = "0.0.0.0:9203")]
    health_address: SocketAddr,
}

/// Runs the program; the exit code says whether it ended as it should.
pub fn main(args: Args) -> ExitCode {
    log_to_stderr(args.log_format);
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
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
        node: args.node_name,
        csi_socket: args.csi_socket,
        kubelet_csi_socket: args.kubelet_csi_socket,
        registration_socket: args
            .registration_dir
            .join(format!("{DRIVER_NAME}-reg.sock")),
        health_address: args.health_address,
    };
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("asked to stop");
    };
    serve::node(options, stop).await
}

//! The command line of `moraine-operator`; what differs between pods comes from the environment, as the
//! chart gives it.

use crate::run::{self, Options};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Moraine's operator.
#[derive(Debug, Parser)]
#[command(name = "moraine-operator", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// The least severe lines that are logged: error, warn, info, debug or trace.
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
    /// Watch pools and nodes; one replica of all that run leads and writes what it sees
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Namespace of the Leases: the operator's own and those of the agents.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Name of this replica in the Lease; no two may have the same.
    #[arg(long, env = "POD_NAME")]
    identity: String,
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
    let Command::Run(args) = args.command;
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(level: LevelFilter, format: LogFormat) {
    // The client complains of each attempt; what comes of them is logged once, by who makes them.
    let client = if level > LevelFilter::INFO {
        level
    } else {
        LevelFilter::OFF
    };
    let filter = Targets::new()
        .with_default(level)
        .with_target("kube_client", client);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logger = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => logger.with(lines.with_ansi(false)).init(),
        LogFormat::Json => logger.with(lines.json()).init(),
    }
}

#[tokio::main]
async fn serve(args: RunArgs) -> Result<()> {
    let options = Options {
        namespace: args.namespace,
        identity: args.identity,
        metrics_port: args.metrics_port,
        health_port: args.health_port,
    };
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("asked to stop");
    };
    Box::pin(run::operator(options, stop)).await
}

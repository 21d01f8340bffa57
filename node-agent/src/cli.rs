//! The command line of `moraine-agent`; what differs between pods comes from the environment, as the
//! chart gives it.

use crate::data::{self, draft};
use crate::devices::Host;
use crate::offline;
use crate::run::{self, Options};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use moraine_tls::TlsFiles;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Moraine's node agent.
#[derive(Debug, Parser)]
#[command(name = "moraine-agent", version)]
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
    /// Stand for this node: register it, take its disks for pools, serve and report them
    Run(RunArgs),
    /// Serve disks by a map file, without Kubernetes: for tests, benchmarks and first trials
    Serve(ServeArgs),
    /// Print a new map for `serve`
    Map(draft::Args),
    /// Look at a disk while no agent has it: check it, show what is on it, take volumes from it
    Store(offline::Args),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Name of this node in Kubernetes, and of its StorageNode.
    #[arg(long, env = "NODE_NAME")]
    node: String,
    /// Namespace of the agents' Leases.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Folder on the node for what has to outlive the pod. Only one agent at a time may have it.
    #[arg(long, default_value = "/var/lib/moraine")]
    data_dir: PathBuf,
    /// Folder that holds the node's /dev. Without it no device is looked at.
    #[arg(long)]
    device_root: Option<PathBuf>,
    /// The node's /sys.
    #[arg(long, default_value = "/sys")]
    sysfs: PathBuf,
    /// The node's /proc, if the pod can see it, for what is mounted where.
    #[arg(long, default_value = "/proc")]
    procfs: PathBuf,
    /// Address at which engines and other agents reach this one.
    #[arg(long, env = "POD_IP")]
    data_address: IpAddr,
    /// Port of the data plane.
    #[arg(long, default_value_t = 7420)]
    data_port: u16,
    /// File with the secret of the data plane, at least 32 bytes. Who hasn't got it gets nothing.
    #[arg(long)]
    secret_file: PathBuf,
    #[command(flatten)]
    tls: TlsArgs,
    /// Port of /metrics.
    #[arg(long, default_value_t = 9100)]
    metrics_port: u16,
    /// Port of /healthz and /readyz.
    #[arg(long, default_value_t = 9101)]
    health_port: u16,
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// The map: a JSON file, read again whenever it changes.
    #[arg(long)]
    map: PathBuf,
    /// File with the cluster's secret, at least 32 bytes. Who hasn't got it gets nothing.
    #[arg(long)]
    secret_file: PathBuf,
    #[command(flatten)]
    tls: TlsArgs,
    /// Name of this node.
    #[arg(long)]
    node: String,
    /// Address to listen on, as the map gives it for this agent's disks.
    #[arg(long)]
    listen: SocketAddr,
    /// File or block device to serve; repeat for more.
    #[arg(long = "disk", required = true)]
    disks: Vec<PathBuf>,
    /// Make a file of so many bytes where a disk isn't there, and format it as the disk that the map
    /// has at this place of our address.
    #[arg(long, value_name = "BYTES")]
    create: Option<u64>,
}

/// Certificates of the data plane: all three, or none for plain TCP.
#[derive(Debug, clap::Args)]
struct TlsArgs {
    /// Encrypt the data plane: PEM file with this agent's certificate, for moraine-data-plane.
    #[arg(long = "tls-cert", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file with the certificate's key.
    #[arg(long = "tls-key", value_name = "FILE")]
    key: Option<PathBuf>,
    /// PEM file with the authorities that a peer's certificate may be of.
    #[arg(long = "tls-ca", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl TlsArgs {
    fn files(self) -> Result<Option<TlsFiles>> {
        Ok(TlsFiles::all_or_none(self.cert, self.key, self.ca)?)
    }
}

/// Runs the program; the exit code says whether it ended as it should.
pub fn main(args: Args) -> ExitCode {
    if !matches!(args.command, Command::Store(_)) {
        log_to_stderr(args.log_level, args.log_format);
    }
    let ended = match args.command {
        Command::Run(args) => {
            options(args).and_then(|options| until_stopped(|stop| run::agent(options, stop)))
        }
        Command::Serve(args) => {
            data_options(args).and_then(|options| until_stopped(|stop| data::serve(options, stop)))
        }
        Command::Map(args) => draft::print(&args),
        Command::Store(args) => return offline::main(args),
    };
    match ended {
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

fn options(args: RunArgs) -> Result<Options> {
    let RunArgs { sysfs, procfs, .. } = args;
    Ok(Options {
        tls: args.tls.files()?,
        node: args.node,
        namespace: args.namespace,
        data_dir: args.data_dir,
        host: args.device_root.map(|root| Host {
            root,
            sysfs,
            procfs,
        }),
        data_address: args.data_address,
        data_port: args.data_port,
        secret: args.secret_file,
        metrics_port: args.metrics_port,
        health_port: args.health_port,
    })
}

fn data_options(args: ServeArgs) -> Result<data::Options> {
    Ok(data::Options {
        tls: args.tls.files()?,
        map: args.map,
        secret: args.secret_file,
        node: args.node,
        listen: args.listen,
        disks: args.disks,
        create_bytes: args.create,
    })
}

/// Runs `work` until it ends or the program is asked to stop, which it is told by the future it gets.
fn until_stopped<W: Future<Output = Result<()>>>(
    work: impl FnOnce(Pin<Box<dyn Future<Output = ()> + Send>>) -> W,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            tracing::info!("asked to stop");
        };
        Box::pin(work(Box::pin(stop))).await
    });
    // A look at a disk that hangs must not keep the process.
    runtime.shutdown_background();
    ended
}

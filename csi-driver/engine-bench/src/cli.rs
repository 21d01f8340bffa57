//! The command line of `moraine-engine-bench`: attach a volume by a map in a file, then drive it or
//! serve it.

mod size;

use crate::load::{Load, Mode};
use crate::nbd;
use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use moraine_engine::shell::{AttachOptions, Attachment, MapSource, TlsFiles, read_secret};
use moraine_model::VolumeId;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::runtime::LocalRuntime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

/// Drives one volume of Moraine without Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "moraine-engine-bench", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// The least severe lines that are logged: error, warn, info, debug or trace.
    #[arg(long, env = "MORAINE_LOG_LEVEL", default_value = "warn", global = true)]
    log_level: LevelFilter,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drive the volume as fio would, and print what it does
    Bench(BenchArgs),
    /// Give the volume to NBD clients on a unix socket, until SIGTERM
    Nbd(NbdArgs),
}

/// Which volume, and where.
#[derive(Debug, clap::Args)]
struct VolumeArgs {
    /// The bucket map, as `moraine-agent serve` reads it too; a changed file is taken at once.
    #[arg(long)]
    map: PathBuf,
    /// The secret of the cluster: a file of at least 32 bytes.
    #[arg(long)]
    secret_file: PathBuf,
    #[command(flatten)]
    tls: TlsArgs,
    /// The volume's folder on this machine, which must be the same after a restart.
    #[arg(long)]
    state: PathBuf,
    /// The volume's id: 1 to 32 hexadecimal digits.
    #[arg(long, default_value = "1")]
    volume: VolumeId,
    /// The volume's size; K, M, G and T are powers of 1024.
    #[arg(long, value_parser = size::parse)]
    size: u64,
    /// Number of the attachment. Raise it whenever another machine or folder has had the volume.
    #[arg(long, default_value_t = 1)]
    attach: u32,
    /// Refuse writes.
    #[arg(long)]
    read_only: bool,
    /// How long attaching may take, in seconds.
    #[arg(long, default_value_t = 30)]
    attach_limit: u64,
}

/// Certificates of the data plane: all three, or none for plain TCP.
#[derive(Debug, clap::Args)]
struct TlsArgs {
    /// Speak TLS with the agents: PEM file with this side's certificate, for moraine-data-plane.
    #[arg(long = "tls-cert", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file with the certificate's key.
    #[arg(long = "tls-key", value_name = "FILE")]
    key: Option<PathBuf>,
    /// PEM file with the authorities that an agent's certificate may be of.
    #[arg(long = "tls-ca", value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct BenchArgs {
    #[command(flatten)]
    volume: VolumeArgs,
    /// What is done.
    #[arg(long, value_enum, default_value = "randwrite")]
    rw: Mode,
    /// Bytes of each operation.
    #[arg(long, default_value = "4096", value_parser = size::parse)]
    bs: u64,
    /// Operations under way at once.
    #[arg(long, default_value_t = 1)]
    iodepth: usize,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 10)]
    runtime: u64,
    /// Most operations a second.
    #[arg(long)]
    rate: Option<u64>,
    /// Use only the first so many bytes of the volume.
    #[arg(long, value_parser = size::parse)]
    span: Option<u64>,
    /// Chooses places and contents.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a pattern that says which write made it, check every read, and at the end read again
    /// all that was written.
    #[arg(long)]
    verify: bool,
    /// Print the figures as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct NbdArgs {
    #[command(flatten)]
    volume: VolumeArgs,
    /// The unix socket; a socket of that name that nobody serves is replaced.
    #[arg(long)]
    socket: PathBuf,
    /// The name of the export; the empty name works too.
    #[arg(long, default_value = "")]
    export: String,
}

/// Runs the program; the exit code says whether all went well.
pub fn main(args: Args) -> ExitCode {
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr);
    lines.with_ansi(false).with_max_level(args.log_level).init();
    let ended = LocalRuntime::new()
        .context("starting the runtime")
        .and_then(|runtime| {
            runtime.block_on(async {
                match args.command {
                    Command::Bench(args) => bench(args).await,
                    Command::Nbd(args) => serve_nbd(args).await.map(|()| true),
                }
            })
        });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("moraine-engine-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn attach(args: VolumeArgs) -> Result<Attachment> {
    let secret = read_secret(&args.secret_file)?;
    let volume = (args.volume, args.size);
    let map = MapSource::File(args.map);
    let mut options = AttachOptions::new(map, secret, volume, args.attach, args.state);
    let TlsArgs { cert, key, ca } = args.tls;
    options.tls = TlsFiles::all_or_none(cert, key, ca)?;
    options.read_only = args.read_only;
    let attachment = options.open()?;
    let limit = Duration::from_secs(args.attach_limit);
    let waited = tokio::time::timeout(limit, attachment.attached()).await;
    let Ok(attached) = waited else {
        let suspects = attachment.status().borrow().suspects.clone();
        bail!("the volume is not attached after {limit:?}; disks that don't answer: {suspects:?}");
    };
    attached.context("attaching the volume")?;
    Ok(attachment)
}

async fn bench(args: BenchArgs) -> Result<bool> {
    let load = Load {
        mode: args.rw,
        op_bytes: args.bs,
        depth: args.iodepth,
        runtime: Duration::from_secs(args.runtime),
        rate: args.rate,
        size_bytes: args.span,
        seed: args.seed,
        verify: args.verify,
    };
    let attachment = attach(args.volume).await?;
    let report = load.run(&attachment).await?;
    if args.json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    let clean = attachment.detach().await.context("detaching the volume")?;
    if !clean {
        tracing::warn!("the volume is detached, but not every replica knows it");
    }
    Ok(report.is_good())
}

async fn serve_nbd(args: NbdArgs) -> Result<()> {
    let read_only = args.volume.read_only;
    let attachment = attach(args.volume).await?;
    let listener = nbd::listen(&args.socket)
        .with_context(|| format!("listening on {}", args.socket.display()))?;
    println!("{}", serde_json::json!({ "listening": args.socket }));
    let served = serve_until_asked(listener, &attachment, args.export, read_only).await;
    // Its name would only mislead the next client.
    let _ = std::fs::remove_file(&args.socket);
    served?;
    attachment.detach().await.context("detaching the volume")?;
    Ok(())
}

async fn serve_until_asked(
    listener: UnixListener,
    attachment: &Attachment,
    export: String,
    read_only: bool,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut status = attachment.status();
    tokio::select! {
        served = nbd::run(listener, attachment.clone(), export, read_only) => {
            served.context("serving NBD")
        }
        ended = status.wait_for(|status| status.phase.is_over()) => {
            let phase = ended.map(|status| status.phase.clone());
            bail!("the volume is attached no more: {phase:?}")
        }
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

//! Makes the first map of a pool for trials without Kubernetes, and prints it.

use super::identity::random;
use anyhow::{Result, ensure};
use moraine_model::{ClusterId, DiskId};
use moraine_protocol::{DiskPlace, MapFile};
use std::net::SocketAddr;

/// What the map is to be like.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the agent that serves a disk; repeat for more disks, also of one agent.
    #[arg(long = "disk", value_name = "ADDRESS", required = true)]
    disks: Vec<SocketAddr>,
    /// Replicas of each bucket.
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Buckets of the pool; never changed later.
    #[arg(long, default_value_t = 64)]
    buckets: u32,
    /// Shards of each disk; each has a thread. Never changed later.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: u32,
}

/// Prints a map with new ids for the cluster and its disks.
pub(crate) fn print(args: &Args) -> Result<()> {
    let disks = args.disks.len();
    ensure!(
        (1..=disks).contains(&args.replicas),
        "{} replicas need as many disks, at least one, and there are {disks}: give --disk or --replicas",
        args.replicas
    );
    let place = |address: &SocketAddr| {
        Ok(DiskPlace {
            id: DiskId::new(random()?)?,
            address: address.to_string(),
            shards: args.shards,
        })
    };
    let places: Result<Vec<_>> = args.disks.iter().map(place).collect();
    let cluster = ClusterId::new(random()?)?;
    let map = MapFile::spread(cluster, places?, args.buckets, args.replicas)?;
    println!("{}", map.to_text());
    Ok(())
}

//! What an operation costs the processor in all processes together, with disks in memory and
//! loopback TCP; and what agents cost that have nothing to do.

use crate::agents::Agents;
use crate::disk::fill;
use crate::row::Row;
use crate::{median, process};
use moraine_engine::shell::Attachment;
use moraine_engine_bench::load::{Load, Mode};
use std::path::Path;
use std::time::Duration;
use tokio::runtime::LocalRuntime;

const DISK_BYTES: u64 = 2 << 30;
const VOLUME_BYTES: u64 = 512 << 20;
const TURN: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;
/// What a live block costs an agent at most, which is the index's budget.
const INDEX_BYTES_PER_BLOCK: f64 = 16.0;
const MIB: f64 = 1_048_576.0;

/// Measures processor time and memory.
pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let mut agents = Agents::start(Path::new("/dev/shm"), DISK_BYTES);
    // Memory that was never written is not there yet: making it costs more than all of the rest.
    agents.touch_disks();
    let runtime = LocalRuntime::new().expect("a runtime");
    runtime.block_on(async {
        let volume = agents.attach(1, VOLUME_BYTES).await;
        fill(&volume).await;
        let cost = us_per_op(&agents, &volume, Mode::RandWrite).await;
        let figure = "processor time of a 4 KiB write, three replicas, all processes";
        print(Row::new(figure, cost, "us").target("at_most", 40.0));
        let cost = us_per_op(&agents, &volume, Mode::RandRead).await;
        let figure = "processor time of a 4 KiB read, all processes";
        print(Row::new(figure, cost, "us").target("at_most", 15.0));
        idle(&agents, print).await;
    });
}

async fn us_per_op(agents: &Agents, volume: &Attachment, mode: Mode) -> f64 {
    let mut pids = agents.pids();
    pids.push(std::process::id());
    let used = || pids.iter().map(|pid| process::cpu(*pid)).sum::<Duration>();
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let before = used();
        let load = Load::new(mode, 32, TURN);
        let report = load.run(volume).await.expect("a load that can be");
        assert!(report.is_good(), "{report}");
        let count = report.reads.count() + report.writes.count();
        let took = used().saturating_sub(before);
        costs.push(took.as_secs_f64() * 1e6 / count as f64);
    }
    median(costs)
}

/// The busiest agent while a volume is attached and nobody uses it, and the largest.
async fn idle(agents: &Agents, print: &mut dyn FnMut(Row)) {
    let before: Vec<_> = agents.pids().iter().map(|pid| process::cpu(*pid)).collect();
    tokio::time::sleep(IDLE).await;
    let after = agents.pids();
    let after = after.iter().map(|pid| process::cpu(*pid));
    let used = after
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    let most = used.max().unwrap_or_default();
    let percent = most.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    print(Row::new("idle agent, part of a core", percent, "%").target("at_most", 1.0));
    let pids = agents.pids();
    let sizes = pids.iter().map(|pid| process::memory_bytes(*pid));
    let index = (VOLUME_BYTES / 4096) as f64 * INDEX_BYTES_PER_BLOCK;
    let most = sizes.fold(0.0, f64::max) - index;
    print(
        Row::new("memory of an agent beside its index", most / MIB, "MiB").target("at_most", 64.0),
    );
}

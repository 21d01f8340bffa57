//! Three replicas on one disk, against fio doing the bare minimum on the same disk: three durable
//! writes for each, one read for each. The two take turns, so that both see the machine in the same
//! mood.

use crate::agents::Agents;
use crate::fio::{Files, Job};
use crate::row::Row;
use crate::{median, on_disk};
use bytes::Bytes;
use moraine_engine::shell::Attachment;
use moraine_engine_bench::load::{Load, Mode};
use std::time::Duration;
use tokio::runtime::LocalRuntime;

const DISK_BYTES: u64 = 3 << 30;
const VOLUME_BYTES: u64 = 1 << 30;
const TURN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
/// The largest write of one piece.
const LARGEST: usize = 1 << 20;

/// Measures latency and operations a second on the disk of this folder.
pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let folder = tempfile::tempdir_in(on_disk()).expect("a folder beside what is built");
    let files = Files::make(folder.path(), 3);
    let mut agents = Agents::start(on_disk(), DISK_BYTES);
    agents.touch_disks();
    let runtime = LocalRuntime::new().expect("a runtime");
    runtime.block_on(async {
        let volume = agents.attach(1, VOLUME_BYTES).await;
        fill(&volume).await;
        one_write(&volume, &files, print).await;
        let job = Job {
            mode: "randwrite",
            depth: 96,
            files: 1,
        };
        let (ours, theirs) = operations(&volume, Mode::RandWrite, &files, job).await;
        let row = Row::new("4 KiB random writes, 32 outstanding", ours, "IOPS");
        let row = row.against("a third of fio's with 96", theirs / 3.0);
        print(row.target("ratio_at_least", 0.5));
        let job = Job {
            mode: "randread",
            depth: 32,
            files: 1,
        };
        let (ours, theirs) = operations(&volume, Mode::RandRead, &files, job).await;
        let row = Row::new("4 KiB random reads, 32 outstanding", ours, "IOPS");
        print(row.against("fio", theirs).target("ratio_at_least", 0.5));
    });
}

/// Writes the whole volume.
pub(crate) async fn fill(volume: &Attachment) {
    let data = Bytes::from(vec![0xa5; LARGEST]);
    for offset in (0..volume.size_bytes()).step_by(LARGEST) {
        let done = volume.write(offset, data.clone()).await;
        done.expect("the agents run");
    }
}

async fn one_write(volume: &Attachment, files: &Files, print: &mut dyn FnMut(Row)) {
    let (mut means, mut tails) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for _ in 0..ROUNDS {
        let load = Load::new(Mode::RandWrite, 1, TURN);
        let report = load.run(volume).await.expect("a load that can be");
        assert!(report.is_good(), "{report}");
        means.0.push(report.writes.mean_us());
        tails.0.push(report.writes.percentile_us(99.0));
        let job = Job {
            mode: "randwrite",
            depth: 1,
            files: 3,
        };
        let floor = files.run(job, TURN);
        means.1.push(floor.mean_us);
        tails.1.push(floor.p99_us);
    }
    let name = "three fio jobs";
    let figure = "durable 4 KiB write, 1 outstanding, three replicas, mean";
    let row = Row::new(figure, median(means.0), "us").against(name, median(means.1));
    print(row.target("ratio_at_most", 2.2));
    let figure = "the same, p99";
    let row = Row::new(figure, median(tails.0), "us").against(name, median(tails.1));
    print(row.target("ratio_at_most", 3.0));
}

/// Operations a second: ours with 32 outstanding, and fio's.
async fn operations(volume: &Attachment, mode: Mode, files: &Files, job: Job) -> (f64, f64) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut load = Load::new(mode, 32, TURN);
        load.seed = round as u64 + 1;
        let report = load.run(volume).await.expect("a load that can be");
        assert!(report.is_good(), "{report}");
        let side = if mode == Mode::RandRead {
            &report.reads
        } else {
            &report.writes
        };
        ours.push(side.iops(report.elapsed));
        theirs.push(files.run(job, TURN).iops);
    }
    (median(ours), median(theirs))
}

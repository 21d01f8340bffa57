//! What users see when an agent is killed, and what it costs to come back.

use crate::agents::Agents;
use crate::disk::fill;
use crate::row::Row;
use crate::{on_disk, process};
use moraine_engine_bench::load::{Load, Mode};
use moraine_engine_bench::trial;
use std::time::Duration;
use tokio::runtime::LocalRuntime;

const DISK_BYTES: u64 = 3 << 30;
const VOLUME_BYTES: u64 = 256 << 20;
const LOAD: Duration = Duration::from_secs(3);
const BEFORE: Duration = Duration::from_secs(1);
const MIB: f64 = 1_048_576.0;

/// Kills an agent under load, and changes the map at once.
pub(crate) fn run(print: &mut dyn FnMut(Row)) {
    let mut agents = Agents::start(on_disk(), DISK_BYTES);
    let runtime = LocalRuntime::new().expect("a runtime");
    let report = runtime.block_on(async {
        let volume = agents.attach(1, VOLUME_BYTES).await;
        let load = Load {
            verify: true,
            ..Load::new(Mode::RandWrite, 32, LOAD)
        };
        let kill = async {
            tokio::time::sleep(BEFORE).await;
            agents.kill_at_once(1);
            agents.change(1, trial::drop_disk);
        };
        let (report, ()) = tokio::join!(load.run(&volume), kill);
        report.expect("a load that can be")
    });
    let longest = report.writes.longest_us() / 1e3;
    let figure = "longest 4 KiB write of 32 outstanding, an agent killed, the map changed at once";
    print(Row::new(figure, longest, "ms").target("at_most", 100.0));
    let bad = (report.writes.errors + report.reads.errors + report.wrong) as f64;
    let figure = "errors and lost writes meanwhile";
    print(Row::new(figure, bad, "blocks").target("at_most", 0.0));
}

/// A replica that was away while a part of its volume was written: what it writes when it returns,
/// held against the chunks that were touched, and, harder, against what a replica wrote that was
/// there.
pub(crate) fn resync(print: &mut dyn FnMut(Row)) {
    const DISK_BYTES: u64 = 11 << 29;
    const VOLUME_BYTES: u64 = 4 << 30;
    let mut agents = Agents::start(on_disk(), DISK_BYTES);
    let runtime = LocalRuntime::new().expect("a runtime");
    let there = runtime.block_on(async {
        let volume = agents.attach(1, VOLUME_BYTES).await;
        fill(&volume).await;
        // Its marks become durable.
        tokio::time::sleep(Duration::from_secs(2)).await;
        agents.kill(2);
        agents.change(2, trial::drop_disk);
        let before = process::written_bytes(agents.pid(0));
        let load = Load {
            rate: Some(1000),
            ..Load::new(Mode::RandWrite, 32, Duration::from_secs(30))
        };
        let report = load.run(&volume).await.expect("a load that can be");
        assert!(report.is_good(), "{report}");
        process::written_bytes(agents.pid(0)) - before
    });
    agents.run(2);
    agents.change(2, trial::list_disk);
    agents.wait_for_copies(2);
    let copied = process::written_bytes(agents.pid(2));
    // 30,000 writes at random leave none of 1,024 chunks out.
    let touched = VOLUME_BYTES as f64;
    let figure =
        "written by a replica that was away for 30 s of 1,000 random 4 KiB writes a second";
    let row = Row::new(figure, copied / MIB, "MiB").against("the chunks touched", touched / MIB);
    print(row.target("ratio_at_most", 1.5));
    let figure = "the same, against what a replica wrote that was there";
    let row = Row::new(figure, copied / MIB, "MiB").against("written there", there / MIB);
    print(row.target("ratio_at_most", 1.5));
}

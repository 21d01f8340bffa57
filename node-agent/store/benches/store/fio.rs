//! fio as the floor: what the kernel and the device do without a store in between.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What fio is to do.
pub(crate) struct Job {
    /// Its `rw`.
    pub(crate) mode: &'static str,
    pub(crate) block_bytes: u64,
    pub(crate) outstanding: usize,
}

/// Makes the file that all jobs use, written once.
pub(crate) fn fill(file: &Path, size_bytes: u64) {
    let size = format!("--size={size_bytes}");
    let done = command(file, "write", 1 << 20, 8)
        .args([&size, "--zero_buffers"])
        .output();
    let done = done.expect("fio is installed: apt-get install fio");
    assert!(
        done.status.success(),
        "fio: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn command(file: &Path, mode: &str, block_bytes: u64, outstanding: usize) -> Command {
    let mut command = Command::new("fio");
    command
        .arg("--name=floor")
        .arg(format!("--filename={}", file.display()))
        .arg(format!("--rw={mode}"))
        .arg(format!("--bs={block_bytes}"))
        .arg(format!("--iodepth={outstanding}"))
        .args(["--ioengine=io_uring", "--direct=1", "--output-format=json"]);
    command
}

/// Operations a second, or MiB a second for jobs with larger blocks. Writes are each durable.
pub(crate) fn run(file: &Path, job: &Job, turn: Duration) -> f64 {
    let mut command = command(file, job.mode, job.block_bytes, job.outstanding);
    command
        .args(["--time_based", "--norandommap", "--sync=dsync"])
        .arg(format!("--runtime={}", turn.as_secs()));
    if job.mode.ends_with("read") {
        command.arg("--readonly");
    }
    let done = command.output().expect("fio is installed");
    assert!(
        done.status.success(),
        "fio: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).expect("fio speaks JSON");
    let side = if job.mode.ends_with("read") {
        "read"
    } else {
        "write"
    };
    let of = &said["jobs"][0][side];
    let figure = match job.block_bytes {
        4096 => of["iops"].as_f64(),
        _ => of["bw_bytes"]
            .as_f64()
            .map(|bytes| bytes / f64::from(1 << 20)),
    };
    figure.expect("fio tells")
}

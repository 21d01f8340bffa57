//! fio as the floor: what the kernel and the disk do without a network and a store in between.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Bytes of each file.
const FILE_BYTES: u64 = 1 << 30;

/// What fio does at once.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    /// Its `rw`; writes are each durable.
    pub(crate) mode: &'static str,
    /// Operations under way in each file.
    pub(crate) depth: usize,
    /// Files, one for each of its jobs.
    pub(crate) files: usize,
}

/// What it says.
pub(crate) struct Said {
    pub(crate) iops: f64,
    pub(crate) mean_us: f64,
    pub(crate) p99_us: f64,
}

/// Files for it, each written once: a file system notes the first write of each block.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn make(folder: &Path, count: usize) -> Self {
        let files = Self(folder.to_owned());
        let size = format!("--size={FILE_BYTES}");
        files.fio(count, &["--rw=write", "--bs=1M", "--iodepth=8", &size]);
        files
    }

    /// Runs a job for so long.
    pub(crate) fn run(&self, job: Job, turn: Duration) -> Said {
        let mode = format!("--rw={}", job.mode);
        let depth = format!("--iodepth={}", job.depth);
        let runtime = format!("--runtime={}", turn.as_secs());
        let size = format!("--size={FILE_BYTES}");
        let mut args = vec!["--bs=4096", "--time_based", "--norandommap", "--sync=dsync"];
        args.extend([&*mode, &*depth, &*runtime, &*size]);
        let direction = if job.mode == "randread" {
            "read"
        } else {
            "write"
        };
        let said = self.fio(job.files, &args);
        let of = &said["jobs"][0][direction];
        let number = |value: &Value| value.as_f64().expect("fio tells");
        Said {
            iops: number(&of["iops"]),
            mean_us: number(&of["lat_ns"]["mean"]) / 1e3,
            p99_us: number(&of["clat_ns"]["percentile"]["99.000000"]) / 1e3,
        }
    }

    fn fio(&self, jobs: usize, args: &[&str]) -> Value {
        let done = Command::new("fio")
            .args(["--name=floor", "--ioengine=io_uring", "--direct=1"])
            .args(["--output-format=json", "--group_reporting"])
            .arg(format!("--directory={}", self.0.display()))
            .args([
                "--filename_format=fio.$jobnum",
                &format!("--numjobs={jobs}"),
            ])
            .args(args)
            .output()
            .expect("fio is installed: apt-get install fio");
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "fio: {errors}");
        serde_json::from_slice(&done.stdout).expect("fio speaks JSON")
    }
}

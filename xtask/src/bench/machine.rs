//! What a benchmark was measured on: figures without it can't be compared.

use crate::places;
use crate::proc::Cmd;
use anyhow::Result;
use serde::Serialize;
use std::{fmt, fs, thread};

/// The machine, the time and the code.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cores: usize,
    processor: String,
    memory_mib: u64,
    kernel: String,
    date: String,
    /// With `+changes` when the working tree differs from it.
    commit: String,
}

impl Machine {
    /// Looks at this machine and this checkout.
    pub(super) fn look() -> Result<Self> {
        let git = |args: &[&str]| {
            Cmd::new("git", "name the commit")
                .args(args)
                .dir(places::repository())
                .read()
        };
        let mut commit = git(&["rev-parse", "--short=12", "HEAD"])?;
        if !git(&["status", "--porcelain"])?.is_empty() {
            commit.push_str("+changes");
        }
        let memory = value_in("/proc/meminfo", "MemTotal").unwrap_or_default();
        let memory_kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Ok(Self {
            cores: thread::available_parallelism()?.get(),
            processor: value_in("/proc/cpuinfo", "model name").unwrap_or_default(),
            memory_mib: memory_kib / 1024,
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            date: Cmd::new("date", "tell the time")
                .args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])
                .read()?,
            commit,
        })
    }
}

/// The first `name : value` of a file of the kernel's.
fn value_in(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} cores ({}), {} MiB, Linux {}, {}, commit {}",
            self.cores, self.processor, self.memory_mib, self.kernel, self.date, self.commit
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::look().unwrap();
        assert!(machine.cores > 0 && machine.memory_mib > 0, "{machine}");
        assert!(
            machine.commit.len() >= 12 && !machine.kernel.is_empty(),
            "{machine}"
        );
    }
}

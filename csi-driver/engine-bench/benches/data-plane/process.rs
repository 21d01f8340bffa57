//! What processes have used, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// Ticks of the kernel's accounting in a second, the same on every Linux that we run on.
const TICKS_PER_S: f64 = 100.0;

/// Processor time of a process so far, all its threads together.
pub(crate) fn cpu(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name in parentheses may have spaces; fields are counted behind it.
    let (_, fields) = text.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(|ticks| ticks.parse::<f64>().expect("a number"));
    Duration::from_secs_f64(ticks.sum::<f64>() / TICKS_PER_S)
}

/// Bytes of memory that a process has in use.
pub(crate) fn memory_bytes(pid: u32) -> f64 {
    number(&format!("/proc/{pid}/status"), "VmRSS:") * 1024.0
}

/// Bytes that a process has had written to disks.
pub(crate) fn written_bytes(pid: u32) -> f64 {
    number(&format!("/proc/{pid}/io"), "write_bytes:")
}

fn number(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(file).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let digits = line.and_then(|line| line.split_whitespace().next());
    digits
        .and_then(|digits| digits.parse().ok())
        .expect("the kernel tells")
}

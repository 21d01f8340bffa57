//! The boot that this process runs in.

use anyhow::{Context, Result};

/// The kernel's name for this boot, the same in every container.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The name of this boot, as a UUID.
pub(crate) fn id() -> Result<String> {
    let text = std::fs::read_to_string(BOOT_ID).with_context(|| format!("reading {BOOT_ID}"))?;
    Ok(text.trim().to_owned())
}

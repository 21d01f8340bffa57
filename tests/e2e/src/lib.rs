//! Help for tests on a real Kubernetes: running kubectl and helm, a corner of the cluster for each
//! test, waiting with a message.
//!
//! The tests see the cluster as a user does, through kubectl and helm, and run in parallel as
//! processes of their own against one cluster. So each names its objects by its [`Case`], which also
//! takes them away again. Not here: bringing the cluster up, which is xtask's work.
#![forbid(unsafe_code)]

mod case;
pub mod chart;
mod command;
mod condition;
mod definitions;
mod load;
mod machine;
pub mod samples;
mod wait;

pub use case::Case;
pub use command::{Outcome, Tool, helm, kubectl};
pub use condition::{condition, pool_becomes};
pub use definitions::install_definitions;
pub use load::Load;
pub use machine::{add_node, kill_node};
pub use wait::{require, wait_for};

use std::path::{Path, PathBuf};

/// The top folder of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

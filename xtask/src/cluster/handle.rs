//! A cluster as other commands of xtask use it: bring it up, reach it, load images, take it down.

use super::kube::{CACHE_VARIABLE, Kube};
use super::state::Home;
use super::{control_plane, down, load, up};
use crate::interrupt;
use crate::preflight;
use crate::proc::Cmd;
use crate::progress::Step;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A cluster by its name; it need not be there yet.
#[derive(Clone)]
pub(crate) struct Handle {
    name: String,
    home: Home,
}

impl Handle {
    pub(crate) fn of(name: &str) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            home: Home::of(name)?,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Fails if this machine can't have a cluster.
    pub(crate) fn possible() -> Result<()> {
        preflight::system()
    }

    /// Brings it up; one that is up already with that many nodes stays as it is.
    pub(crate) fn up(&self, nodes: u8) -> Result<()> {
        up::run(&self.name, nodes, true)
    }

    /// Imports archives into every node.
    pub(crate) fn load(&self, archives: &[PathBuf]) -> Result<()> {
        load(&self.home, archives)
    }

    /// kubectl for `purpose`, which completes "could not ...".
    pub(crate) fn kubectl(&self, purpose: &str) -> Result<Cmd> {
        Ok(Kube::new(&self.home, &control_plane()?)?.ctl(purpose))
    }

    /// helm for `purpose`, which completes "could not ...".
    pub(crate) fn helm(&self, purpose: &str) -> Result<Cmd> {
        let helm = Cmd::new(control_plane()?.program("helm")?, purpose);
        Ok(self
            .environment()?
            .iter()
            .fold(helm, |helm, (name, value)| helm.env(name, value)))
    }

    /// What a process needs to reach the cluster with plain kubectl and helm.
    pub(crate) fn environment(&self) -> Result<Vec<(String, String)>> {
        let own = control_plane()?.own_search_path()?;
        let rest = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&own).chain(env::split_paths(&rest));
        let path = env::join_paths(folders)?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        Ok(vec![
            ("KUBECONFIG".to_owned(), text(self.home.kubeconfig())),
            (CACHE_VARIABLE.to_owned(), text(self.home.kubectl_cache())),
            ("PATH".to_owned(), path.to_string_lossy().into_owned()),
        ])
    }

    /// Copies the logs of its parts.
    pub(crate) fn copy_logs(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for entry in fs::read_dir(self.home.logs()).context("reading the cluster's logs")? {
            let from = entry?.path();
            if let Some(name) = from.file_name().filter(|_| from.is_file()) {
                fs::copy(&from, folder.join(name))
                    .with_context(|| format!("copying {}", from.display()))?;
            }
        }
        Ok(())
    }

    /// Takes it down, whole or half up; one that isn't there is no failure.
    pub(crate) fn down(&self) -> Result<()> {
        let _lock = self.home.lock()?;
        if self.home.path().exists() {
            let step = Step::start(format!("taking cluster {} down", self.name));
            interrupt::shielded(|| down::take_down(&self.home, false))?;
            step.done("nothing is left");
        }
        Ok(())
    }
}

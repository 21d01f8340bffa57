//! A cluster with Moraine on it: what the demo shows and what the tests run on.
//!
//! It knows how this checkout's image gets into the nodes and how the chart is installed. How a cluster is made is
//! [`crate::cluster`]'s business, and what is looked at or tested is the caller's.

use crate::proc::Cmd;
use crate::progress::Step;
use crate::{cluster, image, interrupt, places, preflight, test};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The namespace and the release, as the chart's README has them.
pub(crate) const NAMESPACE: &str = "moraine-system";
const RELEASE: &str = "moraine";
/// The name of the cluster, for tests that add nodes to it and kill them.
const CLUSTER_VARIABLE: &str = "MORAINE_CLUSTER";
/// How long the pods may take to run once their image is there.
const ROLLOUT: Duration = Duration::from_mins(3);

/// A cluster that gets this checkout's Moraine.
pub(crate) struct Lab {
    name: &'static str,
    nodes: u8,
    /// Test images that the nodes get, too.
    extra: &'static [&'static str],
}

impl Lab {
    pub(crate) fn of(name: &'static str, nodes: u8, extra: &'static [&'static str]) -> Self {
        Self { name, nodes, extra }
    }

    /// Brings the cluster up and gives every node the images.
    pub(crate) fn prepare(&self) -> Result<()> {
        preflight::system()?;
        // The image first: if it doesn't build, nothing was started in vain.
        let folder = places::repository().join("target/image");
        let mut archives = vec![image::write_ours(&folder)?];
        for short in self.extra {
            let archive = folder.join(format!("test-{short}.tar"));
            image::write_test(short, &archive)?;
            archives.push(archive);
        }
        cluster::up(self.name, self.nodes, false)?;
        cluster::load(self.name, &archives)
    }

    /// Installs the chart, or brings it up to date, and waits until all its pods run.
    pub(crate) fn install(&self) -> Result<()> {
        let mut step = Step::start("installing the chart");
        let log = places::cache()?
            .join("logs")
            .join(format!("helm-{}.log", self.name));
        self.tool("helm", "install the chart")?
            .args(["upgrade", "--install", RELEASE])
            .arg(places::repository().join("charts/moraine"))
            .args(["--namespace", NAMESPACE, "--create-namespace", "--wait"])
            .arg(format!("--timeout={}s", ROLLOUT.as_secs()))
            .limit(ROLLOUT * 2)
            .run_logged(&log, &mut step)?;
        step.done("its pods run");
        Ok(())
    }

    /// kubectl on this cluster, for `purpose`, which completes "could not ...".
    pub(crate) fn kubectl(&self, purpose: &str) -> Result<Cmd> {
        self.tool("kubectl", purpose)
    }

    fn tool(&self, program: &str, purpose: &str) -> Result<Cmd> {
        let environment = cluster::environment(self.name)?;
        let with = |cmd: Cmd, (name, value): &(String, OsString)| cmd.env(name, value);
        Ok(environment.iter().fold(Cmd::new(program, purpose), with))
    }

    /// Leaves in `folder` what a person would look at after a failure.
    fn keep_evidence(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        // Those of the pods, too: they lie on the nodes' disks.
        cluster::copy_logs(self.name, folder)?;
        let looks: [(&str, &[&str]); 4] = [
            (
                "objects.txt",
                &[
                    "get",
                    "pods,daemonsets,deployments,moraine",
                    "-A",
                    "-o",
                    "wide",
                ],
            ),
            (
                "events.txt",
                &["get", "events", "-A", "--sort-by=.lastTimestamp"],
            ),
            ("pods.txt", &["describe", "pods", "-n", NAMESPACE]),
            ("moraine.yaml", &["get", "moraine", "-o", "yaml"]),
        ];
        for (file, arguments) in looks {
            let seen = self
                .look(arguments)
                .unwrap_or_else(|error| format!("{error:#}"));
            fs::write(folder.join(file), seen).with_context(|| format!("writing {file}"))?;
        }
        Ok(())
    }

    fn look(&self, arguments: &[&str]) -> Result<String> {
        let kubectl = self.kubectl("look at the cluster")?;
        kubectl
            .args(arguments)
            .limit(Duration::from_secs(20))
            .read()
    }
}

impl test::Cluster for Lab {
    fn up(&self) -> Result<Vec<(String, OsString)>> {
        // What an earlier run left, asked for or not, could be of another checkout.
        cluster::down(self.name, false)?;
        self.prepare()?;
        let mut environment = cluster::environment(self.name)?;
        environment.push((CLUSTER_VARIABLE.to_owned(), self.name.into()));
        Ok(environment)
    }

    fn copy_logs(&self, folder: &Path) -> Result<()> {
        self.keep_evidence(folder)
    }

    fn down(&self) -> Result<()> {
        cluster::down(self.name, false)
    }
}

/// Runs `work` on the lab, and takes the cluster down however it ends, unless `keep` says otherwise and it went well.
pub(crate) fn with(lab: &Lab, keep: bool, work: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    preflight::system()?;
    let outcome = work(lab);
    let there = cluster::exists(lab.name)?;
    if let Err(error) = &outcome
        && there
        && interrupt::check().is_ok()
    {
        let folder = evidence_folder(lab.name)?;
        match interrupt::shielded(|| lab.keep_evidence(&folder)) {
            Ok(()) => eprintln!("  what the cluster looked like is in {}", folder.display()),
            Err(second) => eprintln!("  after {error:#}: no evidence could be kept: {second:#}"),
        }
    }
    if !there || (keep && outcome.is_ok()) {
        return outcome;
    }
    let down = interrupt::shielded(|| cluster::down(lab.name, false));
    outcome.and(down)
}

fn evidence_folder(name: &str) -> Result<PathBuf> {
    let folder = places::cache()?.join("logs").join(format!("failed-{name}"));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    Ok(folder)
}

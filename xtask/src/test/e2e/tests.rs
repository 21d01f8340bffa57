//! A cluster always goes down, and what failed leaves its logs.

use super::*;
use anyhow::bail;
use std::cell::RefCell;
use std::ffi::OsString;

/// A cluster that notes what is asked of it.
#[derive(Default)]
struct Noted {
    calls: RefCell<Vec<&'static str>>,
    broken: bool,
}

impl Cluster for Noted {
    fn up(&self) -> Result<Vec<(String, OsString)>> {
        self.calls.borrow_mut().push("up");
        if self.broken {
            bail!("the API server does not answer");
        }
        Ok(vec![("KUBECONFIG".into(), "here".into())])
    }

    fn copy_logs(&self, folder: &Path) -> Result<()> {
        self.calls.borrow_mut().push("logs");
        fs::create_dir_all(folder)?;
        Ok(fs::write(folder.join("kubelet.log"), "ready")?)
    }

    fn down(&self) -> Result<()> {
        self.calls.borrow_mut().push("down");
        Ok(())
    }
}

fn failed() -> Report {
    let mut report = Report::default();
    report.add_failure(
        "moraine-e2e::volumes attach::twice",
        "it was attached twice",
    );
    report
}

#[test]
fn tests_see_the_cluster_and_the_logs_folder() {
    let (cluster, folder) = (Noted::default(), tempfile::tempdir().unwrap());
    let logs = folder.path().join("logs");
    let tally = run_on(&cluster, false, &logs, |environment| {
        let names: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["KUBECONFIG", LOGS_VARIABLE]);
        assert!(Path::new(&environment[1].1).is_dir());
        Ok(Report::default())
    });
    assert_eq!(tally.unwrap(), Tally::default());
    assert_eq!(*cluster.calls.borrow(), ["up", "down"]);
    assert!(!logs.exists());
}

#[test]
fn failures_leave_logs_and_no_cluster() {
    let (cluster, folder) = (Noted::default(), tempfile::tempdir().unwrap());
    let logs = folder.path().join("logs");
    let tally = run_on(&cluster, false, &logs, |_| Ok(failed())).unwrap();
    assert_eq!(tally.failed, 1);
    assert_eq!(*cluster.calls.borrow(), ["up", "logs", "down"]);
    let kept = logs.join("moraine-e2e-volumes-attach-twice.log");
    assert_eq!(fs::read_to_string(kept).unwrap(), "it was attached twice");
    assert!(logs.join("cluster/kubelet.log").exists());
}

#[test]
fn a_cluster_that_does_not_come_up_is_taken_down() {
    let cluster = Noted {
        broken: true,
        ..Noted::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let outcome = run_on(&cluster, false, folder.path(), |_| Ok(Report::default()));
    assert!(outcome.unwrap_err().to_string().contains("API server"));
    assert_eq!(*cluster.calls.borrow(), ["up", "logs", "down"]);
}

#[test]
fn tests_that_break_off_leave_no_cluster() {
    let (cluster, folder) = (Noted::default(), tempfile::tempdir().unwrap());
    let outcome = run_on(&cluster, false, folder.path(), |_| {
        bail!("stopped as asked")
    });
    assert!(outcome.is_err());
    assert_eq!(cluster.calls.borrow().last(), Some(&"down"));
}

#[test]
fn a_cluster_is_kept_when_asked() {
    let (cluster, folder) = (Noted::default(), tempfile::tempdir().unwrap());
    run_on(
        &cluster,
        true,
        &folder.path().join("logs"),
        |_| Ok(failed()),
    )
    .unwrap();
    assert_eq!(*cluster.calls.borrow(), ["up", "logs"]);
}

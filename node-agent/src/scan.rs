//! Looks at the devices every now and then, and when what is wanted changes, on a thread of its own: a
//! disk may take its time to answer.

use crate::devices::{Host, InUse, find, inspect, judge};
use crate::observe::{Known, Looked, Wanted};
use moraine_crds::UnusedDevice;
use std::time::Duration;
use tokio::sync::watch;

/// How often devices are looked at though nothing has changed.
const SCAN_EVERY: Duration = Duration::from_secs(30);
/// Changes that come within this time are looked at together.
const GATHER: Duration = Duration::from_millis(500);
/// A look that takes longer is worth a warning; only one is under way at any time.
const SLOW_AFTER: Duration = Duration::from_secs(20);
/// The most devices that the report has room for.
const DEVICES_MAX: usize = 128;

/// Looks for ever. Without a host there is nothing to look at, and the answer is known at once.
pub(crate) async fn keep(host: Option<Host>, known: &watch::Sender<Known>) {
    let mut changes = known.subscribe();
    loop {
        let wanted = changes.borrow_and_update().wanted();
        if let Some(wanted) = wanted {
            let looked = look_aside(host.clone(), wanted).await;
            known.send_if_modified(|known| {
                let news = known.found != looked;
                known.found = looked;
                news
            });
        }
        let next = tokio::time::Instant::now() + SCAN_EVERY;
        loop {
            let before = known
                .borrow()
                .found
                .as_ref()
                .map(|looked| looked.wanted.clone());
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                news = changes.changed() => if news.is_err() { return },
            }
            if changes.borrow_and_update().wanted() != before {
                tokio::time::sleep(GATHER).await;
                break;
            }
        }
    }
}

async fn look_aside(host: Option<Host>, wanted: Vec<Wanted>) -> Option<Looked> {
    let Some(host) = host else {
        return Some(Looked {
            wanted,
            devices: Vec::new(),
        });
    };
    let mut look = tokio::task::spawn_blocking(move || look(&host, wanted));
    let in_time = tokio::time::timeout(SLOW_AFTER, &mut look).await;
    let answer = if let Ok(answer) = in_time {
        answer
    } else {
        let seconds = SLOW_AFTER.as_secs();
        tracing::warn!("looking at the devices takes more than {seconds} s: a disk may hang");
        look.await
    };
    answer
        .inspect_err(|error| tracing::error!("looking at the devices failed: {error}"))
        .ok()
}

/// One look at all that is wanted.
fn look(host: &Host, wanted: Vec<Wanted>) -> Looked {
    let in_use = InUse::read(&host.procfs, &host.root);
    let mut devices: Vec<UnusedDevice> = Vec::new();
    for pool in &wanted {
        for found in find(&host.root, &pool.paths) {
            // The list holds each path once.
            if let Some(other) = devices.iter_mut().find(|device| device.path == found.path) {
                other.message = format!("{}; pool {} names it too", other.message, pool.pool);
                continue;
            }
            let facts = match found.number {
                Some(number) => inspect(host, &found, number, &in_use),
                None => Err("it isn't a block device".to_owned()),
            };
            let verdict = judge(&found, &facts, pool.wipe);
            devices.push(UnusedDevice {
                path: found.path,
                pool: pool.pool.clone(),
                size_bytes: facts.map_or(0, |facts| facts.size_bytes),
                reason: verdict.reason.to_owned(),
                message: verdict.message.chars().take(1000).collect(),
            });
        }
    }
    if devices.len() > DEVICES_MAX {
        let number = devices.len();
        tracing::warn!(
            "pools name {number} devices, of which {DEVICES_MAX} are reported: narrow devices.paths"
        );
        devices.truncate(DEVICES_MAX);
    }
    Looked { wanted, devices }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_two_pools_name_is_the_first_ones() {
        let root = tempfile::tempdir().unwrap();
        let host = Host {
            root: root.path().to_owned(),
            sysfs: root.path().join("sys"),
            procfs: root.path().join("proc"),
        };
        let wants = |pool: &str, paths: &[&str]| Wanted {
            pool: pool.to_owned(),
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
            wipe: false,
        };
        let wanted = vec![wants("a", &["/dev/x"]), wants("b", &["/dev/x", "/dev/y"])];
        let looked = look(&host, wanted.clone());
        assert_eq!(looked.wanted, wanted);
        let told: Vec<_> = looked
            .devices
            .iter()
            .map(|d| (d.path.as_str(), d.pool.as_str(), d.reason.as_str()))
            .collect();
        assert_eq!(
            told,
            [("/dev/x", "a", "NotFound"), ("/dev/y", "b", "NotFound")]
        );
        assert!(looked.devices[0].message.ends_with("pool b names it too"));
    }
}

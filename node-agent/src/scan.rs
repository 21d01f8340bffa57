//! Looks at the devices every now and then, and when what is wanted changes, on a thread of its own: a
//! disk may take its time to answer. What is fit for a pool is taken in the same look that judged it.

use crate::devices::{Claimant, Found, Host, InUse, Take, Verdict, find, inspect, judge};
use crate::observe::{Known, Looked, Wanted};
use crate::serving::{ClaimingPool, DeviceClaim, Serving};
use moraine_crds::UnusedDevice;
use moraine_model::{ClusterId, DiskId};
use std::collections::BTreeSet;
use std::sync::Arc;
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

/// Looks for ever. Without a host there are no devices to look at, only files.
pub(crate) async fn keep(host: Option<Host>, serving: Arc<Serving>, known: &watch::Sender<Known>) {
    let mut changes = known.subscribe();
    loop {
        let wanted = {
            let known = changes.borrow_and_update();
            known.wanted().map(|wanted| (wanted, known.pool_ids()))
        };
        if let Some((wanted, pools)) = wanted {
            let (host, serving) = (host.clone(), Arc::clone(&serving));
            let looked = aside(move || look(host.as_ref(), &serving, wanted, pools)).await;
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

/// Looks on a thread of its own.
async fn aside(look: impl FnOnce() -> Looked + Send + 'static) -> Option<Looked> {
    let mut look = tokio::task::spawn_blocking(look);
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

/// What one look has found so far.
struct Look<'a> {
    serving: &'a Serving,
    /// All pools that there are.
    pools: BTreeSet<ClusterId>,
    in_use: InUse,
    unused: Vec<UnusedDevice>,
    /// Devices that were taken, now or before.
    taken: BTreeSet<String>,
    seen: BTreeSet<DiskId>,
}

/// One look at all that is wanted, where there are these pools.
pub(crate) fn look(
    host: Option<&Host>,
    serving: &Serving,
    wanted: Vec<Wanted>,
    mut pools: BTreeSet<ClusterId>,
) -> Looked {
    pools.extend(serving.pools());
    let mut look = Look {
        serving,
        pools,
        in_use: host.map_or_else(InUse::default, |host| InUse::read(&host.procfs, &host.root)),
        unused: Vec::new(),
        taken: BTreeSet::new(),
        seen: BTreeSet::new(),
    };
    for pool in &wanted {
        if let Some(bytes) = pool.file_bytes {
            look.at_file(pool, bytes);
        }
        if let Some(host) = host {
            for found in find(&host.root, &pool.paths) {
                look.at_device(host, pool, &found);
            }
        }
    }
    serving.settle(&look.seen);
    let mut devices = look.unused;
    if devices.len() > DEVICES_MAX {
        let number = devices.len();
        tracing::warn!(
            "pools name {number} devices that aren't used, of which {DEVICES_MAX} are reported: narrow devices.paths"
        );
        devices.truncate(DEVICES_MAX);
    }
    Looked { wanted, devices }
}

impl Look<'_> {
    fn at_file(&mut self, wanted: &Wanted, bytes: u64) {
        // Without an id the file would be nobody's.
        let Some(pool) = claiming(wanted) else { return };
        if let Err(error) = self.serving.claim_file(&pool, bytes) {
            let error = error.context("making or opening the file of the pool on this node");
            let path = format!("pools/{}/disk", pool.id);
            self.refused(wanted, &path, "FileFailed", &error);
        }
    }

    fn at_device(&mut self, host: &Host, wanted: &Wanted, found: &Found) {
        let name = found.number.map(|number| number.to_string());
        let name = name.unwrap_or_else(|| found.path.clone());
        if self.taken.contains(&name) {
            return;
        }
        let facts = match found.number {
            Some(number) => inspect(host, found, number, &self.in_use),
            None => Err("it isn't a block device".to_owned()),
        };
        let claimant = Claimant {
            pool: wanted.id,
            others: &self.pools,
            wipe: wanted.wipe,
        };
        let verdict = judge(found, &facts, &claimant);
        if let (Some(pool), Some(take), Ok(facts)) = (claiming(wanted), verdict.take, &facts) {
            let claim = DeviceClaim { found, facts, take };
            // Names of one device are one device, so this is another one: a copy, block by block.
            if let Take::Open(disk) = take
                && !self.seen.insert(disk)
            {
                let message = format!(
                    "it is a copy of disk {disk}, which another device is too: take one of them out"
                );
                let verdict = Verdict {
                    reason: "Duplicate",
                    message,
                    take: None,
                };
                return self.left_alone(wanted, &found.path, facts.size_bytes, &verdict);
            }
            match self.serving.claim_device(&pool, &claim) {
                Ok(()) => {
                    self.taken.insert(name);
                    // Another pool that names it too has said so; whose it is is plain now.
                    self.unused.retain(|device| device.path != found.path);
                }
                Err(error) => self.refused(wanted, &found.path, "Failed", &error),
            }
            return;
        }
        let size = facts.map_or(0, |facts| facts.size_bytes);
        self.left_alone(wanted, &found.path, size, &verdict);
    }

    fn refused(
        &mut self,
        wanted: &Wanted,
        path: &str,
        reason: &'static str,
        error: &anyhow::Error,
    ) {
        tracing::warn!(path, pool = wanted.pool, "not taken: {error:#}");
        let verdict = Verdict {
            reason,
            message: format!("{error:#}"),
            take: None,
        };
        self.left_alone(wanted, path, 0, &verdict);
    }

    fn left_alone(&mut self, wanted: &Wanted, path: &str, size_bytes: u64, verdict: &Verdict) {
        // The list holds each path once.
        if let Some(other) = self.unused.iter_mut().find(|device| device.path == path) {
            let message = format!("{}; pool {} names it too", other.message, wanted.pool);
            other.message = message.chars().take(1000).collect();
            return;
        }
        self.unused.push(UnusedDevice {
            path: path.chars().take(255).collect(),
            pool: wanted.pool.clone(),
            size_bytes,
            reason: verdict.reason.to_owned(),
            message: verdict.message.chars().take(1000).collect(),
        });
    }
}

/// The pool as one that can take disks, if it has an id.
fn claiming(wanted: &Wanted) -> Option<ClaimingPool> {
    Some(ClaimingPool {
        name: wanted.pool.clone(),
        id: wanted.id?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::DeviceNumber;
    use crate::serving::sample;
    use std::path::Path;

    /// A machine whose devices are sparse files, with the folders in which the kernel tells of them.
    fn machine(root: &Path) -> Host {
        let host = Host {
            root: root.to_owned(),
            sysfs: root.join("sys"),
            procfs: root.join("proc"),
        };
        for number in ["8:16", "8:32"] {
            let folder = host.sysfs.join("dev/block").join(number);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("size"), ((2_u64 << 30) / 512).to_string()).unwrap();
        }
        std::fs::create_dir(root.join("dev")).unwrap();
        let device = std::fs::File::create(root.join("dev/sdb")).unwrap();
        device.set_len(2 << 30).unwrap();
        std::os::unix::fs::symlink("sdb", root.join("dev/sdc")).unwrap();
        host
    }

    fn device(host: &Host, name: &str, minor: u32) -> Found {
        Found {
            path: format!("/dev/{name}"),
            node: host.root.join("dev").join(name),
            number: Some(DeviceNumber { major: 8, minor }),
            exists: true,
        }
    }

    /// What a look of pools 7 and 8 at these devices leaves alone.
    fn left(host: &Host, serving: &Serving, pool: &Wanted, devices: &[Found]) -> Vec<UnusedDevice> {
        let ids = [7, 8].map(|id| ClusterId::new(id).unwrap());
        let mut look = Look {
            serving,
            pools: ids.into(),
            in_use: InUse::default(),
            unused: Vec::new(),
            taken: BTreeSet::new(),
            seen: BTreeSet::new(),
        };
        for device in devices {
            look.at_device(host, pool, device);
        }
        look.unused
    }

    #[test]
    fn a_blank_device_is_taken_once_and_never_by_two_pools() {
        let root = tempfile::tempdir().unwrap();
        let host = machine(root.path());
        let serving = sample::serving(&root.path().join("data"));
        let map = sample::map(0, 4, |_| sample::listed(&[0], &[]));
        assert!(serving.take_maps(&[map], |_| false).is_empty());
        let pool = |name: &str, id, wipe| Wanted {
            pool: name.to_owned(),
            id: ClusterId::new(id).ok(),
            paths: Vec::new(),
            wipe,
            file_bytes: None,
        };
        let (sdb, sdc) = (device(&host, "sdb", 16), device(&host, "sdc", 32));
        let first = std::slice::from_ref(&sdb);
        let ours = pool("a", 7, false);
        assert_eq!(
            left(&host, &serving, &pool("a", 0, false), first)[0].reason,
            "NotServedYet"
        );
        assert_eq!(left(&host, &serving, &ours, first), [], "it is taken");
        assert_eq!(left(&host, &serving, &ours, first), [], "it is held");
        // Its copy, by another number.
        let copy = left(&host, &serving, &ours, &[sdb.clone(), sdc]);
        assert_eq!(
            (&*copy[0].path, &*copy[0].reason),
            ("/dev/sdc", "Duplicate")
        );
        for wipe in [false, true] {
            let other = left(&host, &serving, &pool("b", 8, wipe), first);
            assert_eq!(other[0].reason, "OtherPool", "wipe {wipe}");
        }
    }

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
            id: None,
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
            wipe: false,
            file_bytes: None,
        };
        let wanted = vec![wants("a", &["/dev/x"]), wants("b", &["/dev/x", "/dev/y"])];
        let serving = sample::serving(&root.path().join("data"));
        let looked = look(Some(&host), &serving, wanted.clone(), BTreeSet::new());
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

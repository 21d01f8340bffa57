//! Settings of the host's kernel that several kubelets need higher. They are raised only if lower, and put back
//! when the last cluster goes.

use super::state;
use crate::lock::{self, Lock};
use crate::places;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Below /proc/sys, with what we need.
const NEEDED: [(&str, u64); 2] = [
    ("fs/inotify/max_user_instances", 8192),
    ("fs/inotify/max_user_watches", 262_144),
];

/// Raises what is too low. The cluster's folder must be there already: it is what keeps the settings up.
pub(super) fn raise() -> Result<()> {
    let _lock = take_lock()?;
    raise_in(Path::new("/proc/sys"), &state::all()?.join("settings.json"))
}

/// Puts the old values back if no cluster is left.
pub(super) fn restore() -> Result<()> {
    let record = state::all()?.join("settings.json");
    if !record.exists() {
        return Ok(());
    }
    let _lock = take_lock()?;
    if state::names()?.is_empty() {
        restore_in(Path::new("/proc/sys"), &record)?;
    }
    Ok(())
}

fn take_lock() -> Result<Lock> {
    lock::wait_for(
        &places::cache()?.join("locks/settings"),
        "changes kernel settings",
    )
}

fn raise_in(settings: &Path, record: &Path) -> Result<()> {
    let mut former = read(record)?;
    for (name, wanted) in NEEDED {
        let file = settings.join(name);
        let value: u64 = fs::read_to_string(&file)
            .with_context(|| format!("reading {}", file.display()))?
            .trim()
            .parse()?;
        if value < wanted {
            // Written down first; an older record is the true former value.
            former.entry(name.to_owned()).or_insert(value);
            fs::write(record, serde_json::to_string(&former)?)
                .with_context(|| format!("writing {}", record.display()))?;
            fs::write(&file, wanted.to_string())
                .with_context(|| format!("raising {}", file.display()))?;
        }
    }
    Ok(())
}

fn restore_in(settings: &Path, record: &Path) -> Result<()> {
    for (name, former) in read(record)? {
        let file = settings.join(&name);
        let ours = NEEDED.iter().any(|(needed, wanted)| {
            *needed == name
                && fs::read_to_string(&file).is_ok_and(|now| now.trim() == wanted.to_string())
        });
        // Whoever changed it meanwhile knows better.
        if ours {
            fs::write(&file, former.to_string())
                .with_context(|| format!("restoring {}", file.display()))?;
        }
    }
    fs::remove_file(record).with_context(|| format!("removing {}", record.display()))
}

fn read(record: &Path) -> Result<BTreeMap<String, u64>> {
    match fs::read_to_string(record) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        result => serde_json::from_str(&result?)
            .with_context(|| format!("{} is damaged", record.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_low_is_raised_and_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let (settings, record) = (folder.path(), folder.path().join("record"));
        fs::create_dir_all(settings.join("fs/inotify")).unwrap();
        let low = settings.join(NEEDED[0].0);
        let high = settings.join(NEEDED[1].0);
        fs::write(&low, "128\n").unwrap();
        fs::write(&high, "9999999\n").unwrap();
        let now = |file: &Path| fs::read_to_string(file).unwrap().trim().to_owned();
        raise_in(settings, &record).unwrap();
        // A second cluster finds it raised; the first value must stay on record.
        raise_in(settings, &record).unwrap();
        assert_eq!(
            (now(&low), now(&high)),
            ("8192".to_owned(), "9999999".to_owned())
        );
        restore_in(settings, &record).unwrap();
        assert_eq!(
            (now(&low), now(&high)),
            ("128".to_owned(), "9999999".to_owned())
        );
        assert!(!record.exists());
    }

    #[test]
    fn a_value_that_another_changed_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (settings, record) = (folder.path(), folder.path().join("record"));
        fs::create_dir_all(settings.join("fs/inotify")).unwrap();
        for (name, _) in NEEDED {
            fs::write(settings.join(name), "1").unwrap();
        }
        raise_in(settings, &record).unwrap();
        fs::write(settings.join(NEEDED[0].0), "10000").unwrap();
        restore_in(settings, &record).unwrap();
        assert_eq!(
            fs::read_to_string(settings.join(NEEDED[0].0)).unwrap(),
            "10000"
        );
        assert_eq!(fs::read_to_string(settings.join(NEEDED[1].0)).unwrap(), "1");
    }
}

//! Whether a pool could take a device, and if not, why: from facts alone.
//!
//! What is in use is never taken, whatever the pool says; what only holds data is taken if the pool
//! says `wipe`. A device that isn't recognised counts as holding data, unless it is blank.

use super::find::Found;
use super::inspect::{Content, Facts, Use};
use super::signature::Family;

/// The smallest device that is taken, as small as a trial pool's file may be.
pub(super) const SIZE_MIN_BYTES: u64 = 1 << 30;

/// The word on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In a stable word.
    pub reason: &'static str,
    /// In a sentence: why, and what to do about it.
    pub message: String,
}

fn verdict(reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict {
        reason,
        message: message.into(),
    }
}

/// The word on what a pattern led to; `facts` are those of a block device.
pub fn judge(found: &Found, facts: &Result<Facts, String>, wipe: bool) -> Verdict {
    if !found.exists {
        return verdict("NotFound", "there is no such device on this node");
    }
    if found.number.is_none() {
        return verdict(
            "NotABlockDevice",
            "it isn't a block device: name disks in spec.devices.paths",
        );
    }
    match facts {
        Err(why) => verdict("Unreadable", why.clone()),
        Ok(facts) => in_use(facts)
            .or_else(|| unfit(facts))
            .unwrap_or_else(|| held(facts, wipe)),
    }
}

/// What uses the device, if anything does.
fn in_use(facts: &Facts) -> Option<Verdict> {
    if let Some(used) = &facts.used {
        let (reason, way_out) = match used {
            Use::Mounted(_) => ("Mounted", "unmount it"),
            Use::Swap => ("Busy", "run `swapoff` on it"),
            Use::Held(_) => ("Busy", "take that apart"),
        };
        let message = format!("it is {used}: {way_out} first, if the pool is to have it");
        return Some(verdict(reason, message));
    }
    let used = facts.partitions.iter().find_map(|partition| {
        let used = partition.used.as_ref()?;
        Some(format!("its partition {} is {used}", partition.name))
    })?;
    Some(verdict("HasPartitions", used))
}

/// What makes the device useless to a pool, whatever lies on it.
fn unfit(facts: &Facts) -> Option<Verdict> {
    if facts.size_bytes == 0 {
        return Some(verdict(
            "NoMedium",
            "it has no medium, or nothing is bound to it",
        ));
    }
    if facts.read_only {
        return Some(verdict("ReadOnly", "the kernel refuses writes to it"));
    }
    if facts.removable {
        return Some(verdict(
            "Removable",
            "its medium can be taken out, and the data with it: only fixed disks are taken",
        ));
    }
    if facts.zoned {
        return Some(verdict(
            "Zoned",
            "each of its zones must be written in order, which isn't supported",
        ));
    }
    if facts.size_bytes < SIZE_MIN_BYTES {
        let message = format!(
            "it has {} bytes: a disk must have at least {SIZE_MIN_BYTES} (1Gi)",
            facts.size_bytes
        );
        return Some(verdict("TooSmall", message));
    }
    match &facts.content {
        Content::Unreadable(why) => Some(verdict("Unreadable", format!("it can't be read: {why}"))),
        _ => None,
    }
}

/// What the device holds, and what follows from that.
fn held(facts: &Facts, wipe: bool) -> Verdict {
    let names: Vec<&str> = facts
        .partitions
        .iter()
        .map(|partition| partition.name.as_str())
        .collect();
    let (reason, what) = match &facts.content {
        _ if !names.is_empty() => (
            "HasPartitions",
            format!("partitions ({})", names.join(", ")),
        ),
        Content::Known(signature) => match signature.family {
            Family::Partitions => (
                "HasPartitions",
                format!("a partition table ({})", signature.name),
            ),
            Family::FileSystem => (
                "HasFileSystem",
                format!("a file system ({})", signature.name),
            ),
            Family::Member => (
                "HasOtherData",
                format!("data of another system ({})", signature.name),
            ),
            Family::Moraine => ("HasMoraineData", "data of a pool of Moraine".to_owned()),
        },
        Content::Blank => {
            return verdict(
                USABLE,
                "it is blank and usable; this version of Moraine does not format disks yet",
            );
        }
        Content::Data | Content::NotLooked | Content::Unreadable(_) => (
            "HasUnknownData",
            "data in its first or last mebibyte that isn't recognised".to_owned(),
        ),
    };
    if wipe {
        let message = format!(
            "it holds {what}, which the pool's devices.wipe gives up; this version of Moraine does not format disks yet"
        );
        return verdict(USABLE, message);
    }
    let message = format!(
        "it holds {what}: if nothing on it is needed, make it blank (`wipefs --all`, then zeros on its first and last mebibyte) or set devices.wipe in the pool"
    );
    verdict(reason, message)
}

/// The word for a device that would be taken if this version could.
pub(super) const USABLE: &str = "NotServedYet";

#[cfg(test)]
mod tests {
    use super::super::find::DeviceNumber;
    use super::super::inspect::Partition;
    use super::super::signature::Signature;
    use super::*;

    fn found() -> Found {
        Found {
            path: "/dev/sdb".to_owned(),
            node: "/dev/sdb".into(),
            number: Some(DeviceNumber {
                major: 8,
                minor: 16,
            }),
            exists: true,
        }
    }

    fn blank() -> Facts {
        Facts {
            size_bytes: SIZE_MIN_BYTES,
            read_only: false,
            removable: false,
            zoned: false,
            used: None,
            partitions: Vec::new(),
            content: Content::Blank,
        }
    }

    fn known(family: Family, name: &'static str) -> Content {
        Content::Known(Signature { family, name })
    }

    fn partition(used: Option<Use>) -> Vec<Partition> {
        vec![Partition {
            name: "sdb1".to_owned(),
            used,
        }]
    }

    /// Facts, the word without `wipe`, and the word with it.
    fn cases() -> Vec<(Facts, &'static str, &'static str)> {
        let with = |change: &dyn Fn(&mut Facts)| {
            let mut facts = blank();
            change(&mut facts);
            facts
        };
        let content = |content: Content| with(&|facts| facts.content = content.clone());
        vec![
            (blank(), USABLE, USABLE),
            (
                with(&|f| f.used = Some(Use::Mounted("/mnt".into()))),
                "Mounted",
                "Mounted",
            ),
            (with(&|f| f.used = Some(Use::Swap)), "Busy", "Busy"),
            (
                with(&|f| f.used = Some(Use::Held(vec!["dm-0".into()]))),
                "Busy",
                "Busy",
            ),
            (
                with(&|f| f.partitions = partition(Some(Use::Swap))),
                "HasPartitions",
                "HasPartitions",
            ),
            (
                with(&|f| f.partitions = partition(None)),
                "HasPartitions",
                USABLE,
            ),
            (with(&|f| f.size_bytes = 0), "NoMedium", "NoMedium"),
            (with(&|f| f.read_only = true), "ReadOnly", "ReadOnly"),
            (with(&|f| f.removable = true), "Removable", "Removable"),
            (with(&|f| f.zoned = true), "Zoned", "Zoned"),
            (with(&|f| f.size_bytes -= 1), "TooSmall", "TooSmall"),
            (
                content(Content::Unreadable("EIO".into())),
                "Unreadable",
                "Unreadable",
            ),
            (
                content(known(Family::Partitions, "gpt")),
                "HasPartitions",
                USABLE,
            ),
            (
                content(known(Family::FileSystem, "xfs")),
                "HasFileSystem",
                USABLE,
            ),
            (
                content(known(Family::Member, "crypto_LUKS")),
                "HasOtherData",
                USABLE,
            ),
            (
                content(known(Family::Moraine, "moraine")),
                "HasMoraineData",
                USABLE,
            ),
            (content(Content::Data), "HasUnknownData", USABLE),
            (content(Content::NotLooked), "HasUnknownData", USABLE),
        ]
    }

    #[test]
    fn each_fact_has_its_word() {
        for (facts, kept, wiped) in cases() {
            for (wipe, word) in [(false, kept), (true, wiped)] {
                let verdict = judge(&found(), &Ok(facts.clone()), wipe);
                assert_eq!(verdict.reason, word, "wipe {wipe}: {facts:?}");
                assert!(verdict.message.len() < 1024);
            }
        }
    }

    #[test]
    fn what_is_in_use_is_so_before_all_else() {
        for (mut facts, _, _) in cases() {
            facts.used = Some(Use::Mounted("/data".to_owned()));
            let verdict = judge(&found(), &Ok(facts), true);
            assert_eq!(verdict.reason, "Mounted");
            assert!(verdict.message.contains("/data"), "{}", verdict.message);
        }
    }

    #[test]
    fn names_that_lead_nowhere_have_a_word_too() {
        let nowhere = Err("not asked".to_owned());
        let gone = Found {
            number: None,
            exists: false,
            ..found()
        };
        assert_eq!(judge(&gone, &nowhere, true).reason, "NotFound");
        let terminal = Found {
            number: None,
            ..found()
        };
        assert_eq!(judge(&terminal, &nowhere, true).reason, "NotABlockDevice");
        assert_eq!(judge(&found(), &nowhere, true).reason, "Unreadable");
    }

    #[test]
    fn a_message_names_what_is_held_and_the_way_out() {
        let mut facts = blank();
        facts.content = known(Family::FileSystem, "xfs");
        let kept = judge(&found(), &Ok(facts.clone()), false).message;
        assert!(
            kept.contains("(xfs)") && kept.contains("devices.wipe"),
            "{kept}"
        );
        let wiped = judge(&found(), &Ok(facts), true).message;
        assert!(
            wiped.contains("(xfs)") && wiped.contains("gives up"),
            "{wiped}"
        );
    }
}

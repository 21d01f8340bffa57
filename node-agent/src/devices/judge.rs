//! Whether a pool takes a device, and if not, why: from facts alone.
//!
//! What is in use is never taken, whatever the pool says; what only holds data is taken if the pool
//! says `wipe`. A device that isn't recognised counts as holding data, unless it is blank. A disk of a
//! pool of Moraine is that pool's: no other takes it while its pool exists, `wipe` or not.

use super::find::Found;
use super::inspect::{Content, Facts, Owner, Use};
use super::signature::Family;
use moraine_model::{ClusterId, DiskId};
use std::collections::BTreeSet;

/// The smallest device that is taken, as small as a trial pool's file may be.
pub(super) const SIZE_MIN_BYTES: u64 = 1 << 30;

/// The word on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In a stable word.
    pub reason: &'static str,
    /// In a sentence: why, and what to do about it.
    pub message: String,
    /// What may be done with it now.
    pub take: Option<Take>,
}

/// How a device is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is the pool's already, as this disk.
    Open(DiskId),
    /// It is formatted first.
    Format {
        /// Whether what it holds is given up.
        wipe: bool,
    },
}

/// The pool that would have the device.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// Its id; `None` while it has none, for its `BucketMap` is not made.
    pub pool: Option<ClusterId>,
    /// Ids of all pools that there are, this one's too.
    pub others: &'a BTreeSet<ClusterId>,
    /// Whether it takes what holds data.
    pub wipe: bool,
}

fn verdict(reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict {
        reason,
        message: message.into(),
        take: None,
    }
}

/// The word on what a pattern led to; `facts` are those of a block device.
pub fn judge(found: &Found, facts: &Result<Facts, String>, claimant: &Claimant<'_>) -> Verdict {
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
            .unwrap_or_else(|| held(facts, claimant)),
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
fn held(facts: &Facts, claimant: &Claimant<'_>) -> Verdict {
    if let Content::Moraine(owner) = &facts.content
        && let Some(verdict) = owned(*owner, claimant)
    {
        return verdict;
    }
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
        Content::Moraine(owner) => (
            "HasMoraineData",
            format!("disk {} of pool {}, which is gone", owner.disk, owner.pool),
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
            Family::Moraine => return damaged(),
        },
        Content::Blank => return usable("it is blank", claimant, false),
        Content::NotLooked => return verdict("HasUnknownData", "it wasn't looked at"),
        Content::Data | Content::Unreadable(_) => (
            "HasUnknownData",
            "data in its first or last mebibyte that isn't recognised".to_owned(),
        ),
    };
    if claimant.wipe {
        let state = format!("it holds {what}, which the pool's devices.wipe gives up");
        return usable(&state, claimant, true);
    }
    let message = format!(
        "it holds {what}: if nothing on it is needed, make it blank (`wipefs --all`, then zeros on its first and last mebibyte) or set devices.wipe in the pool"
    );
    verdict(reason, message)
}

/// The word on a disk of a pool that exists.
fn owned(owner: Owner, claimant: &Claimant<'_>) -> Option<Verdict> {
    if claimant.pool == Some(owner.pool) {
        return Some(Verdict {
            reason: USABLE,
            message: "it is a disk of this pool, and isn't served yet".to_owned(),
            take: Some(Take::Open(owner.disk)),
        });
    }
    if !claimant.others.contains(&owner.pool) {
        return None;
    }
    let message = format!(
        "it is disk {} of another pool, {}: that one must name it in its devices.paths",
        owner.disk, owner.pool
    );
    Some(verdict("OtherPool", message))
}

/// The word on what has Moraine's mark and doesn't say whose it is: it may hold the only copy, so not
/// even `wipe` is enough.
fn damaged() -> Verdict {
    verdict(
        "HasMoraineData",
        "it holds a disk of Moraine whose superblocks are damaged or of another version: run `moraine-agent store check` on it; if nothing on it is needed, make it blank (`wipefs --all`, then zeros on its first and last mebibyte)",
    )
}

fn usable(state: &str, claimant: &Claimant<'_>, wipe: bool) -> Verdict {
    if claimant.pool.is_none() {
        let message =
            format!("{state}; it is taken once the operator has made the pool's BucketMap");
        return verdict(USABLE, message);
    }
    Verdict {
        reason: USABLE,
        message: format!("{state}, and isn't served yet"),
        take: Some(Take::Format { wipe }),
    }
}

/// The word for a device that is taken, or will be.
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
            model: None,
            serial: None,
        }
    }

    fn pool(number: u128) -> ClusterId {
        ClusterId::new(number).unwrap()
    }

    /// The word for pool 1, in a cluster that has pool 2 too.
    fn word(found: &Found, facts: &Result<Facts, String>, wipe: bool) -> Verdict {
        let others = [pool(1), pool(2)].into();
        let claimant = Claimant {
            pool: Some(pool(1)),
            others: &others,
            wipe,
        };
        judge(found, facts, &claimant)
    }

    fn known(family: Family, name: &'static str) -> Content {
        Content::Known(Signature { family, name })
    }

    fn of_pool(number: u128) -> Content {
        Content::Moraine(Owner {
            pool: pool(number),
            disk: DiskId::new(9).unwrap(),
        })
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
                "HasMoraineData",
            ),
            (content(Content::Data), "HasUnknownData", USABLE),
            (
                content(Content::NotLooked),
                "HasUnknownData",
                "HasUnknownData",
            ),
        ]
    }

    #[test]
    fn a_disk_of_a_pool_is_its_own_and_no_others_while_that_pool_exists() {
        let said = |number, wipe| {
            let facts = Facts {
                content: of_pool(number),
                ..blank()
            };
            word(&found(), &Ok(facts), wipe).reason
        };
        for wipe in [false, true] {
            assert_eq!(said(1, wipe), USABLE);
            assert_eq!(said(2, wipe), "OtherPool");
        }
        assert_eq!(said(3, false), "HasMoraineData");
        assert_eq!(said(3, true), USABLE);
    }

    #[test]
    fn each_fact_has_its_word() {
        for (facts, kept, wiped) in cases() {
            for (wipe, expected) in [(false, kept), (true, wiped)] {
                let verdict = word(&found(), &Ok(facts.clone()), wipe);
                assert_eq!(verdict.reason, expected, "wipe {wipe}: {facts:?}");
                assert!(verdict.message.len() < 1024);
                assert_eq!(verdict.take.is_some(), expected == USABLE, "{facts:?}");
            }
        }
    }

    #[test]
    fn what_is_the_pools_is_opened_and_only_what_is_given_up_is_wiped() {
        let take = |content: Content, wipe| {
            let facts = Facts { content, ..blank() };
            word(&found(), &Ok(facts), wipe).take
        };
        let disk = DiskId::new(9).unwrap();
        for wipe in [false, true] {
            assert_eq!(take(of_pool(1), wipe), Some(Take::Open(disk)));
            assert_eq!(
                take(Content::Blank, wipe),
                Some(Take::Format { wipe: false }),
                "what is blank needs no wiping, and is looked at once more"
            );
        }
        assert_eq!(take(Content::Data, true), Some(Take::Format { wipe: true }));
        assert_eq!(take(Content::Data, false), None);
    }

    #[test]
    fn a_pool_without_an_id_takes_nothing() {
        let others = [pool(1)].into();
        let claimant = Claimant {
            pool: None,
            others: &others,
            wipe: true,
        };
        for content in [Content::Blank, Content::Data, of_pool(1), of_pool(3)] {
            let facts = Facts { content, ..blank() };
            assert_eq!(judge(&found(), &Ok(facts), &claimant).take, None);
        }
        let verdict = judge(&found(), &Ok(blank()), &claimant);
        assert!(verdict.message.contains("BucketMap"), "{}", verdict.message);
    }

    #[test]
    fn what_is_in_use_is_so_before_all_else() {
        for (mut facts, _, _) in cases() {
            facts.used = Some(Use::Mounted("/data".to_owned()));
            let verdict = word(&found(), &Ok(facts), true);
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
        assert_eq!(word(&gone, &nowhere, true).reason, "NotFound");
        let terminal = Found {
            number: None,
            ..found()
        };
        assert_eq!(word(&terminal, &nowhere, true).reason, "NotABlockDevice");
        assert_eq!(word(&found(), &nowhere, true).reason, "Unreadable");
    }

    #[test]
    fn a_message_names_what_is_held_and_the_way_out() {
        let mut facts = blank();
        facts.content = known(Family::FileSystem, "xfs");
        let kept = word(&found(), &Ok(facts.clone()), false).message;
        assert!(
            kept.contains("(xfs)") && kept.contains("devices.wipe"),
            "{kept}"
        );
        let wiped = word(&found(), &Ok(facts), true).message;
        assert!(
            wiped.contains("(xfs)") && wiped.contains("gives up"),
            "{wiped}"
        );
    }
}

//! Deleting, snapshots and clones: records in the log that say what is still read.
//!
//! The record is durable first and takes effect then; recovery reads it and comes to the same.
//! A control goes in a batch of its own, with nothing else in flight, so "before" and "after" it
//! mean the same to requests and to LSNs.

use super::records::Record;
use super::request::StoreKey;
use super::{Control, Shard};
use crate::StoreError;
use crate::disk::Disk;
use crate::format::RecordKey;
use crate::index::Share;
use moraine_model::Cut;

/// A store record and its value.
type Plan = (StoreKey, Option<Vec<u8>>);

impl<D: Disk> Shard<D> {
    /// The record that a control needs, or `None` if there is nothing to do.
    pub(super) fn plan_control(
        &self,
        share: Share,
        control: Control,
    ) -> Result<Option<Plan>, StoreError> {
        if self.layout().shard_of(share.bucket) != self.segments.shard {
            return Err(StoreError::Malformed("the bucket belongs to another shard"));
        }
        let known = self.index.share(share);
        let retention = known.map(|known| &known.retention);
        Ok(match control {
            Control::DropShare | Control::LeaveShare => {
                let leaves = control == Control::LeaveShare;
                let keeps = |child: &Share| !leaves || self.index.share(*child).is_some();
                if let Some(child) = self.index.children(share).find(keeps) {
                    return Err(StoreError::Referenced(child.volume));
                }
                known.map(|_| (StoreKey::Dropped(share), Some(Vec::new())))
            }
            Control::DeleteVolume { cut } => retention
                .filter(|retention| retention.head_is_read())
                .map(|_| (StoreKey::Deleted(share), Some(cut.0.to_le_bytes().to_vec()))),
            Control::DeleteSnapshot { cut } => retention
                .filter(|retention| retention.is_snapshot(cut))
                .map(|_| (StoreKey::Snapshot(share, cut), Some(Vec::new()))),
            Control::AddReference { cut, child } => {
                let reader = Share {
                    volume: child,
                    bucket: share.bucket,
                };
                match self.index.parent(reader) {
                    Some(parent) if parent == (share.volume, cut) => return Ok(None),
                    Some((parent, _)) => return Err(StoreError::Referenced(parent)),
                    None => {}
                }
                if child == share.volume || !retention.is_none_or(|kept| kept.keeps(cut)) {
                    return Err(StoreError::NoSnapshot {
                        volume: share.volume,
                        cut,
                    });
                }
                Some((StoreKey::Reference(share, cut, child), Some(Vec::new())))
            }
            Control::RemoveReference { cut, child } => {
                let reader = Share {
                    volume: child,
                    bucket: share.bucket,
                };
                let reads = self.index.share(reader);
                if reads.is_some_and(|reads| reads.retention.anyone_reads(Cut(0), None)) {
                    return Err(StoreError::Referenced(child));
                }
                retention
                    .filter(|retention| retention.has_reference(cut, child))
                    .map(|_| (StoreKey::Reference(share, cut, child), None))
            }
        })
    }

    /// Sets a record, or its tombstone.
    pub(super) fn set_record(
        &mut self,
        segment: u32,
        key: RecordKey,
        value: Option<Vec<u8>>,
        lsn: u64,
    ) {
        self.segments.acquire_record(segment);
        if let Some(before) = self.records.set(
            key,
            Record {
                value,
                lsn,
                segment,
            },
        ) {
            self.segments.release_record(before.segment);
        }
    }

    /// Lets a record take effect; its share is looked through for what nobody reads any more.
    pub(super) fn apply_control(&mut self, key: StoreKey, value: Option<&[u8]>) {
        self.note_retention(key, value);
        let Self {
            index, segments, ..
        } = self;
        index.collect(key.share(), |freed| segments.release(freed));
    }

    /// Lets a record take effect on what is kept, and on nothing else.
    pub(super) fn note_retention(&mut self, key: StoreKey, value: Option<&[u8]>) {
        match (key, value) {
            (StoreKey::Deleted(share), value) => {
                let cut = value
                    .and_then(|value| value.try_into().ok())
                    .map(u64::from_le_bytes);
                if let Some(cut) = cut {
                    self.index.share_mut(share).retention.delete_head(Cut(cut));
                }
            }
            (StoreKey::Snapshot(share, cut), Some(_)) => {
                self.index.share_mut(share).retention.delete_snapshot(cut);
            }
            (StoreKey::Reference(share, cut, child), Some(_)) => {
                self.index.add_reference(share, cut, child);
            }
            (StoreKey::Reference(share, cut, child), None) => {
                self.index.remove_reference(share, cut, child);
            }
            (StoreKey::Dropped(_), _) | (StoreKey::Snapshot(..), None) => {}
        }
    }

    /// Forgets a share with its records.
    pub(super) fn forget_share(&mut self, share: Share) {
        let Self {
            index, segments, ..
        } = self;
        index.drop_share(share, |freed| segments.release(freed));
        let keys: Vec<RecordKey> = self
            .records
            .iter()
            .filter(|(key, _)| StoreKey::decode(key).is_some_and(|key| key.share() == share))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            if let Some(record) = self.records.remove(&key) {
                self.segments.release_record(record.segment);
            }
        }
    }
}

//! The newest record of each key, and which segment it lives in.
//!
//! A removed record is kept as a tombstone, because an older entry that sets it may still lie on
//! the disk. Compaction drops it when that can no longer be.

use crate::format::RecordKey;
use std::collections::BTreeMap;

/// One record, or the tombstone of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) lsn: u64,
    pub(crate) segment: u32,
}

/// All records of a shard.
#[derive(Debug, Default)]
pub(crate) struct Records {
    records: BTreeMap<RecordKey, Record>,
}

impl Records {
    pub(crate) fn get(&self, key: &RecordKey) -> Option<&Record> {
        self.records.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &RecordKey) -> Option<&mut Record> {
        self.records.get_mut(key)
    }

    /// Sets a record; returns the one it replaces.
    pub(crate) fn set(&mut self, key: RecordKey, record: Record) -> Option<Record> {
        self.records.insert(key, record)
    }

    pub(crate) fn remove(&mut self, key: &RecordKey) -> Option<Record> {
        self.records.remove(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RecordKey, &Record)> {
        self.records.iter()
    }
}

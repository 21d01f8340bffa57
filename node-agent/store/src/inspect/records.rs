//! What a record means, in words.
//!
//! Only the store's own; notes belong to the replica above it.

use crate::format::RecordKey;
use crate::shard::request::{StoreKey, note_of};

/// What it means that a record with this key is set.
pub fn meaning(key: &RecordKey) -> String {
    if let Some(note) = note_of(key) {
        return format!("note {}", hexadecimal(note));
    }
    let Some(store_key) = StoreKey::decode(key) else {
        return format!("unknown record {}", hexadecimal(key.as_bytes()));
    };
    let share = store_key.share();
    let of = format!("volume {}, bucket {}", share.volume, share.bucket.get());
    match store_key {
        StoreKey::Dropped(_) => format!("{of}: replica dropped"),
        StoreKey::Deleted(_) => format!("{of}: volume deleted"),
        StoreKey::Snapshot(_, cut) => format!("{of}: snapshot {} deleted", cut.0),
        StoreKey::Reference(_, cut, child) => {
            format!("{of}: clone {child} reads snapshot {}", cut.0)
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16));
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Share;
    use crate::shard::request::note_key;
    use moraine_model::{BucketId, Cut, VolumeId};

    #[test]
    fn each_key_has_its_words() {
        let share = Share {
            volume: VolumeId::new(7).unwrap(),
            bucket: BucketId::new(3).unwrap(),
        };
        let key = StoreKey::Reference(share, Cut(2), VolumeId::new(8).unwrap()).encode();
        let words = meaning(&key);
        assert!(words.contains("bucket 3: clone 0") && words.ends_with("8 reads snapshot 2"));
        assert_eq!(meaning(&note_key(&[1, 255]).unwrap()), "note 01ff");
        let stranger = RecordKey::new(vec![9, 9]).unwrap();
        assert_eq!(meaning(&stranger), "unknown record 0909");
    }
}

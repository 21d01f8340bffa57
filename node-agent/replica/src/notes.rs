//! What the replicas keep on the disk beside blocks: their notes, as bytes.
//!
//! Every number is little-endian. A key begins with its kind, and a value with the version of its
//! layout, but for descriptions, which are the shell's own bytes from the first to the last.
//!
//! | key | value | meaning |
//! |---|---|---|
//! | 1, bucket (4) | 1, epoch (8), then per listing: disk (16), role (1: 1 in sync, 2 syncing), since (8) | the adopted entry |
//! | 2, bucket (4), volume (16) | 1, attach (4), incarnation (4) | the newest generation that opened the share |
//! | 3, bucket (4), volume (16) | 1, attach (4), incarnation (4), sequence (8) | the commit mark |
//! | 4, volume (16) | any | the description of a volume |
//!
//! What can't be read makes the start fail: a fence or entry that is forgotten would let a
//! superseded engine write. An unknown kind too: a newer version wrote it, and knows why.

use crate::StartError;
use moraine_model::{
    BucketEntry, BucketId, DiskId, Epoch, Generation, Listing, Role, Share, Stamp, VolumeId,
};

const ENTRY: u8 = 1;
const FENCE: u8 = 2;
const MARK: u8 = 3;
const DESCRIPTION: u8 = 4;
const VERSION: u8 = 1;
const IN_SYNC: u8 = 1;
const SYNCING: u8 = 2;

/// Most bytes of a description.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 512;

/// A note as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    Entry(BucketEntry),
    Fence(Share, Generation),
    Mark(Share, Stamp),
    Description(VolumeId, Vec<u8>),
}

/// The key of a bucket's entry.
pub(crate) fn entry_key(bucket: BucketId) -> Vec<u8> {
    let mut key = vec![ENTRY];
    key.extend(bucket.get().to_le_bytes());
    key
}

/// The key of a share's fence.
pub(crate) fn fence_key(share: Share) -> Vec<u8> {
    share_key(FENCE, share)
}

/// The key of a share's mark.
pub(crate) fn mark_key(share: Share) -> Vec<u8> {
    share_key(MARK, share)
}

/// The key of a volume's description.
pub(crate) fn description_key(volume: VolumeId) -> Vec<u8> {
    let mut key = vec![DESCRIPTION];
    key.extend(volume.get().to_le_bytes());
    key
}

fn share_key(kind: u8, share: Share) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(share.bucket.get().to_le_bytes());
    key.extend(share.volume.get().to_le_bytes());
    key
}

/// The value of an entry's note: at most 209 bytes.
pub(crate) fn entry_value(entry: &BucketEntry) -> Vec<u8> {
    let mut value = vec![VERSION];
    value.extend(entry.epoch().0.to_le_bytes());
    for listing in entry.listings() {
        value.extend(listing.disk.get().to_le_bytes());
        value.push(match listing.role {
            Role::InSync => IN_SYNC,
            Role::Syncing => SYNCING,
        });
        value.extend(listing.since.0.to_le_bytes());
    }
    value
}

/// The value of a fence's note.
pub(crate) fn fence_value(fence: Generation) -> Vec<u8> {
    let mut value = vec![VERSION];
    value.extend(fence.attach.to_le_bytes());
    value.extend(fence.incarnation.to_le_bytes());
    value
}

/// The value of a mark's note.
pub(crate) fn mark_value(mark: Stamp) -> Vec<u8> {
    let mut value = fence_value(mark.generation);
    value.extend(mark.sequence.to_le_bytes());
    value
}

/// Reads a note.
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Note, StartError> {
    let bad = |what| StartError::Note {
        what,
        key: key.to_vec(),
    };
    let Some((kind, rest)) = key.split_first() else {
        return Err(bad("its key is empty"));
    };
    let mut rest = Reader(rest);
    let note = match *kind {
        ENTRY => {
            let bucket = rest.bucket().ok_or(bad("its key is malformed"))?;
            Note::Entry(decode_entry(bucket, value).map_err(bad)?)
        }
        FENCE | MARK => {
            let share = rest.share().ok_or(bad("its key is malformed"))?;
            let mut fields = versioned(value).map_err(bad)?;
            let generation = fields.generation();
            let generation = generation.ok_or(bad("a generation is cut short"))?;
            let note = if *kind == FENCE {
                Note::Fence(share, generation)
            } else {
                let sequence = fields.u64().ok_or(bad("a mark is cut short"))?;
                Note::Mark(
                    share,
                    Stamp {
                        generation,
                        sequence,
                    },
                )
            };
            if !fields.0.is_empty() {
                return Err(bad("its value is too long"));
            }
            note
        }
        DESCRIPTION => {
            let volume = rest.volume().ok_or(bad("its key is malformed"))?;
            Note::Description(volume, value.to_vec())
        }
        _ => return Err(bad("a newer version of Moraine wrote it")),
    };
    if rest.0.is_empty() {
        Ok(note)
    } else {
        Err(bad("its key is too long"))
    }
}

fn versioned(value: &[u8]) -> Result<Reader<'_>, &'static str> {
    match value.split_first() {
        Some((&VERSION, rest)) => Ok(Reader(rest)),
        Some(_) => Err("its layout is that of a newer version of Moraine"),
        None => Err("its value is empty"),
    }
}

fn decode_entry(bucket: BucketId, value: &[u8]) -> Result<BucketEntry, &'static str> {
    let mut fields = versioned(value)?;
    let epoch = Epoch(fields.u64().ok_or("an epoch is cut short")?);
    let mut listings = Vec::new();
    while !fields.0.is_empty() {
        listings.push(fields.listing().ok_or("a listing is malformed")?);
    }
    BucketEntry::new(bucket, epoch, listings).map_err(|_| "no map has such an entry")
}

/// Takes fields off the front of some bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_le_bytes)
    }

    fn bucket(&mut self) -> Option<BucketId> {
        BucketId::new(self.u32()?).ok()
    }

    fn volume(&mut self) -> Option<VolumeId> {
        VolumeId::new(self.u128()?).ok()
    }

    fn share(&mut self) -> Option<Share> {
        let bucket = self.bucket()?;
        let volume = self.volume()?;
        Some(Share { volume, bucket })
    }

    fn generation(&mut self) -> Option<Generation> {
        Some(Generation {
            attach: self.u32()?,
            incarnation: self.u32()?,
        })
    }

    fn listing(&mut self) -> Option<Listing> {
        let disk = DiskId::new(self.u128()?).ok()?;
        let role = match self.take()? {
            [IN_SYNC] => Role::InSync,
            [SYNCING] => Role::Syncing,
            _ => return None,
        };
        let since = Epoch(self.u64()?);
        Some(Listing { disk, role, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share() -> Share {
        Share {
            volume: VolumeId::new(0x0123_4567).unwrap(),
            bucket: BucketId::new(77).unwrap(),
        }
    }

    fn entry() -> BucketEntry {
        let listing = |disk, role, since| Listing {
            disk: DiskId::new(disk).unwrap(),
            role,
            since: Epoch(since),
        };
        let listings = vec![
            listing(9, Role::InSync, 2),
            listing(u128::MAX, Role::Syncing, 5),
        ];
        BucketEntry::new(share().bucket, Epoch(6), listings).unwrap()
    }

    fn all() -> Vec<(Vec<u8>, Vec<u8>, Note)> {
        let volume = share().volume;
        let mark = Stamp::new(3, 4, 5);
        let fence = mark.generation;
        vec![
            (
                entry_key(entry().bucket()),
                entry_value(&entry()),
                Note::Entry(entry()),
            ),
            (
                fence_key(share()),
                fence_value(fence),
                Note::Fence(share(), fence),
            ),
            (
                mark_key(share()),
                mark_value(mark),
                Note::Mark(share(), mark),
            ),
            (
                description_key(volume),
                vec![],
                Note::Description(volume, vec![]),
            ),
            (
                description_key(volume),
                vec![9; 512],
                Note::Description(volume, vec![9; 512]),
            ),
        ]
    }

    #[test]
    fn a_note_is_read_back_as_it_was_written() {
        for (key, value, note) in all() {
            assert!(key.len() < 64 && value.len() <= DESCRIPTION_BYTES_MAX);
            assert_eq!(decode(&key, &value).unwrap(), note);
        }
    }

    #[test]
    fn the_bytes_of_a_note_never_change() {
        // Written down once: disks that are out there hold these.
        assert_eq!(fence_key(share())[..6], [2, 77, 0, 0, 0, 0x67]);
        assert_eq!(
            mark_value(Stamp::new(3, 4, 5)),
            [1, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]
        );
        let value = entry_value(&entry());
        assert_eq!(value[..11], [1, 6, 0, 0, 0, 0, 0, 0, 0, 9, 0]);
        assert_eq!(value[25..34], [1, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((value[50], value.len()), (2, 59));
    }

    #[test]
    fn a_note_that_is_cut_short_or_too_long_or_newer_is_an_error() {
        for (key, value, note) in all() {
            if matches!(note, Note::Description(..)) {
                continue;
            }
            for length in 0..value.len() {
                // An entry that ends behind its in-sync listing is a shorter entry.
                let whole = matches!(note, Note::Entry(_)) && length == 34;
                assert_eq!(decode(&key, &value[..length]).is_ok(), whole, "{length}");
            }
            let longer: Vec<u8> = value.iter().copied().chain([0]).collect();
            assert!(decode(&key, &longer).is_err());
            let mut newer = value.clone();
            newer[0] = 2;
            assert!(decode(&key, &newer).is_err());
        }
        for (key, value, _) in all() {
            for length in 0..key.len() {
                assert!(decode(&key[..length], &value).is_err());
            }
            let longer: Vec<u8> = key.iter().copied().chain([1]).collect();
            assert!(decode(&longer, &value).is_err());
        }
        assert!(
            decode(&[5, 0], &[]).is_err(),
            "a kind that this version doesn't know"
        );
    }
}

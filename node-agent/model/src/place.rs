//! Where the chunks of volumes belong: shares, places, and the hash that gives each chunk its
//! bucket. On which disks a bucket lies is the map's subject.

use crate::{BucketId, ChunkIndex, VolumeId};

/// One volume's part in one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// The volume.
    pub volume: VolumeId,
    /// The bucket.
    pub bucket: BucketId,
}

/// The chunk that blocks belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The volume.
    pub volume: VolumeId,
    /// The bucket that the chunk lies in.
    pub bucket: BucketId,
    /// The chunk.
    pub chunk: ChunkIndex,
}

impl Share {
    /// The place of a chunk of the share.
    pub fn place(self, chunk: ChunkIndex) -> Place {
        Place {
            volume: self.volume,
            bucket: self.bucket,
            chunk,
        }
    }
}

impl Place {
    /// The share that the chunk belongs to.
    pub fn share(&self) -> Share {
        Share {
            volume: self.volume,
            bucket: self.bucket,
        }
    }
}

/// The bucket of a chunk, in a pool that has `buckets` of them.
///
/// `key` is the placement key: the volume's own id, or its ancestor's for a clone, so that blocks
/// which both read meet in one bucket. The function is part of the format: were it to change, every
/// chunk would be looked for elsewhere.
pub fn bucket_of(key: VolumeId, chunk: ChunkIndex, buckets: u32) -> Option<BucketId> {
    let key = key.get().to_le_bytes();
    let (low, high) = key.split_at(8);
    let number = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("a half is 8 bytes"));
    let mixed = mix(mix(mix(number(low)) ^ number(high)) ^ u64::from(chunk.get()));
    let bucket = mixed.checked_rem(u64::from(buckets))?;
    BucketId::new(u32::try_from(bucket).ok()?).ok()
}

/// The output step of the SplitMix64 generator: each bit of the input stirs all of the output.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(key: u128, chunk: u32, buckets: u32) -> u32 {
        let key = VolumeId::new(key).unwrap();
        let chunk = ChunkIndex::new(chunk).unwrap();
        bucket_of(key, chunk, buckets).unwrap().get()
    }

    #[test]
    fn the_bucket_of_a_chunk_never_changes() {
        // Written down once: data that is out there was placed by these.
        let found = [
            bucket(1, 0, 1024),
            bucket(1, 1, 1024),
            bucket(1 << 64, 0, 1024),
            bucket(0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8, 77, 4096),
        ];
        assert_eq!(found, [707, 563, 944, 293]);
    }

    #[test]
    fn chunks_spread_evenly_over_the_buckets() {
        let mut counts = [0_u32; 64];
        for chunk in 0..64_000 {
            counts[bucket(0xfeed, chunk, 64) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_pool_without_buckets_has_no_place_for_a_chunk() {
        let (key, chunk) = (VolumeId::new(1).unwrap(), ChunkIndex::new(0).unwrap());
        assert_eq!(bucket_of(key, chunk, 0), None);
    }
}

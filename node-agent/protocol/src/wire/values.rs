//! The fields of bodies: the model's values, and those that several messages share.
//!
//! Each value goes through the constructor of its type, so that nothing is out of range behind here.

use crate::cursor::{Field, Reader, fields, tagged};
use crate::{
    At, Block, BodyError, ChunkStamp, Content, LayerStamp, Part, ShareState, Under, Version,
    VersionKind,
};
use moraine_model::{
    BlockRange, BucketEntry, BucketId, Checksums, ChunkIndex, ClusterId, Cut, DiskId, Epoch,
    Generation, Listing, Role, Share, Stamp, Tag, VolumeId,
};

macro_rules! checked {
    ($($name:ty: $number:ty),*) => {$(
        impl Field for $name {
            const BYTES_MIN: usize = size_of::<$number>();

            fn put(&self, out: &mut Vec<u8>) {
                self.get().put(out);
            }

            fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
                Ok(Self::new(reader.take::<$number>()?)?)
            }
        }
    )*};
}
checked!(ClusterId: u128, DiskId: u128, VolumeId: u128, BucketId: u32, ChunkIndex: u32);

macro_rules! plain {
    ($($name:ident),*) => {$(
        impl Field for $name {
            const BYTES_MIN: usize = size_of::<u64>();

            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
                reader.take().map(Self)
            }
        }
    )*};
}
plain!(Cut, Epoch);

fields! {
    Generation { attach: u32, incarnation: u32 }
    Stamp { generation: Generation, sequence: u64 }
    Tag { stamp: Stamp, cut: Cut, epoch: Epoch }
    Share { volume: VolumeId, bucket: BucketId }
    Under { share: Share, generation: Generation, epoch: Epoch }
    Block { chunk: ChunkIndex, range: BlockRange }
    Listing { disk: DiskId, role: Role, since: Epoch }
    Version { range: BlockRange, kind: VersionKind, tag: Tag }
    Part { version: Version, inherited: bool, checksums: Checksums }
    ChunkStamp { chunk: ChunkIndex, newest: Stamp }
    LayerStamp { cut: Cut, newest: Stamp }
    ShareState {
        volume: VolumeId,
        fence: Generation,
        deleted_at: Option<Cut>,
        deleted_snapshots: Vec<Cut>,
        references: Vec<(Cut, VolumeId)>
    }
}

impl Field for (Cut, VolumeId) {
    const BYTES_MIN: usize = Cut::BYTES_MIN + VolumeId::BYTES_MIN;

    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        Ok((reader.take()?, reader.take()?))
    }
}

impl Field for BlockRange {
    const BYTES_MIN: usize = 4;

    fn put(&self, out: &mut Vec<u8>) {
        self.first().put(out);
        self.count().put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        let (first, count) = (reader.take()?, reader.take()?);
        Ok(Self::new(first, count)?)
    }
}

tagged!(Role, "role of a replica" {
    0 = InSync {}
    1 = Syncing {}
});

tagged!(VersionKind, "kind of a version" {
    0 = Data {}
    1 = Zero {}
});

tagged!(Content, "kind of content" {
    0 = Data { checksums }
    1 = Zero {}
});

impl Field for Checksums {
    const BYTES_MIN: usize = 2;

    fn put(&self, out: &mut Vec<u8>) {
        let count = u16::try_from(self.len()).expect("there is at most one for each block");
        count.put(out);
        for sum in self.iter() {
            sum.put(out);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        // One block is the most frequent, and needs no memory.
        match reader.take::<u16>()? {
            1 => reader.take::<u32>().map(Self::from),
            count => reader.several::<u32>(usize::from(count)).map(Self::from),
        }
    }
}

impl Field for At {
    const BYTES_MIN: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Head => out.push(0),
            Self::Cut(cut) => {
                out.push(1);
                cut.put(out);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        match reader.take()? {
            0 => Ok(Self::Head),
            1 => reader.take().map(Self::Cut),
            found => Err(BodyError::Tag {
                what: "place in the history of a volume",
                found,
            }),
        }
    }
}

impl Field for BucketEntry {
    // Bucket, epoch, the number of its listings.
    const BYTES_MIN: usize = 4 + 8 + 1;

    fn put(&self, out: &mut Vec<u8>) {
        self.bucket().put(out);
        self.epoch().put(out);
        let count = u8::try_from(self.listings().len()).expect("an entry has at most 8 listings");
        count.put(out);
        for listing in self.listings() {
            listing.put(out);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        let (bucket, epoch) = (reader.take()?, reader.take()?);
        let count: u8 = reader.take()?;
        let listings: Vec<Listing> = reader.several(usize::from(count))?;
        // The constructor sorts them; on the wire they have one order.
        if !listings.is_sorted_by(|one, next| one.disk < next.disk) {
            return Err(BodyError::Order {
                what: "replicas of a bucket",
            });
        }
        Ok(Self::new(bucket, epoch, listings)?)
    }
}

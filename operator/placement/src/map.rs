//! The bucket map of one pool, as plain values: what the operator decides over.
//!
//! Disks are places in a list that the caller keeps. What the data plane reads is made from this map
//! and holds the same; the words are those of the BucketMap object.

/// A disk, by its place in the list of disks that the map's user keeps.
pub type Place = u32;

/// The map of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// The version of the map; it grows with each change.
    pub epoch: u64,
    /// One entry per bucket, in order of bucket; none while nothing was placed yet.
    pub buckets: Vec<Bucket>,
}

/// Where one bucket lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The version of the map that last changed `replicas`.
    pub epoch: u64,
    /// The replicas that are listed: each gets every write.
    pub replicas: Vec<Replica>,
    /// Disks that were dropped for a failure, and get the bucket back if they return in time.
    pub away: Vec<Place>,
    /// The change of place that is under way.
    pub moving: Option<Move>,
}

/// A replica that the map lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where it lies.
    pub disk: Place,
    /// Whether it holds every acknowledged write (I2), rather than only those since it was listed.
    pub in_sync: bool,
    /// The version of the map since which it is listed without a break.
    pub since: u64,
}

/// A bucket on its way to another disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The disk that takes the bucket.
    pub to: Place,
    /// The disk that gives it up once the copy is whole; `None`: a lost replica is made again.
    pub from: Option<Place>,
    /// How far it is.
    pub stage: Stage,
    /// The version of the map since which it is there.
    pub since: u64,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The disk has to accept or to refuse.
    Offered,
    /// The disk is listed as syncing.
    Copying,
}

impl Bucket {
    /// The replica on this disk, if one is listed.
    pub fn on(&self, disk: Place) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.disk == disk)
    }

    /// The replicas in sync.
    pub fn in_sync(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.in_sync)
    }

    /// The disk that gives the bucket up when the move that is under way ends.
    pub fn leaving(&self) -> Option<Place> {
        self.moving.and_then(|moving| moving.from)
    }

    /// Where the bucket will lie when all that is under way has ended well, and the disks that are
    /// away are back.
    pub fn destined(&self) -> impl Iterator<Item = Place> {
        let leaving = self.leaving();
        let offered = self.moving.filter(|moving| moving.stage == Stage::Offered);
        let listed = self.replicas.iter().map(|replica| replica.disk);
        listed
            .chain(self.away.iter().copied())
            .filter(move |&disk| Some(disk) != leaving)
            .chain(offered.map(|moving| moving.to))
    }
}

//! What a disk answers to the map: offers that it accepts or refuses, and copies that are whole. Pure,
//! from the map and what is known of the disk.
//!
//! An offer is accepted if there is room: what is free below the pool's near-full ratio, less what was
//! promised, must hold one bucket more. What a bucket takes is guessed from those that the disk holds in
//! sync: their share of what is used, and at least one segment. Promised are the buckets whose offer was
//! accepted and those that are still copied. An offer is answered once: what was said stays until the
//! map has moved on.

use moraine_crds::{Answer, BucketMap, BucketPlace, BucketReport, MoveStep};
use moraine_model::DiskId;
use std::collections::BTreeMap;

/// The most bytes of a message.
const MESSAGE_LIMIT: usize = 256;

/// The room of a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// What is below the near-full ratio.
    pub(super) usable: u64,
    /// What is used.
    pub(super) used: u64,
    /// What a segment has.
    pub(super) segment: u64,
}

/// What one disk has said and has to say.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// Answers to offers, by bucket.
    offers: BTreeMap<u32, BucketReport>,
    /// Copies that became whole, by bucket: the epoch since which the replica is listed.
    synced: BTreeMap<u32, u64>,
}

impl Answers {
    /// A copy is whole. Whether that is news.
    pub(super) fn synced(&mut self, bucket: u32, since: u64) -> bool {
        self.synced.insert(bucket, since) != Some(since)
    }

    /// What is to be said under this map, where the disk has place `place`; `room` is how full it is, or
    /// why nothing may come to it.
    pub(super) fn reports(
        &mut self,
        map: &BucketMap,
        place: u32,
        room: &Result<Room, String>,
    ) -> Vec<BucketReport> {
        let buckets = map.status.iter().flat_map(|status| &status.buckets);
        let buckets: Vec<(u32, &BucketPlace)> = (0..).zip(buckets).collect();
        let at = |bucket: u32| {
            let index = usize::try_from(bucket).ok()?;
            buckets.get(index).map(|(_, bucket)| *bucket)
        };
        self.synced
            .retain(|bucket, since| at(*bucket).and_then(|at| copied(at, place)) == Some(*since));
        self.offers.retain(|bucket, said| {
            at(*bucket).and_then(|at| offered(at, place)) == Some(said.epoch)
        });
        for &(bucket, entry) in &buckets {
            let Some(epoch) = offered(entry, place) else {
                continue;
            };
            if !self.offers.contains_key(&bucket) {
                let answer = room
                    .clone()
                    .and_then(|room| self.fits(&buckets, place, room));
                self.offers.insert(bucket, report(bucket, epoch, answer));
            }
        }
        let synced = self.synced.iter().map(|(bucket, since)| BucketReport {
            bucket: *bucket,
            epoch: *since,
            answer: Answer::Synced,
            message: None,
        });
        // A bucket is offered, or listed, or neither: never both.
        synced.chain(self.offers.values().cloned()).collect()
    }

    /// Whether there is room for one bucket more.
    fn fits(&self, buckets: &[(u32, &BucketPlace)], place: u32, room: Room) -> Result<(), String> {
        let held = buckets.iter().filter(|(_, at)| at.in_sync.contains(&place));
        let held = held.count() as u64;
        let bucket = room.used.checked_div(held).unwrap_or(0);
        let bucket = bucket.max(room.segment);
        let accepted = self
            .offers
            .values()
            .filter(|said| said.answer == Answer::Accepted);
        let copying = buckets.iter().filter(|(number, at)| {
            copied(at, place).is_some_and(|since| self.synced.get(number) != Some(&since))
        });
        let promised = (accepted.count() + copying.count()) as u64;
        let free = room.usable.saturating_sub(room.used);
        let free = free.saturating_sub(promised.saturating_mul(bucket));
        if free >= bucket {
            return Ok(());
        }
        Err(format!(
            "no room: {free} bytes are free below the near-full ratio and not promised, and a bucket takes about {bucket}"
        ))
    }
}

/// The epoch of the offer of a bucket to the disk at `place`, if it is offered.
fn offered(bucket: &BucketPlace, place: u32) -> Option<u64> {
    let moving = bucket.moving.as_ref()?;
    (moving.to == place && moving.step == MoveStep::Offered).then_some(moving.since)
}

/// Since when the disk at `place` copies a bucket, if it does.
fn copied(bucket: &BucketPlace, place: u32) -> Option<u64> {
    let at = bucket
        .syncing
        .iter()
        .position(|&syncing| syncing == place)?;
    bucket.since.get(bucket.in_sync.len() + at).copied()
}

fn report(bucket: u32, epoch: u64, answer: Result<(), String>) -> BucketReport {
    let refused = answer.err().map(|mut why| {
        why.truncate(why.floor_char_boundary(MESSAGE_LIMIT));
        why
    });
    BucketReport {
        bucket,
        epoch,
        answer: if refused.is_none() {
            Answer::Accepted
        } else {
            Answer::Refused
        },
        message: refused,
    }
}

/// The place of a disk in the map.
pub(super) fn place_of(map: &BucketMap, disk: DiskId) -> Option<u32> {
    let mut disks = map.status.iter().flat_map(|status| &status.disks);
    let place = disks.position(|entry| entry.id() == Ok(disk))?;
    u32::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{listed, map};
    use super::*;
    use moraine_crds::Move;

    const MIB: u64 = 1 << 20;
    /// Of the three disks of the map, the last.
    const PLACE: u32 = 2;

    /// Disk 3 holds bucket 0, and is offered all that `offers` names.
    fn offering(epoch: u64, buckets: u32, offers: &[u32]) -> BucketMap {
        map(epoch, buckets, |bucket| {
            let mut place = listed(if bucket == 0 { &[0, 2] } else { &[0, 1] }, &[]);
            if offers.contains(&bucket) {
                place.moving = Some(Move {
                    to: PLACE,
                    from: Some(1),
                    step: MoveStep::Offered,
                    since: epoch,
                });
            }
            place
        })
    }

    fn room(usable: u64, used: u64) -> Room {
        Room {
            usable: usable * MIB,
            used: used * MIB,
            segment: 8 * MIB,
        }
    }

    fn answers(said: &[BucketReport]) -> Vec<(u32, Answer)> {
        said.iter().map(|said| (said.bucket, said.answer)).collect()
    }

    #[test]
    fn offers_are_accepted_while_there_is_room_for_what_was_promised_too() {
        let mut said = Answers::default();
        // One bucket takes 20 MiB, and 50 are free: two more fit.
        let map = offering(5, 8, &[2, 3, 4]);
        let reports = said.reports(&map, PLACE, &Ok(room(70, 20)));
        let expected = [
            (2, Answer::Accepted),
            (3, Answer::Accepted),
            (4, Answer::Refused),
        ];
        assert_eq!(answers(&reports), expected);
        assert!(reports.iter().all(|said| said.epoch == 5));
        let why = reports[2].message.as_deref().unwrap();
        assert!(why.contains("no room"), "{why}");
        assert_eq!(reports[0].message, None);
    }

    #[test]
    fn a_bucket_takes_a_segment_at_least() {
        let mut said = Answers::default();
        let map = offering(5, 4, &[1, 2]);
        let reports = said.reports(&map, PLACE, &Ok(room(8, 0)));
        let expected = [(1, Answer::Accepted), (2, Answer::Refused)];
        assert_eq!(answers(&reports), expected);
    }

    #[test]
    fn an_answer_stays_until_the_offer_is_gone_and_a_new_offer_gets_a_new_one() {
        let mut said = Answers::default();
        let full = Ok(room(10, 10));
        let first = said.reports(&offering(5, 4, &[1]), PLACE, &full);
        assert_eq!(answers(&first), [(1, Answer::Refused)]);
        // Room has come, but what was said counts.
        let again = said.reports(&offering(5, 4, &[1]), PLACE, &Ok(room(100, 0)));
        assert_eq!(again, first);
        assert_eq!(said.reports(&offering(6, 4, &[]), PLACE, &full), []);
        let anew = said.reports(&offering(7, 4, &[1]), PLACE, &Ok(room(100, 0)));
        assert_eq!((anew[0].answer, anew[0].epoch), (Answer::Accepted, 7));
    }

    #[test]
    fn offers_to_others_and_to_a_broken_disk_are_not_accepted() {
        let mut said = Answers::default();
        let map = offering(5, 4, &[1]);
        assert_eq!(said.reports(&map, 0, &Ok(room(100, 0))), []);
        let reports = said.reports(&map, PLACE, &Err("the disk failed".to_owned()));
        assert_eq!(answers(&reports), [(1, Answer::Refused)]);
        assert_eq!(reports[0].message.as_deref(), Some("the disk failed"));
    }

    #[test]
    fn a_copy_is_said_to_be_whole_until_the_map_says_so_too() {
        let mut said = Answers::default();
        let copying = map(5, 4, |_| listed(&[0, 1], &[PLACE]));
        assert_eq!(said.reports(&copying, PLACE, &Ok(room(100, 0))), []);
        assert!(said.synced(1, 5));
        assert!(!said.synced(1, 5), "it is no news");
        assert!(said.synced(3, 4), "of a listing that is over");
        let reports = said.reports(&copying, PLACE, &Ok(room(100, 0)));
        assert_eq!(answers(&reports), [(1, Answer::Synced)]);
        assert_eq!(reports[0].epoch, 5);
        let whole = map(6, 4, |_| listed(&[0, 1, PLACE], &[]));
        assert_eq!(said.reports(&whole, PLACE, &Ok(room(100, 0))), []);
        let anew = map(7, 4, |_| listed(&[0, 1], &[PLACE]));
        assert_eq!(said.reports(&anew, PLACE, &Ok(room(100, 0))), []);
    }

    #[test]
    fn what_is_still_copied_counts_as_promised() {
        let mut said = Answers::default();
        let map = map(5, 4, |bucket| match bucket {
            0 => listed(&[0, PLACE], &[]),
            1 => listed(&[0, 1], &[PLACE]),
            2 => offering(5, 4, &[2]).status.unwrap().buckets[2].clone(),
            _ => listed(&[0, 1], &[]),
        });
        let reports = said.reports(&map, PLACE, &Ok(room(50, 20)));
        assert_eq!(answers(&reports), [(2, Answer::Refused)]);
        let mut said = Answers::default();
        said.synced(1, 5);
        let reports = said.reports(&map, PLACE, &Ok(room(50, 20)));
        let expected = [(1, Answer::Synced), (2, Answer::Accepted)];
        assert_eq!(answers(&reports), expected);
    }

    #[test]
    fn the_place_of_a_disk_is_that_of_its_id() {
        let map = map(5, 4, |_| listed(&[0], &[]));
        assert_eq!(place_of(&map, DiskId::new(3).unwrap()), Some(2));
        assert_eq!(place_of(&map, DiskId::new(4).unwrap()), None);
    }
}

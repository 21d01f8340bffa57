//! Writes of engines: data, zeros and trims.

use super::Replicas;
use super::open::{SEQUENCE_MAX, check_mark};
use super::requests::{Taken, What};
use crate::bucket::malformed;
use moraine_model::{Cut, Stamp, Tag};
use moraine_protocol::limits::PAYLOAD_BLOCKS_MAX;
use moraine_protocol::{Block, Content, Refusal, Rule, Under};
use moraine_store::{Buffer, Disk, Request, Write};

/// A write as it comes in.
pub(super) struct Incoming {
    pub(super) under: Under,
    pub(super) block: Block,
    pub(super) stamp: Stamp,
    pub(super) cut: Cut,
    pub(super) mark: Stamp,
    pub(super) content: Content,
}

impl<D: Disk> Replicas<D> {
    pub(super) fn write(
        &mut self,
        write: Incoming,
        payload: Option<Buffer>,
    ) -> Result<Taken, Refusal> {
        let listing = self.let_in(&write.under).and_then(|listing| {
            check(&write, payload.as_ref())?;
            Ok(listing)
        });
        let listing = match listing {
            Ok(listing) => listing,
            Err(refusal) => {
                self.recycle_all(payload);
                return Err(refusal);
            }
        };
        let Incoming {
            under,
            block,
            stamp,
            cut,
            mark,
            content,
        } = write;
        let share = under.share;
        if self.takes_marks(share.bucket) {
            self.take_mark(share, mark);
        }
        let place = share.place(block.chunk);
        let mut data_blocks = 0;
        let content = match (content, payload) {
            (Content::Data { checksums }, Some(data)) => {
                data_blocks = block.range.count();
                moraine_store::Content::Data { data, checksums }
            }
            _ => moraine_store::Content::Zero,
        };
        let write = Write {
            place,
            range: block.range,
            tag: Tag {
                stamp,
                cut,
                epoch: under.epoch,
            },
            rule: moraine_store::Rule::Write {
                listed: listing.since,
            },
            content,
        };
        let what = What::Write { share, data_blocks };
        Ok(Taken::Later(what, Some(Request::Write(write))))
    }
}

/// Whether data, range, stamp and mark fit each other.
fn check(write: &Incoming, payload: Option<&Buffer>) -> Result<(), Refusal> {
    let count = write.block.range.count();
    let fits = match (&write.content, payload) {
        (Content::Data { checksums }, Some(data)) => {
            count <= PAYLOAD_BLOCKS_MAX
                && data.len() == write.block.range.bytes()
                && checksums.len() == usize::from(count)
        }
        (Content::Zero, None) => true,
        (Content::Data { .. }, None) | (Content::Zero, Some(_)) => false,
    };
    if !fits {
        return Err(malformed(Rule::PayloadFitsRange));
    }
    check_mark(&write.under, write.mark)?;
    let stamp = write.stamp;
    // A mark that reached the write's own stamp would say that this write, which is under way, is
    // acknowledged by all.
    if stamp.sequence == 0 || stamp.sequence >= SEQUENCE_MAX || write.mark >= stamp {
        return Err(malformed(Rule::StampInRange));
    }
    Ok(())
}

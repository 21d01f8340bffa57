//! Requests and replies in the words of the trace.

use crate::operator::short;
use crate::trace::About;
use crate::value::Spot;
use crate::world::World;
use moraine_model::{Generation, Stamp, VolumeId};
use moraine_protocol::{Block, Content, Reply, Request};

impl World {
    /// Tells that a request reaches a disk.
    pub(crate) fn tell_request(&self, disk: usize, request: &Request) {
        if let Some(about) = self.about_request(request) {
            self.note(about, |_| {
                format!("disk {} gets {}", disk + 1, request_words(request))
            });
        }
    }

    /// Tells that a disk answers.
    pub(crate) fn tell_reply(&self, disk: usize, asked: Option<&Request>, reply: &Reply) {
        let about = asked.and_then(|asked| self.about_request(asked));
        if let (Some(about), Some(asked)) = (about, asked) {
            self.note(about, |_| {
                format!(
                    "disk {} answers {}: {}",
                    disk + 1,
                    request_words(asked),
                    reply_words(reply)
                )
            });
        }
    }

    fn about_request(&self, request: &Request) -> Option<About> {
        Some(match request {
            Request::Write { under, block, .. } | Request::Read { under, block, .. } => {
                self.about_block(under.share.volume, *block)
            }
            Request::Copy { share, block, .. } => self.about_block(share.volume, *block),
            other => About::Bucket(other.bucket()?),
        })
    }

    fn about_block(&self, volume: VolumeId, block: Block) -> About {
        let first = Spot {
            volume: self.volume_number(volume).unwrap_or_default(),
            block: u64::from(block.chunk.get()) * 1024 + u64::from(block.range.first()),
        };
        About::Blocks(first, u64::from(block.range.count()))
    }
}

fn generation(generation: Generation) -> String {
    format!("{}.{}", generation.attach, generation.incarnation)
}

fn stamp(stamp: Stamp) -> String {
    format!("{}.{}", generation(stamp.generation), stamp.sequence)
}

fn block_words(block: Block) -> String {
    format!(
        "{}/{}+{}",
        block.chunk.get(),
        block.range.first(),
        block.range.count()
    )
}

fn request_words(request: &Request) -> String {
    match request {
        Request::Open {
            generation: by,
            entry,
            ..
        } => format!("open by {} under {}", generation(*by), short(entry)),
        Request::Write {
            under,
            block,
            sequence,
            cut,
            mark,
            content,
        } => {
            let zero = matches!(content, Content::Zero);
            format!(
                "{} {}.{sequence} of {} cut {} epoch {} mark {}",
                if zero { "zero" } else { "write" },
                generation(under.generation),
                block_words(*block),
                cut.0,
                under.epoch.0,
                stamp(*mark)
            )
        }
        Request::Read {
            under, block, at, ..
        } => format!(
            "read by {} of {} at {at:?} epoch {}",
            generation(under.generation),
            block_words(*block),
            under.epoch.0
        ),
        Request::Close { under, mark } => {
            format!(
                "close by {} with mark {}",
                generation(under.generation),
                stamp(*mark)
            )
        }
        other => copy_words(other),
    }
}

/// Requests of those that copy, and those that say little.
fn copy_words(request: &Request) -> String {
    match request {
        Request::Adopt { entry } => format!("adopt {}", short(entry)),
        Request::Shares { bucket, epoch, .. } => {
            format!("shares of bucket {} epoch {}", bucket.get(), epoch.0)
        }
        Request::Chunks { above, epoch, .. } => {
            format!("chunks above {} epoch {}", stamp(*above), epoch.0)
        }
        Request::Layers { chunk, epoch, .. } => {
            format!("layers of chunk {} epoch {}", chunk.get(), epoch.0)
        }
        Request::Versions {
            chunk, cut, epoch, ..
        } => {
            format!(
                "versions of chunk {} cut {} epoch {}",
                chunk.get(),
                cut.0,
                epoch.0
            )
        }
        Request::Copy {
            block, cut, epoch, ..
        } => {
            format!(
                "copy of {} cut {} epoch {}",
                block_words(*block),
                cut.0,
                epoch.0
            )
        }
        _ => "ping".into(),
    }
}

fn reply_words(reply: &Reply) -> String {
    match reply {
        Reply::Opened {
            mark,
            cut,
            above_mark,
        } => format!(
            "mark {} cut {} more above it: {above_mark}",
            stamp(*mark),
            cut.0
        ),
        Reply::Done => "done".into(),
        Reply::Data { parts } => {
            let parts = parts.iter().map(|part| {
                let version = &part.version;
                let range = version.range;
                format!(
                    "{}+{} {:?} {}",
                    range.first(),
                    range.count(),
                    version.kind,
                    stamp(version.tag.stamp)
                )
            });
            format!("[{}]", parts.collect::<Vec<_>>().join(", "))
        }
        Reply::Shares { shares, .. } => {
            let shares = shares
                .iter()
                .map(|share| format!("fence {}", generation(share.fence)));
            shares.collect::<Vec<_>>().join(", ")
        }
        Reply::Chunks { chunks, .. } => {
            let chunks = chunks
                .iter()
                .map(|chunk| format!("{} {}", chunk.chunk.get(), stamp(chunk.newest)));
            format!("[{}]", chunks.collect::<Vec<_>>().join(", "))
        }
        Reply::Layers { fence, layers } => {
            let layers = layers
                .iter()
                .map(|layer| format!("cut {} {}", layer.cut.0, stamp(layer.newest)));
            format!(
                "fence {} [{}]",
                generation(*fence),
                layers.collect::<Vec<_>>().join(", ")
            )
        }
        Reply::Versions { fence, versions } => {
            let versions = versions.iter().map(|version| {
                let range = version.range;
                let epoch = version.tag.epoch.0;
                format!(
                    "{}+{} {}@{epoch}",
                    range.first(),
                    range.count(),
                    stamp(version.tag.stamp)
                )
            });
            format!(
                "fence {} [{}]",
                generation(*fence),
                versions.collect::<Vec<_>>().join(", ")
            )
        }
        Reply::Refused(refusal) => format!("refused, {refusal}"),
    }
}

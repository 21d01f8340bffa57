//! What a script says of calls: answers that fit, and such as no source would give.

use super::script::{Script, With};
use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use moraine_store::block_checksums;

impl Script<'_> {
    /// What comes of a call: mostly an answer that fits.
    pub(crate) fn answer(&mut self, request: &Request) -> With<Option<Reply>> {
        match self.below(24) {
            0 => (None, None),
            1 => (Some(Reply::Refused(self.refusal())), None),
            2 => {
                let (other, _) = self.request();
                self.fitting(&other)
            }
            _ => self.fitting(request),
        }
    }

    fn fitting(&mut self, request: &Request) -> With<Option<Reply>> {
        let fence = generation(u32::from(self.below(4)));
        let reply = match request {
            Request::Shares { .. } => self.shares(),
            Request::Chunks { from, .. } => {
                let chunks = (0..self.below(3)).map(|nth| ChunkStamp {
                    chunk: ChunkIndex::new((from.get() + u32::from(nth)) % VOLUME_CHUNKS_MAX)
                        .unwrap(),
                    newest: self.stamp(fence),
                });
                Reply::Chunks {
                    chunks: chunks.collect(),
                    more: self.below(8) == 0,
                }
            }
            Request::Layers { .. } => {
                let cuts = self.below(3);
                let layers = (0..cuts).rev().map(|cut| LayerStamp {
                    cut: Cut(cut.into()),
                    newest: self.stamp(fence),
                });
                let layers = layers.collect();
                Reply::Layers { fence, layers }
            }
            Request::Versions { cut, .. } => {
                let versions = self.versions(BlockRange::WHOLE_CHUNK, *cut);
                Reply::Versions { fence, versions }
            }
            Request::Copy { block, cut, .. } => return self.copied(block.range, *cut),
            Request::Open { .. } => Reply::Opened {
                mark: self.mark(fence),
                cut: self.cut(),
                above_mark: true,
            },
            _ => Reply::Done,
        };
        (Some(reply), None)
    }

    fn shares(&mut self) -> Reply {
        let shares = (0..self.below(4)).map(|nth| {
            let cuts: Vec<Cut> = (0..self.below(3)).map(|cut| Cut(cut.into())).collect();
            let child = volume(7 + u128::from(nth) + 1);
            ShareState {
                volume: volume(7 + u128::from(nth)),
                fence: generation(u32::from(self.below(5))),
                deleted_at: (self.below(8) == 0).then(|| self.cut()),
                deleted_snapshots: match self.below(3) {
                    0 => cuts.clone(),
                    _ => Vec::new(),
                },
                references: match self.below(2) {
                    0 => cuts.into_iter().map(|cut| (cut, child)).collect(),
                    _ => Vec::new(),
                },
            }
        });
        let shares: Vec<ShareState> = shares.collect();
        let more = self.below(8) == 0;
        Reply::Shares { shares, more }
    }

    /// Versions within a range, mostly of that cut.
    fn versions(&mut self, within: BlockRange, cut: Cut) -> Vec<Version> {
        let mut versions = Vec::new();
        let mut first = within.first();
        for _ in 0..self.below(4) {
            first += u16::from(self.below(3));
            let end = (first + 1 + u16::from(self.below(3))).min(within.end());
            let Some(range) = BlockRange::between(first, end) else {
                break;
            };
            let cut = match self.byte() {
                250.. => self.cut(),
                _ => cut,
            };
            let stamp = self.stamp(generation(2));
            let epoch = Epoch(u64::from(self.below(6)));
            versions.push(Version {
                range,
                kind: match self.below(4) {
                    0 => VersionKind::Zero,
                    _ => VersionKind::Data,
                },
                tag: Tag { stamp, cut, epoch },
            });
            first = end;
        }
        versions
    }

    fn copied(&mut self, within: BlockRange, cut: Cut) -> With<Option<Reply>> {
        let within = match self.byte() {
            250.. => self.range(),
            _ => range(within.first(), within.count().min(64)),
        };
        let mut parts = Vec::new();
        let mut all = Vec::new();
        for version in self.versions(within, cut) {
            let data = match version.kind {
                VersionKind::Data => self.data(version.range.count()),
                VersionKind::Zero => Vec::new(),
            };
            let checksums = block_checksums(&data);
            all.extend_from_slice(&data);
            parts.push(Part {
                version,
                inherited: self.byte() > 250,
                checksums,
            });
        }
        let payload = if all.is_empty() {
            None
        } else {
            self.payload(all)
        };
        (Some(Reply::Data { parts }), payload)
    }

    pub(crate) fn refusal(&mut self) -> Refusal {
        match self.below(8) {
            0..4 => Refusal::StaleEpoch {
                entry: self.entry(),
            },
            4 => Refusal::Fenced {
                by: generation(u32::MAX),
            },
            5 => Refusal::Damaged { block: 3 },
            6 => Refusal::Stopped,
            _ => Refusal::NotOpen,
        }
    }
}

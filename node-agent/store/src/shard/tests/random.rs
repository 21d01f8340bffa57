//! Random operations, snapshots, deletes, compactions, crashes and reopenings, beside the model.

use super::model::{Change, Value};
use super::world::*;
use crate::disk::{CrashFate, Operation};
use crate::*;
use moraine_model::*;
use proptest::collection::vec;
use proptest::prelude::*;

const VOLUMES: u128 = 4;
const CHUNKS: u32 = 2;
const CUTS: u64 = 4;

#[derive(Debug, Clone)]
enum Op {
    Write {
        place: Place,
        range: BlockRange,
        zero: bool,
        late: u64,
        epoch: u64,
    },
    Copy {
        place: Place,
        range: BlockRange,
        hole: bool,
        listed: u64,
        older: u64,
    },
    Snapshot {
        volume: u128,
    },
    DeleteSnapshot {
        volume: u128,
        cut: u64,
    },
    DeleteVolume {
        volume: u128,
    },
    DropShare {
        volume: u128,
    },
    LeaveShare {
        volume: u128,
    },
    Clone {
        volume: u128,
        cut: u64,
        child: u128,
    },
    Unclone {
        volume: u128,
        cut: u64,
        child: u128,
    },
    Note {
        key: u8,
        value: Option<u8>,
    },
    Steps {
        picks: Vec<usize>,
    },
    Drain,
    Compact,
    Checkpoint,
    Read {
        place: Place,
        at: Option<u64>,
    },
    Crash {
        fates: Vec<(u8, u64)>,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let volume = || 1..=VOLUMES;
    let places = || (volume(), 0..CHUNKS).prop_map(|(volume, chunk)| place(volume, chunk));
    let ranges =
        || (0..64_u16, 1..=16_u16).prop_map(|(first, count)| range(first, count.min(64 - first)));
    let write = (places(), ranges(), 0..5_u8, 0..8_u64, 0..6_u64);
    let write = write.prop_map(|(place, range, zero, late, epoch)| Op::Write {
        place,
        range,
        zero: zero == 0,
        late: late.saturating_sub(5) * 3,
        epoch: 1 + epoch / 5,
    });
    let copy = (places(), ranges(), 0..3_u8, 1..4_u64, 0..CUTS);
    let copy = copy.prop_map(|(place, range, hole, listed, older)| Op::Copy {
        place,
        range,
        hole: hole > 0,
        listed,
        older,
    });
    let clone = (1..=2_u128, 0..CUTS, 3..=VOLUMES);
    let note = (0..4_u8, proptest::option::of(any::<u8>()));
    let read = (places(), proptest::option::of(0..CUTS));
    prop_oneof![
        40 => write,
        6 => copy,
        3 => volume().prop_map(|volume| Op::Snapshot { volume }),
        2 => (1..=2_u128, 0..CUTS).prop_map(|(volume, cut)| Op::DeleteSnapshot { volume, cut }),
        1 => (1..=2_u128).prop_map(|volume| Op::DeleteVolume { volume }),
        2 => volume().prop_map(|volume| Op::DropShare { volume }),
        1 => volume().prop_map(|volume| Op::LeaveShare { volume }),
        2 => clone.clone().prop_map(|(volume, cut, child)| Op::Clone { volume, cut, child }),
        1 => clone.prop_map(|(volume, cut, child)| Op::Unclone { volume, cut, child }),
        4 => note.prop_map(|(key, value)| Op::Note { key, value }),
        30 => vec(any::<usize>(), 1..6).prop_map(|picks| Op::Steps { picks }),
        4 => Just(Op::Drain),
        2 => Just(Op::Compact),
        2 => Just(Op::Checkpoint),
        8 => read.prop_map(|(place, at)| Op::Read { place, at }),
        2 => vec((0..4_u8, any::<u64>()), 8).prop_map(|fates| Op::Crash { fates }),
    ]
}

/// What the engines of the volumes know.
struct Driver {
    world: World,
    sequence: u64,
    cuts: [u64; VOLUMES as usize + 1],
}

impl Driver {
    fn new(segments: u64) -> Self {
        let world = World::new(segments, 512);
        Self {
            world,
            sequence: 100,
            cuts: [0; VOLUMES as usize + 1],
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Write {
                place,
                range,
                zero,
                late,
                epoch,
            } => {
                self.sequence += 1;
                // One stamp is one write: what comes late is either data or zeros.
                let stamp = match late {
                    0 => Stamp::new(1, 0, self.sequence),
                    late => Stamp::new(0, 0, (self.sequence - late) * 2 + u64::from(zero)),
                };
                let rule = Rule::Write { listed: Epoch(0) };
                let value = if zero { Value::Zero } else { data(stamp) };
                self.change(place, range, rule, (stamp, epoch, value, 0));
            }
            Op::Copy {
                place,
                range,
                hole,
                listed,
                older,
            } => {
                self.sequence += 1;
                let fence = Generation {
                    attach: 1,
                    incarnation: 0,
                };
                let rule = Rule::Copy {
                    listed: Epoch(listed),
                    fence,
                };
                let stamp = if hole {
                    Stamp::ZERO
                } else {
                    Stamp::new(2, 0, self.sequence)
                };
                let value = if hole { Value::Hole } else { data(stamp) };
                self.change(place, range, rule, (stamp, listed, value, older));
            }
            Op::Note { key, value } => {
                self.world
                    .submit(Pending::Note(vec![key], value.map(|value| vec![value; 9])));
            }
            Op::Steps { picks } => picks.into_iter().for_each(|pick| self.world.step(pick)),
            Op::Drain => self.world.drain(),
            Op::Compact => self.world.shard().request_compaction(),
            Op::Checkpoint => self.world.shard().checkpoint(),
            Op::Read { place, at } => {
                // Readers wait for writes in flight, as engines do.
                self.world.drain();
                let at = at.map_or(ReadAt::Head, |cut| ReadAt::Cut(Cut(cut)));
                self.world.submit(Pending::Read(place, range(0, 64), at));
                self.world.drain();
            }
            Op::Crash { fates } => self.crash(&fates),
            names => self.run_on_names(&names),
        }
        self.world.poll();
    }

    fn change(
        &mut self,
        place: Place,
        range: BlockRange,
        rule: Rule,
        made: (Stamp, u64, Value, u64),
    ) {
        let (stamp, epoch, value, older) = made;
        let volume = place.volume.get() as usize;
        let tag = Tag {
            stamp,
            cut: Cut(self.cuts[volume].saturating_sub(older)),
            epoch: Epoch(epoch),
        };
        self.world.submit(Pending::Change(Change {
            place,
            range,
            tag,
            rule,
            value,
        }));
    }

    fn run_on_names(&mut self, op: &Op) {
        let child = |id| VolumeId::new(id).unwrap();
        let (volume, control) = match *op {
            Op::Snapshot { volume } => {
                // Writes of two cuts are never in flight together.
                self.world.drain();
                let cut = &mut self.cuts[volume as usize];
                *cut = (*cut + 1).min(CUTS - 1);
                return;
            }
            Op::DeleteSnapshot { volume, cut } if cut < self.cuts[volume as usize] => {
                (volume, Control::DeleteSnapshot { cut: Cut(cut) })
            }
            Op::DeleteVolume { volume } => {
                self.world.drain();
                (
                    volume,
                    Control::DeleteVolume {
                        cut: Cut(self.cuts[volume as usize]),
                    },
                )
            }
            Op::DropShare { volume } => (volume, Control::DropShare),
            Op::LeaveShare { volume } => (volume, Control::LeaveShare),
            Op::Clone {
                volume,
                cut,
                child: id,
            } => (
                volume,
                Control::AddReference {
                    cut: Cut(cut),
                    child: child(id),
                },
            ),
            Op::Unclone {
                volume,
                cut,
                child: id,
            } => (
                volume,
                Control::RemoveReference {
                    cut: Cut(cut),
                    child: child(id),
                },
            ),
            _ => return,
        };
        let share = place(volume, 0).share();
        self.world.submit(Pending::Control(share, control));
        if matches!(op, Op::Clone { .. } | Op::Unclone { .. }) {
            self.world.drain();
        }
    }

    fn crash(&mut self, fates: &[(u8, u64)]) {
        let mut fates = fates.iter().copied().cycle();
        self.world
            .crash(|operation: &Operation| match fates.next().unwrap() {
                (0, _) => CrashFate::Lost,
                (1, _) => CrashFate::Whole,
                (_, bits) => {
                    let sectors = 0..operation.size_bytes() / 512;
                    CrashFate::Sectors(sectors.map(|nth| bits >> (nth * 7 % 64) & 1 == 1).collect())
                }
            });
    }
}

/// Some thirty thousand operations; `MORAINE_STORE_CASES=5000` makes about a million.
fn config() -> ProptestConfig {
    let cases = std::env::var("MORAINE_STORE_CASES").ok();
    ProptestConfig {
        cases: cases.map_or(150, |cases| cases.parse().expect("a number of cases")),
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_store_does_what_the_model_does(segments in 9..24_u64, ops in vec(op(), 1..400)) {
        let mut driver = Driver::new(segments);
        for op in ops {
            driver.run(op);
        }
        driver.world.drain();
        driver.world.check_all(VOLUMES, CHUNKS, CUTS);
        driver.world.crash(|_| CrashFate::Lost);
        driver.world.check_all(VOLUMES, CHUNKS, CUTS);
    }
}

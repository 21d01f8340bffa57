//! What an engine does: opens, learns maps, writes, completes, begins cuts. How it reconciles stands in `reconcile.rs`.

use crate::rules::{Bounds, Rule, Rules};
use crate::state::{
    Answer, CUTS, Engine, Epoch, Flight, Generation, Message, Phase, REPLICAS, Role, Stamp, State,
    place,
};

impl Engine {
    fn new(generation: Generation, epoch: Epoch, cut: u8) -> Self {
        Self {
            generation,
            alive: true,
            epoch,
            told: cut,
            cut,
            answers: [None; REPLICAS],
            serving: false,
            phase: Phase::Fresh,
            flights: Default::default(),
            sequence: 0,
            found: Default::default(),
        }
    }

    /// The highest stamp up to which every write to the bucket is acknowledged.
    fn mark(&self, rules: Rules) -> Stamp {
        if self.phase != Phase::Reconciled && rules.hold(Rule::MarksAfterReconciling) {
            return Stamp::default();
        }
        let flights = self.flights.iter().flatten().flatten();
        let lowest = flights.map(|flight| flight.stamp.sequence).min();
        let below = match lowest {
            Some(_) if rules.lack(Rule::MarksBelowFlights) => self.sequence - 1,
            Some(lowest) => lowest - 1,
            None => self.sequence,
        };
        Stamp {
            generation: self.generation,
            sequence: below,
        }
    }

    pub(crate) fn next_stamp(&mut self) -> Stamp {
        self.sequence += 1;
        Stamp {
            generation: self.generation,
            sequence: self.sequence,
        }
    }
}

impl State {
    /// The CSI controller attaches the volume: a new generation, with the newest map and the Volume's cut. The former engine lives on.
    pub(crate) fn attach(&mut self, rules: Rules) {
        let mut volume = self.volume();
        volume.attach += 1;
        volume.attached = true;
        self.volumes.push(volume);
        let generation = Generation {
            attach: volume.attach,
            incarnation: 1,
        };
        let cut = if rules.hold(Rule::AttachIsToldTheCut) {
            volume.wanted
        } else {
            0
        };
        self.engines
            .push(Engine::new(generation, self.newest_epoch(), cut));
        if rules.lack(Rule::CutAfterReconciling) {
            self.report_cut(self.engines.len() - 1);
        }
    }

    /// An engine's process ends and starts again on its node, with the map and the cut that it kept.
    pub(crate) fn restart(&mut self, rules: Rules, engine: usize) {
        let old = &mut self.engines[engine];
        old.end();
        let generation = Generation {
            incarnation: old.generation.incarnation + 1,
            ..old.generation
        };
        let kept = if rules.hold(Rule::RestartKeepsTheCut) {
            old.cut
        } else {
            0
        };
        let new = Engine::new(generation, old.epoch, kept);
        self.engines.push(new);
    }

    /// An engine learns a newer map: every answer and acknowledgement counts for the epoch it was given under.
    pub(crate) fn learn(&mut self, rules: Rules, bounds: Bounds, engine: usize, epoch: Epoch) {
        let (old, new) = (self.map(self.engines[engine].epoch), self.map(epoch));
        let it = &mut self.engines[engine];
        it.epoch = epoch;
        for replica in 0..REPLICAS {
            let same = new.0[replica].listed() && new.0[replica].since == old.0[replica].since;
            if !same || rules.hold(Rule::OpenAgainAfterEachMap) {
                it.answers[replica] = None;
            }
        }
        let opened = new.listed().all(|replica| it.answers[replica].is_some());
        if !opened && rules.hold(Rule::ServeOnlyReopened) {
            it.serving = false;
        }
        self.progress(rules, bounds, engine);
    }

    /// A listed replica has accepted an engine's generation.
    pub(crate) fn open(&mut self, rules: Rules, bounds: Bounds, engine: usize, replica: usize) {
        let Engine {
            generation,
            epoch,
            phase,
            ..
        } = self.engines[engine];
        let answer = self.answer(rules, replica, generation, epoch);
        // Once the reconciliation is decided on, what a replica holds counts for nothing.
        let needed = phase == Phase::Fresh || rules.lack(Rule::ReconcileOnce);
        let answer = if needed { answer } else { Answer::default() };
        self.engines[engine].answers[replica] = Some(answer);
        self.progress(rules, bounds, engine);
    }

    /// A user writes, or trims with the value zero.
    pub(crate) fn begin_write(
        &mut self,
        rules: Rules,
        bounds: Bounds,
        engine: usize,
        write: (usize, u8),
    ) {
        let (block, value) = write;
        let it = &mut self.engines[engine];
        let flight = Flight {
            stamp: it.next_stamp(),
            value,
            acks: [None; REPLICAS],
            reconciling: false,
        };
        it.flights[block][usize::from(it.cut)] = Some(flight);
        self.truth_of_begun(engine, block, value);
        self.progress(rules, bounds, engine);
    }

    /// Completes what every listed replica has acknowledged, goes on with the reconciliation, sends what is to be sent.
    pub(crate) fn progress(&mut self, rules: Rules, bounds: Bounds, engine: usize) {
        for block in 0..bounds.blocks {
            for cut in 0..CUTS {
                let Some(flight) = self.engines[engine].flights[block][cut] else {
                    continue;
                };
                if self.is_acknowledged(rules, engine, &flight) {
                    self.engines[engine].flights[block][cut] = None;
                    self.truth_of_acknowledged(engine, (block, cut), &flight);
                }
            }
        }
        self.settle(rules, bounds, engine);
        self.send_flights(rules, bounds, engine);
    }

    /// I8: acknowledged under the engine's epoch, by all that its map lists.
    fn is_acknowledged(&self, rules: Rules, engine: usize, flight: &Flight) -> bool {
        let epoch = self.engines[engine].epoch;
        let map = self.map(epoch);
        let counts = |replica: usize| {
            let from = if rules.lack(Rule::AcksByEpoch) {
                0
            } else if rules.lack(Rule::AcksByEpochNotListing) {
                map.0[replica].since
            } else {
                epoch
            };
            flight.acks[replica] >= Some(from)
        };
        let waived = |replica: usize| {
            map.0[replica].role == Role::Syncing && rules.lack(Rule::AcksOfSyncing)
        };
        if rules.lack(Rule::AcksOfAll) {
            return map.listed().any(counts);
        }
        map.listed()
            .all(|replica| counts(replica) || waived(replica))
    }

    /// Sends each write in flight to every listed replica that has accepted the generation under this epoch.
    fn send_flights(&mut self, rules: Rules, bounds: Bounds, engine: usize) {
        let it = self.engines[engine];
        let mark = it.mark(rules);
        for replica in self.map(it.epoch).listed() {
            let sends = it.answers[replica].is_some()
                || (it.serving && rules.lack(Rule::ServeOnlyReopened));
            if !sends {
                continue;
            }
            for block in 0..bounds.blocks {
                for cut in 0..CUTS {
                    let Some(flight) = it.flights[block][cut] else {
                        continue;
                    };
                    if flight.acks[replica] >= Some(it.epoch) {
                        continue;
                    }
                    self.send(Message::Write {
                        epoch: it.epoch,
                        block: place(block),
                        cut: place(cut),
                        stamp: flight.stamp,
                        value: flight.value,
                        mark,
                        to: place(replica),
                    });
                }
            }
        }
    }

    /// An engine sees a version of the Volume object, and obeys its cut if it is still the one attached.
    pub(crate) fn see_volume(&mut self, rules: Rules, engine: usize, seen: u8) {
        let volume = self.volumes[usize::from(seen)];
        let it = &mut self.engines[engine];
        if volume.attach == it.generation.attach || rules.lack(Rule::CutByAttachment) {
            it.told = it.told.max(volume.wanted);
        }
    }

    /// Whether an engine may begin the cut it was told.
    pub(crate) fn may_begin_cut(&self, rules: Rules, engine: usize) -> bool {
        let it = &self.engines[engine];
        it.told > it.cut
            && (it.phase == Phase::Reconciled || rules.lack(Rule::CutAfterReconciling))
            && (it.is_idle()
                || rules.lack(Rule::CutWithNothingInFlight)
                || rules.lack(Rule::RetryKeepsItsCut)
                || rules.lack(Rule::CutAfterReconciling))
    }

    /// An engine tags its writes with the cut it was told from now on, makes that durable, and reports it.
    pub(crate) fn begin_cut(&mut self, rules: Rules, bounds: Bounds, engine: usize) {
        let it = &mut self.engines[engine];
        it.cut = it.told;
        let cut = usize::from(it.cut);
        if rules.lack(Rule::RetryKeepsItsCut) {
            for of in &mut it.flights {
                let old = (0..cut).find_map(|older| of[older].take());
                of[cut] = old.or(of[cut]);
            }
        }
        self.report_cut(engine);
        self.progress(rules, bounds, engine);
    }

    /// Reports the cut that an engine has reached.
    pub(crate) fn report_cut(&mut self, engine: usize) {
        let it = self.engines[engine];
        if self.successor(engine).is_none() {
            self.truth_of_cut(it.cut);
        }
        if it.cut > self.volume().reached {
            self.send(Message::Reached {
                attach: it.generation.attach,
                cut: it.cut,
            });
        }
    }
}

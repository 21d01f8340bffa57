//! What an engine does with the writes that its predecessors left unfinished: once, for each block and cut, before it first serves.

use crate::rules::{Bounds, Rule, Rules};
use crate::state::{
    Answer, CUTS, Flight, Generation, Phase, REPLICAS, Role, State, Value, Version, place,
};

/// What to write to all listed replicas, and what each block then holds.
struct Plan {
    writes: Vec<(usize, usize, Value)>,
    found: Vec<Value>,
}

impl State {
    /// Serves once every listed replica has answered and what lies above the marks is reconciled.
    pub(crate) fn settle(&mut self, rules: Rules, bounds: Bounds, engine: usize) {
        let it = &self.engines[engine];
        let map = self.map(it.epoch);
        let opened = map.listed().all(|replica| it.answers[replica].is_some());
        let some = map.in_sync().any(|replica| it.answers[replica].is_some());
        if it.serving || !(opened || (some && rules.lack(Rule::OpenBeforeServing))) {
            return;
        }
        if it.phase == Phase::Fresh
            || (it.phase == Phase::Reconciled && rules.lack(Rule::ReconcileOnce))
        {
            let plan = self.plan(rules, bounds, engine);
            self.carry_out(rules, engine, &plan);
        }
        let flights = self.engines[engine].flights.iter().flatten().flatten();
        if flights.clone().all(|flight| !flight.reconciling) {
            self.serve(bounds, engine);
        }
    }

    fn carry_out(&mut self, rules: Rules, engine: usize, plan: &Plan) {
        let it = &mut self.engines[engine];
        if it.phase == Phase::Fresh {
            it.phase = Phase::Reconciling;
            it.found[..plan.found.len()].copy_from_slice(&plan.found);
            if rules.cut_of_answers {
                let held = |cut: &usize| {
                    it.answers
                        .iter()
                        .flatten()
                        .any(|answer| answer.layers.iter().any(|of| of[*cut].is_some()))
                };
                let greatest = (0..CUTS).rev().find(held).map_or(0, place);
                it.cut = it.cut.max(greatest);
                it.told = it.told.max(it.cut);
            }
        }
        // What they hold is not looked at again.
        it.answers = it.answers.map(|answer| answer.map(|_| Answer::default()));
        let before = *it;
        for &(block, cut, value) in &plan.writes {
            if !before.is_idle_at(block) {
                continue;
            }
            let flight = Flight {
                stamp: it.next_stamp(),
                value,
                acks: [None; REPLICAS],
                reconciling: true,
            };
            it.flights[block][cut] = Some(flight);
        }
    }

    fn serve(&mut self, bounds: Bounds, engine: usize) {
        let it = &mut self.engines[engine];
        it.serving = true;
        if it.phase == Phase::Reconciling {
            it.phase = Phase::Reconciled;
            self.truth_of_reconciled(engine, bounds);
            self.report_cut(engine);
        }
    }

    /// What to do about each block and cut that a listed replica reports above the marks.
    fn plan(&self, rules: Rules, bounds: Bounds, engine: usize) -> Plan {
        let it = &self.engines[engine];
        let mut plan = Plan {
            writes: Vec::new(),
            found: Vec::new(),
        };
        for block in 0..bounds.blocks {
            let mut shown = 0;
            let newest = (0..CUTS)
                .rev()
                .find(|&cut| self.counting(rules, engine, (block, cut)).is_some());
            for cut in 0..CUTS {
                let counts = self.counting(rules, engine, (block, cut));
                let to_do = self.is_unsettled(rules, engine, (block, cut), counts);
                let skipped =
                    rules.lack(Rule::ReconcileEachCut) && newest.is_some_and(|newest| cut < newest);
                let unfilled = counts.is_none() && rules.lack(Rule::FillWhatNobodyHolds);
                let mut value = counts.map_or(shown, |version| version.value);
                if to_do && counts.is_none() && rules.lack(Rule::FillWithTheReconciled) {
                    value = self.shown_by_some(engine, (block, cut));
                }
                if to_do && !skipped && !unfilled {
                    let at = if rules.lack(Rule::ReconcileAtItsCut) {
                        usize::from(it.cut)
                    } else {
                        cut
                    };
                    plan.writes.push((block, at, value));
                }
                shown = value;
            }
            plan.found.push(shown);
        }
        let is_clean = self.was_detached_before(engine) && rules.lack(Rule::ReconcileAfterDetach);
        if rules.lack(Rule::Reconcile) || is_clean {
            plan.writes.clear();
        }
        plan
    }

    /// Whether the volume had been detached cleanly when this engine attached.
    fn was_detached_before(&self, engine: usize) -> bool {
        let Generation {
            attach,
            incarnation,
        } = self.engines[engine].generation;
        let before = self
            .volumes
            .iter()
            .rev()
            .find(|volume| volume.attach < attach);
        incarnation == 1 && before.is_some_and(|volume| volume.attach > 0 && !volume.attached)
    }

    /// The newest version at a block and cut that an InSync replica holds.
    fn counting(&self, rules: Rules, engine: usize, at: (usize, usize)) -> Option<Version> {
        let it = &self.engines[engine];
        let map = self.map(it.epoch);
        let (block, cut) = at;
        let of = |replica: usize| it.answers[replica].and_then(|answer| answer.layers[block][cut]);
        let syncing = |replica: &usize| {
            let reported = it.answers[*replica].is_some_and(|answer| answer.reported[block][cut]);
            rules.lack(Rule::InSyncCounts) && reported
        };
        let held = map.in_sync().chain(map.listed().filter(syncing));
        held.filter_map(of).max_by_key(|version| version.stamp)
    }

    /// Whether some listed replica reports a version at a block and cut, and not all hold exactly the one that counts.
    fn is_unsettled(
        &self,
        rules: Rules,
        engine: usize,
        at: (usize, usize),
        counts: Option<Version>,
    ) -> bool {
        let it = &self.engines[engine];
        let map = self.map(it.epoch);
        let (block, cut) = at;
        let marks = map.in_sync().filter_map(|replica| it.answers[replica]);
        let mark = marks.map(|answer| answer.mark).max().unwrap_or_default();
        let answers = map
            .listed()
            .filter_map(|replica| Some((map.0[replica].role, it.answers[replica]?)));
        let answers: Vec<(Role, Answer)> = answers.collect();
        let stamp = |answer: &Answer| answer.layers[block][cut].map(|version| version.stamp);
        let above = |(_, answer): &(Role, Answer)| {
            answer.reported[block][cut] && stamp(answer) > Some(mark)
        };
        let agrees = |(role, answer): &(Role, Answer)| {
            let reported = answer.reported[block][cut];
            // What a Syncing replica holds from before its listing, its copy may yet take away.
            let stays = *role == Role::InSync || reported || rules.lack(Rule::AgreeByReports);
            let will_copy = rules.lack(Rule::ReconcileSyncing) && !reported;
            (stays && stamp(answer) == counts.map(|version| version.stamp)) || will_copy
        };
        answers.iter().any(above) && !answers.iter().all(agrees)
    }

    /// What some InSync replica shows at a block and cut: not always what the others show.
    fn shown_by_some(&self, engine: usize, at: (usize, usize)) -> Value {
        let it = &self.engines[engine];
        let first = self.map(it.epoch).in_sync().next();
        let answer = first.and_then(|replica| it.answers[replica]);
        answer.map_or(0, |answer| {
            crate::state::visible(&answer.layers[at.0], at.1)
        })
    }
}

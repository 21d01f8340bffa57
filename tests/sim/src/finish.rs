//! The end of a run: the faults stop, everything must come to rest within a bounded time, and what
//! is then there is looked at, all of it.

use crate::agenda::{MS, Micros};
use crate::engines::End;
use crate::history::Kind;
use crate::world::{Event, Phase, World, disk_number};
use moraine_model::Role;

/// How long it may take until everything has come to rest.
const PATIENCE: Micros = 60_000 * MS;

/// How long it must have been so.
const QUIET: Micros = 600 * MS;

impl World {
    /// No more faults.
    pub(crate) fn calm(&mut self) {
        let now = self.agenda.now();
        self.note(crate::trace::About::World, |_| "the faults end".into());
        self.phase = Phase::Calm;
        self.calm_since = now;
        // The rest before the last look is counted from here, however quiet it was before.
        self.busy = now;
        self.silence.clear();
        for node in &mut self.nodes {
            node.stalled = node.stalled.min(now);
        }
        for disk in 0..self.agents.len() {
            self.agents[disk]
                .switches
                .writes
                .store(0, std::sync::atomic::Ordering::Relaxed);
            self.agents[disk]
                .switches
                .reads
                .store(0, std::sync::atomic::Ordering::Relaxed);
            self.agenda.after(0, Event::Start(disk));
        }
        // A small disk may be full of snapshots, and then no copy ends.
        if self.scenario.segments < 24 {
            for volume in 0..self.volumes.len() {
                while !self.volumes[volume].snapshots.is_empty() {
                    self.delete_snapshot(volume, 0);
                }
            }
        }
        self.agenda.after(20 * MS, Event::Finish);
    }

    /// Looks whether the end has come.
    pub(crate) fn finish(&mut self) {
        self.ensure_engines();
        let waits = self.what_waits();
        match (self.phase, &waits) {
            // Time for the last deletions to be told to those that came in sync last.
            (Phase::Calm, None) if self.agenda.now() - self.busy < QUIET => {}
            (Phase::Calm, None) => {
                self.phase = Phase::Reading;
                self.read_all();
                self.look_at_all();
                self.look_for_remains();
            }
            (Phase::Reading, None) if self.has_looked() => {
                self.compare_layers();
                self.phase = Phase::Over;
            }
            _ => self.busy = self.agenda.now(),
        }
        if self.agenda.now() - self.calm_since > PATIENCE {
            let waits = waits.unwrap_or_else(|| "direct looks are not answered".into());
            self.violated(
                None,
                format!(
                    "no rest {} s after the last fault: {waits}",
                    PATIENCE / MS / 1000
                ),
            );
        }
        self.agenda.after(20 * MS, Event::Finish);
    }

    /// Sees to it that each volume has an engine that serves it, when the faults are over.
    fn ensure_engines(&mut self) {
        for volume in 0..self.volumes.len() {
            if !self.in_use(volume) {
                continue;
            }
            let newest = *self.volumes[volume]
                .engines
                .last()
                .expect("a volume in use was attached");
            let host = &self.engines[newest];
            let to_begin = host.end != Some(End::Dead) && !host.entries.is_empty();
            if host.engine.is_none() && !to_begin && self.phase != Phase::Over {
                self.attach(volume);
            }
        }
    }

    /// What is not at rest yet.
    fn what_waits(&self) -> Option<String> {
        for volume in 0..self.volumes.len() {
            if !self.in_use(volume) {
                continue;
            }
            if self.serving(volume).is_none() {
                return Some(format!("v{volume} is not served"));
            }
            if !self.volumes[volume].rising.is_empty() {
                return Some(format!("v{volume} has not reached its cut"));
            }
        }
        for (number, host) in self.engines.iter().enumerate() {
            let waits = host.engine.as_ref().and_then(|_| host.unanswered.first());
            if let Some(op) = waits {
                return Some(format!(
                    "{} has not answered operation {op}",
                    self.name(number)
                ));
            }
        }
        for entry in self.map.entries() {
            let whole = entry
                .listings()
                .iter()
                .all(|listing| listing.role == Role::InSync);
            let dead = entry.listings().iter().find(|listing| {
                let agent = &self.agents[disk_number(listing.disk)];
                agent.lost || agent.replicas.is_none()
            });
            if dead.is_some() {
                let entry = crate::operator::short(entry);
                return Some(format!("a dead replica is listed: {entry}"));
            }
            if !whole || entry.listings().len() != self.scenario.replicas {
                return Some(format!(
                    "not all replicas are in sync: {}",
                    crate::operator::short(entry)
                ));
            }
            let late = self.engines.iter().position(|host| {
                let uses = self.uses(host.volume, entry.bucket());
                host.engine.is_some() && !host.superseded && uses && !host.seen.has_opened(entry)
            });
            if let Some(late) = late {
                let entry = crate::operator::short(entry);
                return Some(format!("{} has not opened {entry}", self.name(late)));
            }
        }
        self.life_waits()
    }

    /// Reads every block through the engines.
    fn read_all(&mut self) {
        for volume in 0..self.volumes.len() {
            let Some(engine) = self.serving(volume) else {
                continue;
            };
            for run in self.scenario.runs(self.engines[engine].chunks) {
                self.begin_op(engine, Kind::Read, run);
            }
        }
    }
}

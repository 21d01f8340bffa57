//! Clients: what they ask of engines, and how what they are told is held against the history.

use crate::agenda::MS;
use crate::engines::End;
use crate::history::{Kind, Op};
use crate::register::OpId;
use crate::scenario::Fault;
use crate::trace::About;
use crate::value::{Spot, bytes_of};
use crate::world::{Event, Phase, World};
use bytes::Bytes;
use moraine_engine::{Io, IoError, IoId};
use moraine_model::BLOCK_BYTES;
use std::ops::Range;

/// Most writes of a block that may have no answer before clients leave it alone: each doubles what
/// the history has to follow.
const OPEN_WRITES_MAX: usize = 4;
const BLOCK: u64 = BLOCK_BYTES as u64;

impl World {
    /// A client of an engine does its next operation, if there is one left to do.
    pub(crate) fn work(&mut self, engine: usize) {
        if self.postponed(self.engines[engine].node, Event::Work(engine)) {
            return;
        }
        let host = &self.engines[engine];
        let over = self.history.begun() >= self.scenario.operations || host.idle;
        if host.engine.is_none() || host.end.is_some() || over || self.phase != Phase::Chaos {
            return;
        }
        let volume = host.volume;
        let chunks = host.chunks;
        let blocks = self.some_blocks(chunks);
        let kind = match self.chance.below(20) {
            0..=9 => Kind::Write,
            10..=11 => Kind::Zero,
            12 => Kind::Flush,
            _ => Kind::Read,
        };
        let mut spots = blocks.clone().map(|block| Spot { volume, block });
        let writes = matches!(kind, Kind::Write | Kind::Zero);
        if writes && !spots.all(|spot| self.may_write(spot)) {
            self.agenda.after(10 * MS, Event::Work(engine));
            return;
        }
        self.begin_op(engine, kind, blocks);
    }

    /// Whether the history can follow one more write of a block.
    pub(crate) fn may_write(&mut self, spot: Spot) -> bool {
        self.history.block(spot).unanswered() < OPEN_WRITES_MAX
    }

    fn some_blocks(&mut self, chunks: u64) -> Range<u64> {
        let runs = self.scenario.runs(chunks);
        let run = &runs[self.chance.below(runs.len())];
        let length = self
            .chance
            .within(1..=self.scenario.span)
            .min(run.end - run.start);
        let first = self.chance.within(run.start..=run.end - length);
        first..first + length
    }

    /// Gives an operation to an engine.
    pub(crate) fn begin_op(&mut self, engine: usize, kind: Kind, blocks: Range<u64>) {
        let volume = self.engines[engine].volume;
        let op = Op {
            volume,
            kind,
            blocks: if kind == Kind::Flush { 0..0 } else { blocks },
            told: !self.is_late(engine),
        };
        let id = self.history.begin(op.clone());
        self.about(&op, |world| {
            format!("{} gets {}", world.name(engine), words(id, &op))
        });
        let offset = op.blocks.start * BLOCK;
        let length = (op.blocks.end - op.blocks.start) * BLOCK;
        let io = match kind {
            Kind::Read => Io::Read { offset, length },
            Kind::Zero => Io::Zero { offset, length },
            Kind::Flush => Io::Flush,
            Kind::Write => Io::Write {
                offset,
                data: op
                    .spots()
                    .flat_map(|spot| bytes_of(id, spot))
                    .collect::<Vec<u8>>()
                    .into(),
            },
        };
        let host = &mut self.engines[engine];
        host.unanswered.insert(id);
        if matches!(kind, Kind::Write | Kind::Zero) {
            host.open_writes.insert(id);
        }
        if let Some(core) = &mut host.engine {
            core.submit(IoId(id), io);
        }
        self.pump_engine(engine);
    }

    /// An engine has answered.
    pub(crate) fn op_ended(&mut self, engine: usize, id: OpId, result: Result<Bytes, IoError>) {
        if !self.engines[engine].unanswered.remove(&id) {
            let name = self.name(engine);
            return self.violated(
                None,
                format!("{name} answered operation {id} twice, or was never asked"),
            );
        }
        self.stir(id << 1 | u64::from(result.is_ok()));
        let op = self.history.ops[&id].clone();
        self.about(&op, |world| {
            let outcome = result
                .as_ref()
                .map_or_else(ToString::to_string, |data| world.seen(&op, data));
            format!(
                "{} answers {}: {outcome}",
                world.name(engine),
                words(id, &op)
            )
        });
        match (op.kind, result) {
            (Kind::Write | Kind::Zero, Ok(_)) => self.write_done(engine, id, &op),
            (Kind::Read, Ok(data)) => self.read_done(engine, id, &op, &data),
            (Kind::Read, Err(error)) => {
                self.never_answered(id);
                self.error_allowed(engine, &op, &error);
            }
            (_, Err(error)) => self.error_allowed(engine, &op, &error),
            (Kind::Flush, Ok(_)) => {}
        }
        let pause = self.chance.within(0..=self.scenario.pause);
        self.agenda.after(pause, Event::Work(engine));
    }

    fn write_done(&mut self, engine: usize, id: OpId, op: &Op) {
        self.counts.writes += 1;
        self.engines[engine].open_writes.remove(&id);
        let wrong = self.engines[engine].seen.unproved(id);
        if let Some(what) = wrong {
            let what = format!(
                "{} acknowledged {}, {what} (I8)",
                self.name(engine),
                words(id, op)
            );
            return self.violated(op.spots().next(), what);
        }
        if !op.told {
            let what = format!(
                "{} acknowledged {} after a newer engine served",
                self.name(engine),
                words(id, op)
            );
            return self.violated(op.spots().next(), what);
        }
        for spot in op.spots() {
            let outcome = self.history.block(spot).written(id);
            self.judge(spot, outcome);
        }
        self.history.ops.remove(&id);
    }

    fn read_done(&mut self, engine: usize, id: OpId, op: &Op, data: &[u8]) {
        let judged = op.told && self.is_newest(engine);
        self.counts.reads += u64::from(judged);
        if data.len() as u64 != (op.blocks.end - op.blocks.start) * BLOCK {
            return self.violated(
                op.spots().next(),
                format!("{} bytes came for {}", data.len(), words(id, op)),
            );
        }
        for (spot, bytes) in op.spots().zip(data.chunks_exact(BLOCK_BYTES)) {
            let Some(value) = self.value_at(bytes, spot) else {
                return self.violated(
                    Some(spot),
                    format!("{spot}: {} returned garbage", words(id, op)),
                );
            };
            if op.told {
                let outcome = self.history.block(spot).saw(id, judged.then_some(value));
                self.judge(spot, outcome);
            }
        }
        self.history.ops.remove(&id);
    }

    /// An error is fine where the world gave reason for it. An engine that stays must not fail
    /// operations when all is well.
    fn error_allowed(&mut self, engine: usize, op: &Op, error: &IoError) {
        self.counts.errors += 1;
        let fine = match error {
            IoError::Fenced { .. } => !self.is_newest(engine),
            IoError::NoSpace | IoError::TimedOut { .. } => true,
            IoError::Deleted => !self.in_use(op.volume),
            // Reads that fail for a moment may meet one operation on each of its replicas.
            IoError::Damaged { .. } => self.scenario.faults.contains(&Fault::FailReads),
            IoError::Detached => self.engines[engine].end == Some(End::Told),
            _ => false,
        };
        if !fine {
            let what = format!(
                "{} failed an operation without reason: {error}",
                self.name(engine)
            );
            self.violated(op.spots().next(), what);
        }
    }

    /// An operation whose engine has died, or a read that failed.
    pub(crate) fn never_answered(&mut self, id: OpId) {
        let Some(op) = self.history.ops.get(&id).cloned() else {
            return;
        };
        if op.kind == Kind::Read {
            for spot in op.spots().filter(|_| op.told) {
                let outcome = self.history.block(spot).saw(id, None);
                self.judge(spot, outcome);
            }
            self.history.ops.remove(&id);
        }
    }

    /// A write that was not acknowledged has had its effect, or never will.
    pub(crate) fn write_decided(&mut self, id: OpId) {
        if let Some(op) = self.history.ops.get(&id).cloned() {
            for spot in op.spots().filter(|_| op.told) {
                let outcome = self.history.block(spot).decided(id);
                self.judge(spot, outcome);
            }
        }
    }

    /// Nobody can acknowledge a write any more.
    pub(crate) fn write_gone(&mut self, id: OpId) {
        if let Some(op) = self.history.ops.remove(&id) {
            for spot in op.spots().filter(|_| op.told) {
                let outcome = self.history.block(spot).gone(id);
                self.judge(spot, outcome);
            }
        }
    }

    fn seen(&self, op: &Op, data: &[u8]) -> String {
        if op.kind != Kind::Read {
            return "done".into();
        }
        let blocks = op.spots().zip(data.chunks_exact(BLOCK_BYTES));
        let values = blocks.map(|(spot, bytes)| match self.value_at(bytes, spot) {
            Some(value) => value.to_string(),
            None => "garbage".into(),
        });
        values.collect::<Vec<_>>().join(" ")
    }

    fn about(&self, op: &Op, text: impl FnOnce(&Self) -> String) {
        let first = Spot {
            volume: op.volume,
            block: op.blocks.start,
        };
        self.note(About::Blocks(first, op.blocks.end - op.blocks.start), text);
    }
}

fn words(id: OpId, op: &Op) -> String {
    let kind = match op.kind {
        Kind::Read => "read",
        Kind::Write => "write",
        Kind::Zero => "zero",
        Kind::Flush => "flush",
    };
    format!(
        "{kind} {id} of v{}/{}+{}",
        op.volume,
        op.blocks.start,
        op.blocks.end - op.blocks.start
    )
}

//! What users may see: the linear order that the protocol must keep, told from outside. No rule of the protocol reads it.
//!
//! For each block there is a set of values that a read may return: one, unless a write is unfinished. A read, an acknowledgement
//! and the reconciliation of a new engine each narrow it to one. For each cut there are the moments at which an engine began it;
//! once the snapshot is ready it must be one of them, everywhere and for ever.

use crate::rules::Bounds;
use crate::state::{BLOCKS, CUTS, Flight, Generation, Stamp, State, Value, visible};

/// What was promised to users so far.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Truth {
    /// For each block, the values a read may return, as bits.
    pub allowed: [u16; BLOCKS],
    /// The newest acknowledged stamp of each block and cut.
    pub acknowledged: [[Stamp; CUTS]; BLOCKS],
    /// What the volume held at each moment that may be the snapshot of a cut.
    pub moments: [Vec<[Value; BLOCKS]>; CUTS],
    /// The first promise that was broken.
    pub broken: Option<String>,
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            allowed: [1; BLOCKS],
            acknowledged: [[Stamp::default(); CUTS]; BLOCKS],
            moments: [const { Vec::new() }; CUTS],
            broken: None,
        }
    }
}

impl State {
    /// Notes a broken promise; the first one is what is shown.
    pub(crate) fn break_promise(&mut self, text: String) {
        self.truth.broken.get_or_insert(text);
    }

    /// A user began a write. One of an engine whose successor is reconciled must never take effect.
    pub(crate) fn truth_of_begun(&mut self, engine: usize, block: usize, value: Value) {
        if self.successor(engine).is_none() {
            self.truth.allowed[block] |= 1 << value;
        }
    }

    /// A write was acknowledged. By a superseded engine that is fine only if it is what its successor found.
    pub(crate) fn truth_of_acknowledged(
        &mut self,
        engine: usize,
        at: (usize, usize),
        flight: &Flight,
    ) {
        let (block, cut) = at;
        let value = flight.value;
        if let Some(newer) = self.successor(engine) {
            let (found, new) = (newer.found[block], name_of(newer.generation));
            if found != value && !flight.reconciling {
                let old = self.name(engine);
                self.break_promise(format!(
                    "{old} acknowledged {value} in block {block} after {new} had found {found} there"
                ));
            }
            return;
        }
        if !flight.reconciling {
            self.truth.allowed[block] = 1 << value;
        }
        let newest = &mut self.truth.acknowledged[block][cut];
        *newest = flight.stamp.max(*newest);
    }

    /// An engine has wholly reconciled the bucket: what it found is what the volume holds.
    pub(crate) fn truth_of_reconciled(&mut self, engine: usize, bounds: Bounds) {
        if self.successor(engine).is_some() {
            return;
        }
        for block in 0..bounds.blocks {
            let found = self.engines[engine].found[block];
            self.truth_of_read(block, found, &self.name(engine));
        }
    }

    /// Someone saw a value; from now on everyone must.
    pub(crate) fn truth_of_read(&mut self, block: usize, value: Value, who: &str) {
        if self.truth.allowed[block] & (1 << value) == 0 {
            let allowed = allowed_values(self.truth.allowed[block]);
            self.break_promise(format!(
                "{who} finds {value} in block {block}, where only {allowed:?} may be"
            ));
        }
        self.truth.allowed[block] = 1 << value;
    }

    /// A new cut begins: what the volume holds now may be the snapshot of those below it that are not ready.
    pub(crate) fn truth_of_cut(&mut self, cut: u8) {
        let mut moments: Vec<[Value; BLOCKS]> = vec![[0; BLOCKS]];
        for block in 0..BLOCKS {
            let values = allowed_values(self.truth.allowed[block]);
            let with = |moment: &[Value; BLOCKS], value| {
                let mut moment = *moment;
                moment[block] = value;
                moment
            };
            let all = values
                .iter()
                .flat_map(|&value| moments.iter().map(move |moment| with(moment, value)));
            moments = all.collect();
        }
        for below in usize::from(self.volume().reached)..usize::from(cut) {
            for moment in &moments {
                if let Err(at) = self.truth.moments[below].binary_search(moment) {
                    self.truth.moments[below].insert(at, *moment);
                }
            }
        }
    }

    /// Holds the replicas that the newest map calls InSync against what was promised.
    pub(crate) fn check_promises(&mut self, bounds: Bounds) {
        let replicas: Vec<usize> = self.newest_map().in_sync().collect();
        for &replica in &replicas {
            for block in 0..bounds.blocks {
                for cut in 0..CUTS {
                    let promised = self.truth.acknowledged[block][cut];
                    let held = self.replicas[replica].layers[block][cut];
                    if held.map_or(Stamp::default(), |version| version.stamp) < promised {
                        let name = replica_name(replica);
                        self.break_promise(format!("InSync replica {name} lacks an acknowledged write of block {block} at cut {cut}"));
                    }
                }
            }
            for cut in 0..usize::from(self.volume().reached) {
                let shown = self.replicas[replica].layers.map(|of| visible(&of, cut));
                let moments = &mut self.truth.moments[cut];
                let promised = moments.clone();
                moments.retain(|moment| *moment == shown);
                if moments.is_empty() {
                    let name = replica_name(replica);
                    self.break_promise(format!("snapshot {cut} is ready and InSync replica {name} shows {shown:?} in it, not one of {promised:?}"));
                }
            }
        }
    }

    /// An engine's name, as people read it.
    pub fn name(&self, engine: usize) -> String {
        name_of(self.engines[engine].generation)
    }
}

fn allowed_values(bits: u16) -> Vec<Value> {
    (0..16).filter(|bit| bits & (1 << bit) != 0).collect()
}

/// An engine's name, as people read it.
pub(crate) fn name_of(generation: Generation) -> String {
    format!("engine {}.{}", generation.attach, generation.incarnation)
}

/// A replica's name, as people read it.
pub fn replica_name(replica: usize) -> char {
    ['A', 'B', 'C'][replica]
}

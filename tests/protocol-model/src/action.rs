//! Everything that may happen next, when it may, and how it is numbered. What each then does stands with the one who does it.

use crate::rules::{Bounds, Rule, Rules};
use crate::state::{CUTS, Message, REPLICAS, Role, State, place, visible};

/// One step of the world. Numbers are places in [`State`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// The operator lists a replica as Syncing.
    List(usize),
    /// The operator drops a replica.
    Drop(usize),
    /// The operator makes a replica InSync.
    Promote(usize),
    /// The CSI controller raises the cut.
    RaiseCut,
    /// The CSI controller attaches the volume anew.
    Attach,
    /// An engine's process ends and starts again.
    Restart(usize),
    /// An engine detaches cleanly.
    Detach(usize),
    /// A replica adopts the map of an epoch.
    ReplicaLearns(usize, u8),
    /// An engine learns the map of an epoch.
    EngineLearns(usize, u8),
    /// An engine sees a version of the Volume object.
    SeesVolume(usize, u8),
    /// An engine opens a replica.
    Opens(usize, usize),
    /// An engine is refused by a replica, and learns its map.
    IsRefused(usize, usize),
    /// A user writes to a block through an engine.
    Writes(usize, usize),
    /// A user trims a block through an engine.
    Trims(usize, usize),
    /// An engine begins the cut that it was told.
    BeginsCut(usize),
    /// A user reads a block through an engine from a replica.
    Reads(usize, usize, usize),
    /// A replica copies a block's layer of a cut from a source.
    Copies(usize, usize, (usize, usize)),
    /// A message arrives.
    Arrives(Message),
    /// A replica loses a zero that nothing covers (only where the rule against it is left out).
    LosesZero(usize, (usize, usize)),
}

impl Action {
    /// Whether it comes from outside the data plane: the random walk takes such steps less often, so that work gets done.
    pub fn is_disturbance(self) -> bool {
        matches!(
            self,
            Self::List(_)
                | Self::Drop(_)
                | Self::RaiseCut
                | Self::Attach
                | Self::Restart(_)
                | Self::Detach(_)
                | Self::LosesZero(..)
        )
    }

    /// Kinds of steps, as [`Action::kind`] numbers them.
    pub(crate) const KINDS: usize = 21;

    /// Its kind, as a number.
    pub(crate) fn kind(self) -> usize {
        match self {
            Self::List(_) => 0,
            Self::Drop(_) => 1,
            Self::Promote(_) => 2,
            Self::RaiseCut => 3,
            Self::Attach => 4,
            Self::Restart(_) => 5,
            Self::Detach(_) => 6,
            Self::ReplicaLearns(..) => 7,
            Self::EngineLearns(..) => 8,
            Self::SeesVolume(..) => 9,
            Self::Opens(..) => 10,
            Self::IsRefused(..) => 11,
            Self::Writes(..) => 12,
            Self::Trims(..) => 13,
            Self::BeginsCut(_) => 14,
            Self::Reads(..) => 15,
            Self::Copies(..) => 16,
            Self::Arrives(Message::Write { .. }) => 17,
            Self::Arrives(Message::Ack { .. }) => 18,
            Self::Arrives(Message::Reached { .. }) => 19,
            Self::LosesZero(..) => 20,
        }
    }

    /// The engine that does it.
    pub(crate) fn engine(self) -> Option<usize> {
        match self {
            Self::Restart(engine)
            | Self::Detach(engine)
            | Self::EngineLearns(engine, _)
            | Self::SeesVolume(engine, _)
            | Self::Opens(engine, _)
            | Self::IsRefused(engine, _)
            | Self::Writes(engine, _)
            | Self::Trims(engine, _)
            | Self::BeginsCut(engine)
            | Self::Reads(engine, ..) => Some(engine),
            _ => None,
        }
    }

    /// The replica that takes part in it.
    pub(crate) fn replica(self) -> Option<usize> {
        match self {
            Self::List(replica)
            | Self::Drop(replica)
            | Self::Promote(replica)
            | Self::ReplicaLearns(replica, _)
            | Self::Opens(_, replica)
            | Self::IsRefused(_, replica)
            | Self::Copies(replica, ..) => Some(replica),
            Self::Arrives(Message::Write { to, .. }) => Some(to.into()),
            Self::Arrives(Message::Ack { from, .. }) => Some(from.into()),
            _ => None,
        }
    }
}

impl State {
    /// Everything that may happen next.
    pub fn actions(&self, rules: Rules, bounds: Bounds, out: &mut Vec<Action>) {
        if self.truth.broken.is_some() {
            return;
        }
        self.control_actions(rules, bounds, out);
        for replica in 0..REPLICAS {
            self.replica_actions(rules, bounds, replica, out);
        }
        for engine in 0..self.engines.len() {
            if self.engines[engine].alive {
                self.engine_actions(rules, bounds, engine, out);
            }
        }
        let arriving = self
            .net
            .iter()
            .filter(|message| self.would_change(rules, message));
        out.extend(arriving.map(|&message| Action::Arrives(message)));
    }

    fn control_actions(&self, rules: Rules, bounds: Bounds, out: &mut Vec<Action>) {
        if self.maps.len() <= bounds.maps {
            for replica in 0..REPLICAS {
                if self.map_with(replica).is_some() {
                    out.push(Action::List(replica));
                }
                if self.map_without(rules, replica).is_some() {
                    out.push(Action::Drop(replica));
                }
                if self.map_promoting(rules, bounds, replica).is_some() {
                    out.push(Action::Promote(replica));
                }
            }
        }
        if self.volume().wanted < bounds.cuts && self.volume().attach > 0 {
            out.push(Action::RaiseCut);
        }
        if self.engines.len() < bounds.engines {
            out.push(Action::Attach);
            let alive = (0..self.engines.len()).filter(|&engine| self.engines[engine].alive);
            out.extend(alive.map(Action::Restart));
        }
    }

    fn replica_actions(&self, rules: Rules, bounds: Bounds, replica: usize, out: &mut Vec<Action>) {
        let newest = self.newest_epoch();
        let epoch = self.replicas[replica].epoch;
        out.extend(newer(epoch, newest, bounds).map(|epoch| Action::ReplicaLearns(replica, epoch)));
        if self.known_listing(replica).role == Role::Syncing {
            for source in (0..REPLICAS).filter(|&source| source != replica) {
                for block in 0..bounds.blocks {
                    for cut in 0..CUTS {
                        if self.may_copy(rules, replica, source, (block, cut)) {
                            out.push(Action::Copies(replica, source, (block, cut)));
                        }
                    }
                }
            }
        }
        if rules.lack(Rule::ZerosStay) {
            for block in 0..bounds.blocks {
                if let Some(cut) = Self::lowest_zero(&self.replicas[replica].layers, block) {
                    out.push(Action::LosesZero(replica, (block, cut)));
                }
            }
        }
    }

    fn engine_actions(&self, rules: Rules, bounds: Bounds, engine: usize, out: &mut Vec<Action>) {
        let it = &self.engines[engine];
        out.extend(
            newer(it.epoch, self.newest_epoch(), bounds)
                .map(|epoch| Action::EngineLearns(engine, epoch)),
        );
        let last = place(self.volumes.len() - 1);
        let obeyed = |&seen: &u8| {
            let volume = self.volumes[usize::from(seen)];
            let own = volume.attach == it.generation.attach || rules.lack(Rule::CutByAttachment);
            own && volume.wanted > it.told
        };
        out.extend(
            (0..=last)
                .filter(obeyed)
                .map(|seen| Action::SeesVolume(engine, seen)),
        );
        for replica in self.map(it.epoch).listed() {
            self.request_actions(rules, bounds, (engine, replica), out);
        }
        if it.serving && self.writes < bounds.writes {
            for block in (0..bounds.blocks).filter(|&block| it.is_idle_at(block)) {
                out.push(Action::Writes(engine, block));
                if !bounds.plain {
                    out.push(Action::Trims(engine, block));
                }
            }
        }
        if self.may_begin_cut(rules, engine) {
            out.push(Action::BeginsCut(engine));
        }
        if self.may_detach(engine) && self.is_newest(engine) {
            out.push(Action::Detach(engine));
        }
    }

    fn request_actions(
        &self,
        rules: Rules,
        bounds: Bounds,
        who: (usize, usize),
        out: &mut Vec<Action>,
    ) {
        let (engine, replica) = who;
        let it = &self.engines[engine];
        let taken = self.accepts(rules, replica, it.generation, it.epoch);
        if it.answers[replica].is_none() {
            if it.epoch < self.replicas[replica].epoch && rules.hold(Rule::RefuseOldEpochs) {
                out.push(Action::IsRefused(engine, replica));
            } else if taken {
                out.push(Action::Opens(engine, replica));
            }
        }
        let readable = self.map(it.epoch).0[replica].role == Role::InSync;
        if !it.serving || !readable || !taken || !self.is_newest(engine) {
            return;
        }
        for block in (0..bounds.blocks).filter(|&block| it.is_idle_at(block)) {
            let value = visible(&self.replicas[replica].layers[block], CUTS - 1);
            let tells = self.truth.allowed[block] != 1 << value;
            if tells || self.replicas[replica].epoch < it.epoch {
                out.push(Action::Reads(engine, replica, block));
            }
        }
    }

    /// Whether a message can do anything if it arrives now.
    fn would_change(&self, rules: Rules, message: &Message) -> bool {
        match *message {
            Message::Write { to, .. } => self.written(rules, message).is_some_and(|after| {
                let ack = Self::acknowledgement(message).expect("a write has one");
                let unheard = self.is_live(rules, &ack) && self.net.binary_search(&ack).is_err();
                after != self.replicas[usize::from(to)] || unheard
            }),
            Message::Ack { .. } | Message::Reached { .. } => self.is_live(rules, message),
        }
    }

    /// Whether a message can ever do anything again.
    fn is_live(&self, rules: Rules, message: &Message) -> bool {
        match *message {
            Message::Write {
                epoch, stamp, to, ..
            } => self.accepts(rules, to.into(), stamp.generation, epoch),
            Message::Ack {
                epoch,
                block,
                cut,
                stamp,
                from,
            } => {
                let to = self
                    .engines
                    .iter()
                    .find(|engine| engine.generation == stamp.generation);
                let flight = to
                    .filter(|engine| engine.alive)
                    .and_then(|engine| engine.flights[usize::from(block)][usize::from(cut)]);
                flight.is_some_and(|flight| {
                    flight.stamp == stamp && flight.acks[usize::from(from)] < Some(epoch)
                })
            }
            Message::Reached { attach, cut } => {
                let volume = self.volume();
                cut > volume.reached
                    && (volume.attach == attach || rules.lack(Rule::ReportsByAttachment))
            }
        }
    }

    /// Does one step.
    pub fn apply(&mut self, rules: Rules, bounds: Bounds, action: Action) {
        match action {
            Action::List(replica) => self.maps.extend(self.map_with(replica)),
            Action::Drop(replica) => self.maps.extend(self.map_without(rules, replica)),
            Action::Promote(replica) => {
                self.maps.extend(self.map_promoting(rules, bounds, replica));
            }
            Action::RaiseCut => self.raise_cut(),
            Action::Attach => self.attach(rules),
            Action::Restart(engine) => self.restart(rules, engine),
            Action::Detach(engine) => self.detach(engine),
            Action::ReplicaLearns(replica, epoch) => self.replicas[replica].epoch = epoch,
            Action::EngineLearns(engine, epoch) => self.learn(rules, bounds, engine, epoch),
            Action::SeesVolume(engine, seen) => self.see_volume(rules, engine, seen),
            Action::Opens(engine, replica) => self.open(rules, bounds, engine, replica),
            Action::IsRefused(engine, replica) => {
                self.learn(rules, bounds, engine, self.replicas[replica].epoch);
            }
            Action::Writes(engine, block) => {
                self.writes += 1;
                self.begin_write(rules, bounds, engine, (block, self.writes));
            }
            Action::Trims(engine, block) => {
                self.writes += 1;
                self.begin_write(rules, bounds, engine, (block, 0));
            }
            Action::BeginsCut(engine) => self.begin_cut(rules, bounds, engine),
            Action::Reads(engine, replica, block) => {
                let it = self.replicas[replica];
                self.truth_of_read(
                    block,
                    visible(&it.layers[block], CUTS - 1),
                    &self.name(engine),
                );
                self.replicas[replica].epoch = it.epoch.max(self.engines[engine].epoch);
            }
            Action::Copies(replica, source, at) => self.copy(rules, replica, source, at),
            Action::Arrives(message) => self.arrive(rules, bounds, &message),
            Action::LosesZero(replica, (block, cut)) => {
                self.replicas[replica].layers[block][cut] = None;
            }
        }
        self.check_promises(bounds);
        let mut net = std::mem::take(&mut self.net);
        net.retain(|message| self.is_live(rules, message));
        self.net = net;
    }

    fn arrive(&mut self, rules: Rules, bounds: Bounds, message: &Message) {
        match *message {
            Message::Write { to, .. } => {
                if let Some(after) = self.written(rules, message) {
                    self.replicas[usize::from(to)] = after;
                    let ack = Self::acknowledgement(message).expect("a write has one");
                    if bounds.plain {
                        self.arrive(rules, bounds, &ack);
                    } else {
                        self.send(ack);
                    }
                }
            }
            Message::Ack {
                epoch,
                block,
                cut,
                stamp,
                from,
            } => {
                let to = self
                    .engines
                    .iter()
                    .position(|engine| engine.generation == stamp.generation);
                let engine = to.expect("an engine is never forgotten");
                if let Some(flight) =
                    &mut self.engines[engine].flights[usize::from(block)][usize::from(cut)]
                {
                    let acked = &mut flight.acks[usize::from(from)];
                    *acked = (*acked).max(Some(epoch));
                }
                self.progress(rules, bounds, engine);
            }
            Message::Reached { attach, cut } => self.cut_reported(rules, attach, cut),
        }
    }
}

/// The next newer epoch, and the newest.
fn newer(known: u8, newest: u8, bounds: Bounds) -> impl Iterator<Item = u8> {
    let next = (known < newest && (!bounds.plain || known + 1 == newest)).then_some(known + 1);
    next.into_iter()
        .chain((known + 1 < newest).then_some(newest))
}

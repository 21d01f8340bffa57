//! What a replica does: opens, takes writes, adopts maps, copies from a source. Each step is durable before it is answered.

use crate::rules::{Rule, Rules};
use crate::state::{
    Answer, CUTS, Epoch, Generation, Layers, Message, Replica, Role, State, Version,
};

impl State {
    /// I4: whether a replica takes a request of this generation and epoch.
    pub(crate) fn accepts(
        &self,
        rules: Rules,
        replica: usize,
        generation: Generation,
        epoch: Epoch,
    ) -> bool {
        let it = &self.replicas[replica];
        (epoch >= it.epoch || rules.lack(Rule::RefuseOldEpochs))
            && (generation >= it.fence || rules.lack(Rule::RefuseOldGenerations))
    }

    /// A replica takes an engine's generation and says what it holds.
    pub(crate) fn answer(
        &mut self,
        rules: Rules,
        replica: usize,
        generation: Generation,
        epoch: Epoch,
    ) -> Answer {
        let it = &mut self.replicas[replica];
        it.epoch = it.epoch.max(epoch);
        it.fence = it.fence.max(generation);
        if rules.lack(Rule::RefuseOldGenerations) {
            it.fence = Generation::default();
        }
        let it = *it;
        let known = self.known_listing(replica);
        let reported = it.layers.map(|block| {
            block.map(|held| {
                held.is_some_and(|version| {
                    let since_listed = known.role == Role::InSync
                        || version.epoch >= known.since
                        || rules.lack(Rule::ReportSinceListed);
                    version.stamp > it.mark && since_listed
                })
            })
        });
        Answer {
            mark: it.mark,
            // Under which epoch it was written, the answer does not say.
            layers: it.layers.map(|block| {
                block.map(|held| {
                    held.map(|version| Version {
                        epoch: 0,
                        ..version
                    })
                })
            }),
            reported,
        }
    }

    /// What a replica would hold after a write, or nothing if it refuses it.
    pub(crate) fn written(&self, rules: Rules, message: &Message) -> Option<Replica> {
        let &Message::Write {
            epoch,
            block,
            cut,
            stamp,
            value,
            mark,
            to,
        } = message
        else {
            return None;
        };
        let replica = usize::from(to);
        if !self.accepts(rules, replica, stamp.generation, epoch) {
            return None;
        }
        let mut it = self.replicas[replica];
        it.epoch = it.epoch.max(epoch);
        let known = self.map(it.epoch).0[replica];
        if known.role == Role::InSync || rules.lack(Rule::SyncingKeepsItsMark) {
            it.mark = it.mark.max(mark);
        }
        let held = &mut it.layers[usize::from(block)][usize::from(cut)];
        let version = Version {
            stamp,
            value,
            epoch,
        };
        match held {
            Some(held) if held.stamp == stamp => held.epoch = held.epoch.max(epoch),
            // Held from before the listing: counts for nothing.
            Some(held)
                if held.stamp > stamp
                    && (held.epoch >= known.since || rules.lack(Rule::WriteOverWhatWasBefore)) => {}
            _ => *held = Some(version),
        }
        if value == 0 && rules.lack(Rule::TrimIsAVersion) {
            *held = None;
        }
        Some(it)
    }

    /// Whether a Syncing replica may copy a block's layer of a cut from a source now: newest cut first.
    pub(crate) fn may_copy(
        &self,
        rules: Rules,
        replica: usize,
        source: usize,
        at: (usize, usize),
    ) -> bool {
        let map = self.map(self.replicas[replica].epoch);
        let (target, from) = (&self.replicas[replica], &self.replicas[source]);
        let since = map.0[replica].since;
        if map.0[replica].role != Role::Syncing || map.0[source].role != Role::InSync {
            return false;
        }
        // A source with a newer map answers with it: the target learns it first.
        if from.epoch > target.epoch && rules.hold(Rule::SourceAdopts) {
            return false;
        }
        let (block, cut) = at;
        let is_there =
            |cut: usize| target.layers[block][cut].is_some() || from.layers[block][cut].is_some();
        target.copied[block][cut] != since
            && (cut == 0 || is_there(cut) || rules.lack(Rule::CopyNewestCutFirst))
            && (rules.lack(Rule::CopyNewestCutFirst)
                || (cut + 1..CUTS)
                    .all(|newer| target.copied[block][newer] == since || !is_there(newer)))
    }

    /// A Syncing replica copies a block's layer of a cut.
    pub(crate) fn copy(&mut self, rules: Rules, replica: usize, source: usize, at: (usize, usize)) {
        let (block, cut) = at;
        let since = self.known_listing(replica).since;
        let epoch = self.replicas[replica].epoch;
        if rules.hold(Rule::SourceAdopts) {
            let from = &mut self.replicas[source];
            from.epoch = from.epoch.max(epoch);
        }
        let from = self.replicas[source];
        let it = &mut self.replicas[replica];
        if rules.hold(Rule::CopyFences) {
            it.fence = it.fence.max(from.fence);
        }
        let last = if rules.lack(Rule::CopyNewestCutFirst) {
            cut
        } else {
            CUTS - 1
        };
        for done in &mut it.copied[block][cut..=last] {
            *done = since;
        }
        if rules.lack(Rule::CopyEachCut)
            && (cut + 1..CUTS).any(|newer| from.layers[block][newer].is_some())
        {
            return;
        }
        let (theirs, ours) = (from.layers[block][cut], it.layers[block][cut]);
        let above =
            |version: Option<Version>| version.is_some_and(|version| version.stamp > it.mark);
        let asked = rules.lack(Rule::CopyAboveTheMark)
            || above(theirs)
            || (above(ours) && rules.hold(Rule::CopyWhatTargetHolds));
        let hole_kept = theirs.is_none() && rules.lack(Rule::CopyHoles);
        if asked && !hole_kept && !kept(rules, it, from.fence, (ours, theirs), since) {
            it.layers[block][cut] = theirs.map(|version| Version {
                epoch: since,
                ..version
            });
        }
    }

    /// Whether the newest map's replica has copied everything for its current listing.
    pub(crate) fn is_copied(&self, rules: Rules, replica: usize, blocks: usize) -> bool {
        let since = self.newest_map().0[replica].since;
        let copied = &self.replicas[replica].copied;
        let first = copied[0][0];
        let all = copied[..blocks].iter().all(|of| of[0] == first);
        // Upwards, the layer of each cut there is must have been asked for, too.
        let cuts = 0..=usize::from(self.volume().wanted);
        let each = rules.hold(Rule::CopyNewestCutFirst)
            || copied[..blocks]
                .iter()
                .all(|of| of[cuts.clone()].iter().all(|&done| done == first));
        first > 0 && all && each && (first == since || rules.lack(Rule::ReportsByListing))
    }

    /// The lowest zero of a block goes though nothing covers it: only without the rule that zeros stay.
    pub(crate) fn lowest_zero(layers: &Layers, block: usize) -> Option<usize> {
        let cut = (0..CUTS).find(|&cut| layers[block][cut].is_some())?;
        layers[block][cut]
            .is_some_and(|version| version.value == 0)
            .then_some(cut)
    }

    /// The acknowledgement of a write.
    pub(crate) fn acknowledgement(message: &Message) -> Option<Message> {
        let &Message::Write {
            epoch,
            block,
            cut,
            stamp,
            to,
            ..
        } = message
        else {
            return None;
        };
        Some(Message::Ack {
            epoch,
            block,
            cut,
            stamp,
            from: to,
        })
    }
}

/// Whether the target keeps what it holds instead of the source's version. A hole at the source is a version with stamp zero.
fn kept(
    rules: Rules,
    target: &Replica,
    source_fence: Generation,
    versions: (Option<Version>, Option<Version>),
    since: Epoch,
) -> bool {
    let (Some(ours), theirs) = versions else {
        return false;
    };
    let newer = theirs.is_none_or(|theirs| ours.stamp > theirs.stamp);
    let fence = if rules.lack(Rule::FencedAtTheSource) {
        target.fence
    } else {
        source_fence
    };
    let unfenced = ours.stamp.generation >= fence || rules.lack(Rule::CopyFences);
    let since_listed = ours.epoch >= since || rules.lack(Rule::DropWritesFromBefore);
    newer
        && since_listed
        && (unfenced || rules.lack(Rule::DropWritesFromBefore))
        && rules.hold(Rule::KeepNewerWrites)
}

//! What the operator and the CSI controller do: they change the map and the Volume object. Every such step may come at any time.

use crate::rules::{Bounds, Rule, Rules};
use crate::state::{Listing, Map, Phase, REPLICAS, Role, State};

impl State {
    /// The map with one more replica listed, if it is not.
    pub(crate) fn map_with(&self, replica: usize) -> Option<Map> {
        let mut map = self.newest_map();
        if map.0[replica].listed() {
            return None;
        }
        map.0[replica] = Listing {
            role: Role::Syncing,
            since: self.newest_epoch() + 1,
        };
        Some(map)
    }

    /// The map with one replica fewer. I3: never the last InSync one.
    pub(crate) fn map_without(&self, rules: Rules, replica: usize) -> Option<Map> {
        let mut map = self.newest_map();
        let others = |wanted: fn(Role) -> bool| {
            (0..REPLICAS).any(|other| other != replica && wanted(map.0[other].role))
        };
        let one_stays = others(|role| role == Role::InSync);
        let bent = rules.lack(Rule::KeepLastInSync) && others(|role| role == Role::Syncing);
        if !map.0[replica].listed() || !(one_stays || bent) {
            return None;
        }
        map.0[replica].role = Role::Out;
        if !one_stays {
            for other in &mut map.0 {
                if other.role == Role::Syncing {
                    other.role = Role::InSync;
                }
            }
        }
        Some(map)
    }

    /// The map with a Syncing replica made InSync, once it has reported for its listing.
    pub(crate) fn map_promoting(
        &self,
        rules: Rules,
        bounds: Bounds,
        replica: usize,
    ) -> Option<Map> {
        let mut map = self.newest_map();
        if map.0[replica].role != Role::Syncing || !self.is_copied(rules, replica, bounds.blocks) {
            return None;
        }
        map.0[replica].role = Role::InSync;
        Some(map)
    }

    /// The CSI controller raises the cut. With no engine attached the object alone is enough.
    pub(crate) fn raise_cut(&mut self) {
        let mut volume = self.volume();
        volume.wanted += 1;
        if !volume.attached && volume.attach > 0 {
            self.truth_of_cut(volume.wanted);
            volume.reached = volume.wanted;
        }
        self.volumes.push(volume);
    }

    /// Whether an engine may detach cleanly: it is the one attached, and nothing is left to do.
    pub(crate) fn may_detach(&self, engine: usize) -> bool {
        let (it, volume) = (&self.engines[engine], self.volume());
        volume.attached
            && volume.attach == it.generation.attach
            && it.phase == Phase::Reconciled
            && it.is_idle()
    }

    /// An engine detaches cleanly; its process ends.
    pub(crate) fn detach(&mut self, engine: usize) {
        let mut volume = self.volume();
        volume.attached = false;
        self.volumes.push(volume);
        self.engines[engine].end();
    }

    /// A report of a cut comes to the Volume object. It counts only from the engine that is attached.
    pub(crate) fn cut_reported(&mut self, rules: Rules, attach: u8, cut: u8) {
        let mut volume = self.volume();
        if volume.attach == attach || rules.lack(Rule::ReportsByAttachment) {
            volume.reached = volume.reached.max(cut);
            let newest = self.volumes.last_mut().expect("the first state has one");
            *newest = volume;
        }
    }
}

//! Disks and buckets that plans are made for and carried out on, with every step checked against what it must not do.
//!
//! The rules are worked out here once more, in the slowest and plainest way.

use moraine_placement::{Disk, Held, Layout, Plan, Step, Why, plan};
use std::collections::BTreeSet;

/// A pool in memory.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) disks: Vec<Disk>,
    pub(crate) replicas: u32,
    pub(crate) held: Vec<Vec<u32>>,
}

/// A disk that takes buckets.
pub(crate) fn disk(domain: u32, weight: u64) -> Disk {
    Disk {
        domain: Some(domain),
        weight,
        takes: true,
    }
}

impl World {
    /// Buckets that lie nowhere.
    pub(crate) fn new(disks: Vec<Disk>, replicas: u32, buckets: usize) -> Self {
        Self {
            disks,
            replicas,
            held: vec![Vec::new(); buckets],
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        let held = Held::new(self.held.iter().map(|places| places.iter().copied())).unwrap();
        plan(&Layout {
            disks: &self.disks,
            replicas: self.replicas,
            held: &held,
        })
    }

    /// Makes a plan, checks it, carries it out, checks what came of it, and that nothing is left to do.
    pub(crate) fn settle(&mut self) -> Plan {
        let plan = self.plan();
        assert_eq!(plan, self.plan(), "the same input gives the same plan");
        self.check_order(&plan);
        self.check_short(&plan);
        let before = self.clone();
        for step in &plan.steps {
            self.make(step);
        }
        self.check_replicas(&before);
        let again = self.plan();
        assert_eq!(again.steps, [], "after a plan nothing is left to do");
        assert_eq!(
            again.short, plan.short,
            "a plan changes nothing about what can be"
        );
        plan
    }

    /// Makes one step, which may take nothing away that has no replacement.
    fn make(&mut self, step: &Step) {
        let before = self.held[step.bucket as usize].clone();
        let mut places = before.clone();
        if let Some(to) = step.to {
            let disk = self.disks[to as usize];
            assert!(
                disk.takes && disk.weight > 0 && disk.domain.is_some(),
                "{step:?}: {disk:?}"
            );
            assert!(!places.contains(&to), "{step:?}: twice on one disk");
            places.push(to);
        }
        if let Some(from) = step.from {
            let at = places.iter().position(|place| *place == from);
            places.remove(at.unwrap_or_else(|| panic!("{step:?} of {before:?}")));
        }
        assert!(
            places.len() >= before.len().min(self.replicas as usize),
            "{step:?} takes away what is needed of {before:?}"
        );
        // A surplus replica of a domain that has no other may go; nothing else makes a bucket less safe.
        let enough = self.replicas as usize;
        assert!(
            self.spread(&places) >= self.spread(&before).min(enough),
            "{step:?}: {before:?} lay in more domains"
        );
        let shape = match step.why {
            Why::Missing => step.from.is_none() && step.to.is_some(),
            Why::Surplus => step.from.is_some() && step.to.is_none(),
            Why::Leaving | Why::Domain | Why::Balance => step.from.is_some() && step.to.is_some(),
        };
        assert!(shape, "{step:?}");
        self.held[step.bucket as usize] = places;
    }

    fn domain(&self, place: u32) -> Option<u32> {
        self.disks.get(place as usize)?.domain
    }

    pub(crate) fn stays(&self, place: u32) -> bool {
        let disk = self.disks.get(place as usize);
        disk.is_some_and(|disk| disk.weight > 0 && disk.domain.is_some())
    }

    /// Domains that these disks are in.
    pub(crate) fn spread(&self, places: &[u32]) -> usize {
        let domains = places.iter().filter_map(|place| self.domain(*place));
        domains.collect::<BTreeSet<u32>>().len()
    }

    fn check_order(&self, plan: &Plan) {
        let whys: Vec<Why> = plan.steps.iter().map(|step| step.why).collect();
        assert!(whys.is_sorted(), "{whys:?}");
        for step in &plan.steps {
            if step.why == Why::Leaving {
                assert!(!self.stays(step.from.unwrap()), "{step:?}");
            } else if let (Why::Domain | Why::Balance, Some(from)) = (step.why, step.from) {
                assert!(self.stays(from), "{step:?}");
            }
        }
    }

    /// Domains that a bucket could be in, on disks that stay.
    fn possible(&self, bucket: usize) -> usize {
        let can = |place: &u32| {
            let takes = self.disks[*place as usize].takes;
            self.stays(*place) && (takes || self.held[bucket].contains(place))
        };
        let places: Vec<u32> = (0..).take(self.disks.len()).filter(can).collect();
        self.spread(&places)
    }

    fn check_short(&self, plan: &Plan) {
        let wanted = self.replicas as usize;
        let short: Vec<(usize, usize)> = (0..self.held.len())
            .map(|bucket| (bucket, self.possible(bucket)))
            .filter(|(_, possible)| *possible < wanted)
            .collect();
        let told: Vec<(usize, usize)> = plan
            .short
            .iter()
            .map(|short| (short.bucket as usize, short.possible as usize))
            .collect();
        assert_eq!(told, short);
        assert!(plan.short.iter().all(|short| short.wanted == self.replicas));
    }

    /// Each bucket has what it can have.
    fn check_replicas(&self, before: &Self) {
        let wanted = self.replicas as usize;
        for (bucket, places) in self.held.iter().enumerate() {
            let possible = before.possible(bucket).min(wanted);
            let staying: Vec<u32> = places
                .iter()
                .copied()
                .filter(|place| self.stays(*place))
                .collect();
            assert!(
                self.spread(&staying) >= possible,
                "bucket {bucket}: {places:?}"
            );
            if possible == wanted {
                assert_eq!(
                    (places.len(), staying.len()),
                    (wanted, wanted),
                    "bucket {bucket}"
                );
            }
            let disks = (0..).take(self.disks.len()).filter(|place| {
                self.stays(*place)
                    && (self.disks[*place as usize].takes || before.held[bucket].contains(place))
            });
            let could = disks.count().max(before.held[bucket].len());
            assert!(
                places.len() >= could.min(wanted),
                "bucket {bucket}: {places:?}"
            );
            assert!(places.len() <= wanted, "bucket {bucket}: {places:?}");
        }
    }

    /// Replicas on each disk.
    pub(crate) fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.disks.len()];
        for &place in self.held.iter().flatten() {
            if let Some(count) = counts.get_mut(place as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// The share of each disk when all take, by halving an interval: the level at which all that is poured in is held.
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    pub(crate) fn shares(&self) -> Vec<f64> {
        let buckets = self.held.len() as f64;
        let total = buckets * f64::from(self.replicas);
        let weight = |domain: u32| -> f64 {
            let own = self.disks.iter().filter(|disk| disk.domain == Some(domain));
            own.map(|disk| disk.weight as f64).sum()
        };
        let domains: BTreeSet<u32> = self.disks.iter().filter_map(|disk| disk.domain).collect();
        let held = |level: f64| -> f64 {
            domains
                .iter()
                .map(|domain| (level * weight(*domain)).min(buckets))
                .sum()
        };
        let (mut low, mut high) = (0.0, total * 2.0);
        for _ in 0..200 {
            let middle = f64::midpoint(low, high);
            if held(middle) < total {
                low = middle;
            } else {
                high = middle;
            }
        }
        let share = |disk: &Disk| {
            let Some(domain) = disk.domain.filter(|_| disk.weight > 0) else {
                return 0.0;
            };
            let whole = weight(domain);
            (high * whole).min(buckets) * disk.weight as f64 / whole
        };
        self.disks.iter().map(share).collect()
    }

    /// Each disk has its share, rounded up or down.
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    pub(crate) fn check_balance(&self) {
        let (counts, shares) = (self.counts(), self.shares());
        for (disk, (count, share)) in counts.iter().zip(&shares).enumerate() {
            let off = (*count as f64 - share).abs();
            assert!(off < 1.0 + 1e-6, "disk {disk}: {counts:?} of {shares:?}");
        }
    }
}

/// Replicas that a plan copies.
pub(crate) fn copies(plan: &Plan) -> usize {
    plan.steps.iter().filter(|step| step.to.is_some()).count()
}

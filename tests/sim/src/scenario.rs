//! What a seed decides before the run begins: how large the world is, how busy, and which faults it
//! has. Each kind of fault is left out of half of the runs, since what one hides another shows.

use crate::agenda::{MS, Micros};
use crate::chance::Chance;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// An agent's process ends, with what it had not made durable, and starts again later.
    Crash,
    /// A node stands still for a while.
    Stall,
    /// Two nodes, or one and all others, don't hear each other, or only one way.
    Partition,
    /// A connection breaks.
    Cut,
    /// The disk fails some writes.
    FailWrites,
    /// The disk fails some reads.
    FailReads,
    /// A bit of a block on a disk changes.
    Rot,
    /// A disk dies for good and is replaced.
    LoseDisk,
    /// A clock jumps ahead.
    ClockJump,
    /// The volume is attached again, while the former engine lives on.
    Attach,
    /// The engine's process ends and starts again, with the map it had kept.
    Restart,
    /// The operator drops a replica that has done nothing wrong.
    Drop,
    /// The operator moves a bucket to another disk.
    Move,
    /// A sequence of the run's theme begins.
    Scene,
}

/// All of them, with how often each happens beside the others.
const FAULTS: [(Fault, u32); 13] = [
    (Fault::Crash, 10),
    (Fault::Stall, 5),
    (Fault::Partition, 8),
    (Fault::Cut, 8),
    (Fault::FailWrites, 3),
    (Fault::FailReads, 3),
    (Fault::Rot, 3),
    (Fault::LoseDisk, 1),
    (Fault::ClockJump, 2),
    (Fault::Attach, 6),
    (Fault::Restart, 6),
    (Fault::Drop, 8),
    (Fault::Move, 4),
];

/// What a run is about. Most have any faults, one by one; the others are arranged so that a sequence
/// of faults which is rare in those happens again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    /// Whatever comes.
    Plain,
    /// Engines that are superseded find replicas that have never heard of their successors.
    Zombies,
    /// Engines die while a replica that leaves and returns alone has their last writes.
    Orphans,
    /// Volumes are cloned, grow, and are deleted.
    Lives,
}

impl Theme {
    /// The theme of a seed. It is drawn apart, so that a plain run is what it was before there were
    /// themes.
    pub(crate) fn of(seed: u64) -> Self {
        match Chance::new(seed ^ 0x7468_656d_6573).below(20) {
            0..=2 => Self::Zombies,
            3..=4 => Self::Orphans,
            17..=19 => Self::Lives,
            _ => Self::Plain,
        }
    }
}

/// One world.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Nodes with disks.
    pub(crate) nodes: usize,
    /// Disks of each.
    pub(crate) disks: usize,
    /// Nodes without disks; engines run on either.
    pub(crate) clients: usize,
    /// Replicas of each bucket.
    pub(crate) replicas: usize,
    /// Buckets of the pool.
    pub(crate) buckets: u32,
    /// Volumes.
    pub(crate) volumes: usize,
    /// Chunks of each.
    pub(crate) chunks: u64,
    /// Blocks of a chunk that are written, from its start; its last two are too.
    pub(crate) hot: u64,
    /// Shards of each disk.
    pub(crate) shards: u32,
    /// Segments of each disk, of 64 blocks.
    pub(crate) segments: u64,
    /// Operations that each engine has under way at most.
    pub(crate) depth: usize,
    /// Most blocks of an operation.
    pub(crate) span: u64,
    /// Operations of all clients while there are faults.
    pub(crate) operations: u64,
    /// Longest pause of a client.
    pub(crate) pause: Micros,
    /// How long a message takes at most, when nothing is wrong.
    pub(crate) latency: Micros,
    /// How long an operation of a disk takes at most.
    pub(crate) disk_latency: Micros,
    /// Connections of an engine to each disk.
    pub(crate) paths: u64,
    /// What the run is about.
    pub(crate) theme: Theme,
    /// How soon and how late the reports of replicas come.
    pub(crate) reports: (Micros, Micros),
    /// How late news of the map may come.
    pub(crate) news: Micros,
    /// The longest time between two faults.
    pub(crate) calm: Micros,
    /// After how long without a heartbeat a disk is dropped.
    pub(crate) stale: Micros,
    /// How long the faults last.
    pub(crate) chaos: Micros,
    /// How often of a thousand steps of the operator a cut is raised, and a snapshot deleted.
    pub(crate) cut_permille: u32,
    /// Whether replicas open only volumes that they were told of.
    pub(crate) only_known: bool,
    /// The faults, each as often as it is to happen beside the others.
    pub(crate) faults: Vec<Fault>,
}

impl Scenario {
    /// The scenario of a run.
    pub(crate) fn draw(chance: &mut Chance, seed: u64) -> Self {
        let scenario = Self::draw_themed(chance, Theme::of(seed));
        // Drawn apart, like the theme.
        if Chance::new(seed ^ 0x7368_6172_6473).permille(750) {
            return scenario;
        }
        Self {
            shards: 2,
            segments: scenario.segments.max(24) + 8,
            ..scenario
        }
    }

    fn draw_themed(chance: &mut Chance, theme: Theme) -> Self {
        let mut plain = Self::draw_plain(chance);
        plain.reports.1 = plain.news.max(MS);
        match theme {
            Theme::Plain => plain,
            Theme::Zombies | Theme::Orphans => plain.with_scenes(chance, theme),
            Theme::Lives => Self {
                theme,
                cut_permille: 30,
                volumes: 2,
                chunks: plain.chunks.min(2),
                hot: plain.hot.min(5),
                segments: plain.segments.max(24) + chance.within(0..=16),
                chaos: plain.chaos.clamp(1000 * MS, 2500 * MS),
                ..plain
            },
        }
    }

    /// The world for a theme: quick and quiet enough for its sequences to come to their end.
    fn with_scenes(self, chance: &mut Chance, theme: Theme) -> Self {
        let few = if self.faults.is_empty() { 0 } else { 3 };
        let mut faults: Vec<Fault> = (0..few)
            .map(|_| self.faults[chance.below(self.faults.len())])
            .collect();
        faults.extend([Fault::Scene; 6]);
        let calm = chance.within(60 * MS..=300 * MS);
        let reports = match theme {
            // So late that the next engine opens the replica before it counts as in sync.
            Theme::Orphans => (150 * MS, 900 * MS),
            Theme::Plain | Theme::Zombies | Theme::Lives => (MS, chance.skewed(2 * MS..=1000 * MS)),
        };
        Self {
            theme,
            faults,
            calm,
            chaos: calm * chance.within(5..=15),
            segments: self.segments.max(24),
            hot: self.hot.max(6),
            pause: chance.skewed(MS / 10..=30 * MS),
            latency: chance.skewed(MS / 10..=4 * MS),
            disk_latency: chance.skewed(MS / 20..=2 * MS),
            news: chance.skewed(MS..=100 * MS),
            reports,
            stale: chance.within(500 * MS..=1500 * MS),
            ..self
        }
    }

    fn draw_plain(chance: &mut Chance) -> Self {
        let nodes = usize::try_from(chance.within(3..=5)).unwrap_or(3);
        let replicas = usize::try_from(chance.within(2..=3)).unwrap_or(2);
        let mut faults = Vec::new();
        for (fault, weight) in FAULTS {
            if chance.permille(500) {
                faults.extend((0..weight).map(|_| fault));
            }
        }
        let calm = chance.skewed(8 * MS..=300 * MS);
        let chaos = (calm / 3 * chance.within(5..=50)).max(300 * MS);
        Self {
            theme: Theme::Plain,
            nodes,
            disks: 1 + usize::from(chance.permille(250)),
            clients: 2,
            replicas,
            buckets: if chance.permille(300) { 1 } else { 4 },
            volumes: 1 + usize::from(chance.permille(250)),
            chunks: chance.within(1..=3),
            hot: chance.skewed(1..=14),
            shards: 1,
            segments: if chance.permille(200) {
                14
            } else {
                chance.within(24..=36)
            },
            depth: 1 + chance.below(6),
            span: chance.skewed(1..=6),
            operations: chance.within(80..=400),
            pause: chance.skewed(MS / 10..=(calm / 4).max(MS)),
            latency: chance.skewed(MS / 10..=20 * MS),
            disk_latency: chance.skewed(MS / 20..=8 * MS),
            paths: 1 + u64::from(chance.permille(200)),
            news: chance.skewed(MS..=1500 * MS),
            calm,
            reports: (MS, MS),
            stale: chance.skewed(100 * MS..=1500 * MS),
            chaos,
            cut_permille: if chance.permille(600) { 25 } else { 0 },
            only_known: chance.permille(300),
            faults,
        }
    }

    /// The blocks that clients touch of a volume of so many chunks, in order, as runs of neighbours.
    pub(crate) fn runs(&self, chunks: u64) -> Vec<std::ops::Range<u64>> {
        let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
        for chunk in 0..chunks {
            let (start, end) = (chunk * 1024, (chunk + 1) * 1024);
            // The last blocks of a chunk and the first of the next are neighbours.
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = start + self.hot,
                _ => runs.push(start..start + self.hot),
            }
            runs.push(end - 2..end);
        }
        runs
    }

    /// In words, for the trace.
    pub(crate) fn describe(&self) -> String {
        let mut faults = self.faults.clone();
        faults.dedup();
        format!(
            "{:?}, {} nodes of {} disks of {} shards, {} replicas, {} buckets, {} volumes of {} chunks, faults {faults:?}",
            self.theme,
            self.nodes,
            self.disks,
            self.shards,
            self.replicas,
            self.buckets,
            self.volumes,
            self.chunks
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_seeds_are_plain_and_each_theme_has_some() {
        let count = |theme| (0..1000).filter(|seed| Theme::of(*seed) == theme).count();
        assert!(count(Theme::Plain) > 500);
        assert!(count(Theme::Zombies) > 50 && count(Theme::Orphans) > 50);
        let shards = |seed| Scenario::draw(&mut Chance::new(seed), seed).shards;
        assert!((0..1000).filter(|seed| shards(*seed) == 2).count() > 150);
        // What these once found they find only in a plain run.
        for seed in [213_135, 301_474] {
            assert_eq!(Theme::of(seed), Theme::Plain);
            assert_eq!(shards(seed), 1);
        }
    }

    #[test]
    fn neighbours_across_chunks_are_one_run() {
        let mut scenario = Scenario::draw(&mut Chance::new(1), 1);
        scenario.hot = 5;
        assert_eq!(scenario.runs(2), [0..5, 1022..1029, 2046..2048]);
    }
}

//! The fewest copies that bring a small pool in order: a flow of least cost from buckets over domains to disks, found by
//! looking for the cheapest way again and again over all edges. Slow, plain, and exact.

use crate::world::World;

/// An edge and, right after it, its way back.
struct Edge {
    to: usize,
    room: i64,
    cost: i64,
}

struct Flow {
    edges: Vec<Edge>,
    tails: Vec<usize>,
    nodes: usize,
}

impl Flow {
    fn add(&mut self, from: usize, to: usize, room: i64, cost: i64) {
        self.edges.push(Edge { to, room, cost });
        self.tails.push(from);
        self.edges.push(Edge {
            to: from,
            room: 0,
            cost: -cost,
        });
        self.tails.push(to);
    }

    /// Sends one unit the cheapest way; what it cost.
    fn send(&mut self, source: usize, sink: usize) -> Option<i64> {
        const FAR: i64 = i64::MAX / 4;
        let mut costs = vec![FAR; self.nodes];
        let mut by = vec![usize::MAX; self.nodes];
        costs[source] = 0;
        let mut changed = true;
        while changed {
            changed = false;
            for (index, edge) in self.edges.iter().enumerate() {
                let cost = costs[self.tails[index]] + edge.cost;
                if edge.room > 0 && costs[self.tails[index]] < FAR && cost < costs[edge.to] {
                    costs[edge.to] = cost;
                    by[edge.to] = index;
                    changed = true;
                }
            }
        }
        let mut at = sink;
        while at != source {
            let index = by[at];
            if index == usize::MAX {
                return None;
            }
            self.edges[index].room -= 1;
            self.edges[index ^ 1].room += 1;
            at = self.tails[index];
        }
        Some(costs[sink])
    }
}

/// The fewest copies after which every bucket has its replicas, each in a domain of its own, and every disk its share
/// rounded up or down. All disks that stay must take, and there must be domains enough.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "small numbers"
)]
pub(crate) fn fewest_copies(world: &World) -> usize {
    // What a disk has to have is worth more than all copies together.
    const OWED: i64 = 1_000_000;
    let (buckets, disks) = (world.held.len(), world.disks.len());
    let domains = 1 + world
        .disks
        .iter()
        .filter_map(|disk| disk.domain)
        .max()
        .unwrap() as usize;
    let (of_bucket, of_domain) = (2, 2 + buckets);
    let of_disk = of_domain + buckets * domains;
    let mut flow = Flow {
        edges: Vec::new(),
        tails: Vec::new(),
        nodes: of_disk + disks,
    };
    let replicas = i64::from(world.replicas);
    let mut owed = 0;
    for bucket in 0..buckets {
        flow.add(0, of_bucket + bucket, replicas, 0);
        for domain in 0..domains {
            let node = of_domain + bucket * domains + domain;
            flow.add(of_bucket + bucket, node, 1, 0);
            for place in (0..).take(disks).filter(|place| world.stays(*place)) {
                if world.disks[place as usize].domain == u32::try_from(domain).ok() {
                    let cost = i64::from(!world.held[bucket].contains(&place));
                    flow.add(node, of_disk + place as usize, 1, cost);
                }
            }
        }
    }
    for (place, share) in world.shares().into_iter().enumerate() {
        let floor = (share + 1e-6).floor() as i64;
        flow.add(of_disk + place, 1, floor, -OWED);
        flow.add(
            of_disk + place,
            1,
            i64::from(share - 1e-6 > floor as f64),
            0,
        );
        owed += floor;
    }
    let mut cost = owed * OWED;
    for _ in 0..buckets as i64 * replicas {
        cost += flow
            .send(0, 1)
            .expect("there are domains enough for every replica");
    }
    usize::try_from(cost).expect("every disk got what it has to have")
}

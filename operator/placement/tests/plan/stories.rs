//! Long lives of pools: disks join, fail, are left, cordoned and resized, one after another, and every plan is carried out
//! and held against the fewest copies that there can be.

use crate::oracle::fewest_copies;
use crate::world::{World, copies, disk};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Join { domain: u32, weight: u64 },
    Fail { disk: usize },
    Leave { disk: usize },
    Resize { disk: usize, weight: u64 },
    Cordon { disk: usize, takes: bool },
    Replicas(u32),
}

fn events(domains: u32) -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..domains, 1_u64..10).prop_map(|(domain, weight)| Event::Join { domain, weight }),
        3 => (0_usize..99).prop_map(|disk| Event::Fail { disk }),
        1 => (0_usize..99).prop_map(|disk| Event::Leave { disk }),
        2 => (0_usize..99, 1_u64..10).prop_map(|(disk, weight)| Event::Resize { disk, weight }),
        1 => (0_usize..99, any::<bool>()).prop_map(|(disk, takes)| Event::Cordon { disk, takes }),
        1 => (1_u32..4).prop_map(Event::Replicas),
    ]
}

impl Event {
    /// Lets it happen; the replicas that are lost by it.
    fn befall(&self, world: &mut World) -> usize {
        let count = world.disks.len();
        match *self {
            Self::Join { domain, weight } => world.disks.push(disk(domain, weight)),
            Self::Fail { disk } => {
                let place = disk % count;
                world.disks[place].weight = 0;
                let before: usize = world.held.iter().map(Vec::len).sum();
                for places in &mut world.held {
                    places.retain(|other| *other as usize != place);
                }
                return before - world.held.iter().map(Vec::len).sum::<usize>();
            }
            Self::Leave { disk } => world.disks[disk % count].weight = 0,
            Self::Resize { disk, weight } => world.disks[disk % count].weight = weight,
            Self::Cordon { disk, takes } => world.disks[disk % count].takes = takes,
            Self::Replicas(replicas) => world.replicas = replicas,
        }
        0
    }
}

fn all_take(world: &World) -> bool {
    world.disks.iter().all(|disk| disk.takes)
}

fn is_roomy(world: &World) -> bool {
    let places: Vec<u32> = (0..)
        .take(world.disks.len())
        .filter(|place| world.stays(*place))
        .collect();
    world.spread(&places) >= world.replicas as usize
}

fn live(mut world: World, events: &[Event], exact: bool) {
    world.settle();
    for event in events {
        let lost = event.befall(&mut world);
        let before = world.clone();
        let plan = world.settle();
        if !all_take(&world) || !is_roomy(&world) {
            continue;
        }
        world.check_balance();
        // Where few domains are left, more must move: what was lost can't go just anywhere.
        let as_hoped = match event {
            Event::Fail { .. } => copies(&plan) == lost,
            Event::Join { .. } => {
                let joined = world.disks.len() - 1;
                plan.steps
                    .iter()
                    .all(|step| step.to.map(|to| to as usize) == Some(joined))
            }
            _ => true,
        };
        if exact || !as_hoped {
            assert_eq!(copies(&plan), fewest_copies(&before), "{event:?}: {plan:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn pools_of_many_domains_live_long(events in proptest::collection::vec(events(12), 60)) {
        live(World::new((0..24).map(|place| disk(place / 2, 4)).collect(), 3, 200), &events, false);
    }

    #[test]
    fn pools_of_few_domains_live_long(events in proptest::collection::vec(events(4), 60)) {
        live(World::new((0..12).map(|place| disk(place / 3, 4)).collect(), 3, 200), &events, false);
    }

    #[test]
    fn pools_copy_as_little_as_can_be_all_their_lives(events in proptest::collection::vec(events(5), 15)) {
        live(World::new((0..10).map(|place| disk(place / 2, 4)).collect(), 3, 40), &events, true);
    }
}

//! What holds of every plan.

use crate::oracle::fewest_copies;
use crate::world::{World, copies};
use moraine_placement::Disk;
use proptest::prelude::*;

/// Places of `count` at most, in any order, none twice.
fn places(disks: usize, most: usize) -> impl Strategy<Value = Vec<u32>> {
    let all: Vec<u32> = (0..).take(disks + 1).collect();
    proptest::sample::subsequence(all, 0..=most.min(disks + 1)).prop_shuffle()
}

/// Pools of a few disks and buckets, however they came to be as they are.
fn pools(taking: bool) -> impl Strategy<Value = World> {
    let one = (
        prop_oneof![9 => (0_u32..5).prop_map(Some), 1 => Just(None)],
        prop_oneof![1 => Just(0_u64), 6 => Just(4), 3 => 1_u64..9],
        prop_oneof![4 => Just(true), 1 => Just(false)],
    );
    let one = one.prop_map(move |(domain, weight, takes)| Disk {
        domain,
        weight,
        takes: takes || taking,
    });
    (proptest::collection::vec(one, 0..9), 1_u32..5, 0_usize..10).prop_flat_map(
        |(disks, replicas, buckets)| {
            let held = places(disks.len(), 5);
            proptest::collection::vec(held, buckets).prop_map(move |held| World {
                disks: disks.clone(),
                replicas,
                held,
            })
        },
    )
}

/// Whether every bucket can have its replicas in domains of their own.
fn is_roomy(world: &World) -> bool {
    let places: Vec<u32> = (0..)
        .take(world.disks.len())
        .filter(|place| world.stays(*place))
        .collect();
    world.spread(&places) >= world.replicas as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_pool_is_brought_in_order_without_a_step_that_makes_it_less_safe(mut world in pools(false)) {
        world.settle();
    }

    #[test]
    fn disks_that_all_take_have_their_shares_within_one(mut world in pools(true)) {
        let roomy = is_roomy(&world);
        world.settle();
        if roomy {
            world.check_balance();
        }
    }

    #[test]
    fn no_plan_copies_more_than_it_has_to(world in pools(true)) {
        if is_roomy(&world) {
            prop_assert_eq!(copies(&world.plan()), fewest_copies(&world));
        }
    }
}

//! What every disk must hold to, run against all of them: memory, threads and the ring on a real
//! file and (as root) on loop devices of both block sizes, and the faulty disk without faults.
// The helpers of tests are outside the functions that clippy takes for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod device;
mod rig;

use rig::Rig;

/// Runs one check of the contract against every disk that this machine can have.
fn against_all(check: impl Fn(&mut Rig)) {
    for mut rig in rig::all() {
        println!("{}", rig.name);
        check(&mut rig);
    }
}

#[test]
fn what_was_written_is_read_back() {
    against_all(contract::what_was_written_is_read_back);
}

#[test]
fn an_operation_that_does_not_fit_fails_and_comes_back() {
    against_all(contract::an_operation_that_does_not_fit_fails_and_comes_back);
}

#[test]
fn more_pieces_than_a_system_call_takes_are_refused() {
    against_all(contract::more_pieces_than_a_system_call_takes_are_refused);
}

#[test]
fn an_empty_operation_succeeds() {
    against_all(contract::an_empty_operation_succeeds);
}

#[test]
fn a_full_queue_gives_the_operation_back() {
    against_all(contract::a_full_queue_gives_the_operation_back);
}

#[test]
fn many_operations_in_flight_match_a_model() {
    against_all(contract::many_operations_in_flight_match_a_model);
}

#[test]
fn a_discard_leaves_its_neighbours() {
    against_all(contract::a_discard_leaves_its_neighbours);
}

#[test]
fn a_disk_may_move_to_another_thread() {
    against_all(contract::a_disk_may_move_to_another_thread);
}

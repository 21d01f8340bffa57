//! Who leads, second by second: leases and clocks as values.

use super::*;

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

fn day(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The Lease as it was seen to be at second 100.
fn observed(holder: Option<&str>) -> Observed {
    let mut lease = created(holder.unwrap_or_default(), day(1000));
    lease.metadata.resource_version = Some("7".to_owned());
    lease.spec.as_mut().unwrap().lease_transitions = Some(4);
    Observed { lease, at: at(100) }
}

#[test]
fn a_lease_is_made_taken_renewed_or_waited_for() {
    let free = observed(None);
    let mine = observed(Some("me"));
    let other = observed(Some("other"));
    for (lease, second, decision) in [
        (None, 0, Decision::Create),
        (Some(&free), 100, Decision::Take),
        (Some(&mine), 100, Decision::Wait(at(104))),
        (Some(&mine), 103, Decision::Wait(at(104))),
        (Some(&mine), 104, Decision::Renew),
        (Some(&mine), 500, Decision::Renew),
        (Some(&other), 100, Decision::Wait(at(112))),
        (Some(&other), 111, Decision::Wait(at(112))),
        (Some(&other), 112, Decision::Take),
        (Some(&other), 500, Decision::Take),
    ] {
        let holder = lease.and_then(Observed::holder);
        assert_eq!(
            evaluate(lease, "me", true, at(second)),
            decision,
            "held by {holder:?} at {second}"
        );
    }
}

#[test]
fn a_process_that_finds_its_name_in_the_lease_does_not_lead_before_it_renewed() {
    let mine = observed(Some("me"));
    assert_eq!(evaluate(Some(&mine), "me", false, at(100)), Decision::Renew);
}

#[test]
fn a_holder_that_asks_for_longer_gets_it_and_none_gets_less() {
    for (asked, taken_at) in [
        (Some(30), 130),
        (Some(1), 112),
        (Some(-5), 112),
        (None, 112),
    ] {
        let mut other = observed(Some("other"));
        other.lease.spec.as_mut().unwrap().lease_duration_seconds = asked;
        let before = evaluate(Some(&other), "me", true, at(taken_at - 1));
        assert_eq!(before, Decision::Wait(at(taken_at)), "{asked:?}");
        assert_eq!(
            evaluate(Some(&other), "me", true, at(taken_at)),
            Decision::Take
        );
    }
}

#[test]
fn only_a_change_makes_a_lease_younger() {
    let held = observed(Some("other"));
    let again = Observed::after(Some(held.clone()), held.lease.clone(), at(110));
    assert_eq!(again.at, at(100));
    let mut older = held.lease.clone();
    older.metadata.resource_version = Some("6".to_owned());
    older.spec.as_mut().unwrap().renew_time = Some(MicroTime(day(996)));
    let passed_over = Observed::after(Some(held.clone()), older, at(110));
    assert_eq!(passed_over.lease, held.lease);
    assert_eq!(passed_over.at, at(100));
    let mut renewed = held.lease.clone();
    renewed.metadata.resource_version = Some("10".to_owned());
    renewed.spec.as_mut().unwrap().renew_time = Some(MicroTime(day(1004)));
    let newer = Observed::after(Some(held), renewed, at(110));
    assert_eq!(newer.at, at(110));
    assert_eq!(Observed::after(None, newer.lease, at(120)).at, at(120));
}

#[test]
fn a_write_names_the_version_it_was_decided_on() {
    let taken = held(&observed(Some("other")), "me", day(2000));
    assert_eq!(taken["metadata"]["resourceVersion"], "7");
    assert_eq!(taken["spec"]["holderIdentity"], "me");
    assert_eq!(taken["spec"]["leaseTransitions"], 5);
    assert!(taken["spec"]["acquireTime"].is_string());

    let renewed = held(&observed(Some("me")), "me", day(2000));
    assert_eq!(renewed["metadata"]["resourceVersion"], "7");
    assert_eq!(renewed["spec"]["leaseTransitions"], Value::Null);
    assert_eq!(renewed["spec"]["acquireTime"], Value::Null);
    assert_ne!(renewed["spec"]["renewTime"], Value::Null);

    let free = given_up(&observed(Some("me")), day(2000));
    assert_eq!(free["metadata"]["resourceVersion"], "7");
    assert_eq!(free["spec"]["holderIdentity"], "");
}

#[test]
fn a_leader_ends_its_term_before_others_take_the_lease() {
    // The renewal is sent at 100 and seen by the others at once, the worst case for the leader.
    let term_ends = at(100) + TERM;
    let Decision::Wait(taken) = evaluate(Some(&observed(Some("leader"))), "me", true, at(100))
    else {
        panic!("the Lease is held");
    };
    assert!(term_ends + at(3) < taken, "{term_ends:?} {taken:?}");
    // And it has time to try more than once before.
    assert!(RENEW_EVERY + at(2) < TERM);
}

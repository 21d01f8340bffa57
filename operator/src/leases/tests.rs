//! When an agent counts as alive: its Lease as the operator saw it change, never the agent's own clock.

use super::*;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

/// The Lease of an agent, renewed at this second of the agent's own clock.
fn lease(name: &str, holder: Option<&str>, renewed: i64) -> DeserializeGuard<Lease> {
    DeserializeGuard(Ok(Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(stamp(renewed))),
            ..LeaseSpec::default()
        }),
    }))
}

fn stamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

/// A view that found these Leases at second 100.
fn found(leases: &[DeserializeGuard<Lease>]) -> Leases {
    let mut view = Leases::default();
    view.apply(Event::Init, at(100));
    for lease in leases {
        view.apply(Event::InitApply(lease.clone()), at(100));
    }
    view.apply(Event::InitDone, at(100));
    view
}

/// News of the operator's own Lease through these seconds, every four as a leader makes it.
fn beat(view: &mut Leases, seconds: std::ops::RangeInclusive<u64>) {
    for second in seconds.step_by(4) {
        let renewed = i64::try_from(second).unwrap();
        let own = lease("moraine-operator", Some("op"), renewed);
        view.apply(Event::Apply(own), at(second));
    }
}

#[test]
fn a_lease_that_is_found_proves_nothing_until_it_changes_or_ages() {
    let mut view = found(&[lease("a", Some("a"), 1), lease("b", Some("b"), 1)]);
    assert_eq!(view.life("a"), Life::Unconfirmed);
    view.apply(Event::Apply(lease("a", Some("a"), 4)), at(103));
    assert_eq!(view.life("a"), Life::Alive);
    assert_eq!(view.life("b"), Life::Unconfirmed);
    view.apply(Event::Apply(lease("a", Some("a"), 7)), at(106));
    view.apply(Event::Apply(lease("a", Some("a"), 10)), at(111));
    assert_eq!(view.life("a"), Life::Alive);
    assert_eq!(view.life("b"), Life::Stale(Some(stamp(1))));
}

#[test]
fn the_writers_clock_does_not_matter() {
    let mut view = found(&[]);
    // An hour behind, then a day ahead.
    view.apply(Event::Apply(lease("a", Some("a"), -3600)), at(101));
    assert_eq!(view.life("a"), Life::Alive);
    view.apply(Event::Apply(lease("a", Some("a"), 86_400)), at(104));
    beat(&mut view, 106..=114);
    assert_eq!(view.life("a"), Life::Alive);
    beat(&mut view, 115..=115);
    assert_eq!(view.life("a"), Life::Stale(Some(stamp(86_400))));
}

#[test]
fn no_lease_and_one_given_up_are_told_apart() {
    let mut view = found(&[lease("a", Some("a"), 1)]);
    assert_eq!(view.life("b"), Life::NeverSeen);
    view.apply(Event::Apply(lease("a", None, 9)), at(101));
    assert_eq!(view.life("a"), Life::Stopped(Some(stamp(9))));
    view.apply(Event::Delete(lease("a", None, 9)), at(102));
    assert_eq!(view.life("a"), Life::NeverSeen);
}

#[test]
fn nothing_ages_in_silence_or_while_the_watch_is_broken() {
    let mut view = found(&[]);
    view.apply(Event::Apply(lease("a", Some("a"), 1)), at(101));
    // Silence: a hung connection looks just like this.
    beat(&mut view, 200..=200);
    assert_eq!(view.life("a"), Life::Alive);
    view.lost();
    beat(&mut view, 203..=207);
    assert_eq!(view.life("a"), Life::Alive, "4 s of it count");
    beat(&mut view, 211..=215);
    assert_eq!(view.life("a"), Life::Stale(Some(stamp(1))));
}

#[test]
fn who_was_stale_stays_stale_through_a_break_and_a_new_list() {
    let mut view = found(&[]);
    view.apply(Event::Apply(lease("a", Some("a"), 1)), at(101));
    view.apply(Event::Apply(lease("b", Some("b"), 1)), at(101));
    beat(&mut view, 103..=115);
    assert_eq!(view.life("a"), Life::Stale(Some(stamp(1))));
    view.lost();
    view.apply(Event::Init, at(150));
    view.apply(Event::InitApply(lease("a", Some("a"), 1)), at(150));
    view.apply(Event::InitApply(lease("b", Some("b"), 2)), at(150));
    view.apply(Event::InitApply(lease("c", Some("c"), 2)), at(150));
    view.apply(Event::InitDone, at(150));
    assert_eq!(view.life("a"), Life::Stale(Some(stamp(1))));
    assert_eq!(view.life("b"), Life::Alive, "it was renewed meanwhile");
    assert_eq!(view.life("c"), Life::Alive, "it was made meanwhile");
}

#[test]
fn a_lease_that_is_not_understood_vouches_for_nobody() {
    let strange = serde_json::json!({"metadata": {"name": "a"}, "spec": {"holderIdentity": 7}});
    let mut view = found(&[]);
    view.apply(
        Event::Apply(serde_json::from_value(strange).unwrap()),
        at(101),
    );
    assert_eq!(view.life("a"), Life::Stopped(None));
}

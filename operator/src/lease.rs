//! Who leads: the rules of the operator's own Lease, as values with the time as an argument.
//!
//! A Lease is no fence: a leader that is stopped in mid-step may write once more after it lost the
//! lead. What must never come from two leaders has to carry an epoch. The rules make that rare: a
//! leader ends its term [`TERM`] after it *sent* the last renewal that succeeded, well before others
//! take the Lease at [`DURATION`] after they *saw* it.
//!
//! ```text
//! renewal sent   seen by others                 own term ends          others may take it
//! |--------------|------------------------------|----------------------|
//! 0                                             8 s                    12 s after it was seen
//! ```
//!
//! Not here: talking to the API server (`lead`).

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// Name of the Lease.
pub(crate) const NAME: &str = "moraine-operator";
/// How long a Lease holds for others after they saw it renewed. With what a new leader needs to
/// begin, a dead one stalls failure handling for less than 15 s.
pub(crate) const DURATION: Duration = Duration::from_secs(12);
/// How long a leader acts after it sent its last successful renewal.
pub(crate) const TERM: Duration = Duration::from_secs(8);
/// How often a leader renews.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How long to wait after an attempt that failed.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The Lease as it was last heard of.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    /// The object.
    pub(crate) lease: Lease,
    /// When this process first saw it like that, or sent what made it so.
    pub(crate) at: Duration,
}

/// What to do about the Lease now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// There is none: make it.
    Create,
    /// It is free, or its holder is gone: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Nothing before this time, unless the Lease changes.
    Wait(Duration),
}

impl Observed {
    fn spec(&self) -> LeaseSpec {
        self.lease.spec.clone().unwrap_or_default()
    }

    /// Who holds it, if anyone does.
    pub(crate) fn holder(&self) -> Option<&str> {
        let holder = self.lease.spec.as_ref()?.holder_identity.as_deref();
        holder.filter(|holder| !holder.is_empty())
    }

    /// The observation after hearing of `lease` at `now`: one that tells nothing new keeps its age,
    /// and one that is older than what is known, as the watch may bring it after an answer, is
    /// passed over.
    pub(crate) fn after(held: Option<Self>, lease: Lease, now: Duration) -> Self {
        match held {
            Some(held) if version(&held.lease) > version(&lease) => held,
            Some(held) if held.lease.spec == lease.spec => Self { lease, at: held.at },
            _ => Self { lease, at: now },
        }
    }
}

/// Versions of one kind grow as numbers; a Lease made anew has a higher one than the one deleted.
fn version(lease: &Lease) -> u64 {
    let text = lease.metadata.resource_version.as_deref();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What `me` has to do about the Lease at `now`; `leading` tells whether this very process renewed it
/// before, rather than one of the same name that ended.
pub(crate) fn evaluate(
    observed: Option<&Observed>,
    me: &str,
    leading: bool,
    now: Duration,
) -> Decision {
    let Some(observed) = observed else {
        return Decision::Create;
    };
    let due = |after: Duration, then: Decision| {
        let at = observed.at.saturating_add(after);
        if now >= at { then } else { Decision::Wait(at) }
    };
    match observed.holder() {
        None => Decision::Take,
        Some(holder) if holder == me && !leading => Decision::Renew,
        Some(holder) if holder == me => due(RENEW_EVERY, Decision::Renew),
        Some(_) => {
            let seconds = observed.spec().lease_duration_seconds.unwrap_or_default();
            // Another version may keep it longer.
            let asked = Duration::from_secs(u64::from(seconds.clamp(0, 300).unsigned_abs()));
            due(asked.max(DURATION), Decision::Take)
        }
    }
}

/// The Lease that does not exist yet, held by `me`.
pub(crate) fn created(me: &str, now: Timestamp) -> Lease {
    Lease {
        metadata: kube::core::ObjectMeta {
            name: Some(NAME.to_owned()),
            ..kube::core::ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: Some(duration_seconds()),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

/// The patch that takes or renews the Lease for `me`. It names the version that was looked at, so that
/// it fails if another was faster.
pub(crate) fn held(observed: &Observed, me: &str, now: Timestamp) -> Value {
    let before = observed.spec();
    let mut spec = json!({
        "holderIdentity": me,
        "leaseDurationSeconds": duration_seconds(),
        "renewTime": MicroTime(now),
    });
    if observed.holder() != Some(me) {
        spec["acquireTime"] = json!(MicroTime(now));
        let transitions = before.lease_transitions.unwrap_or_default();
        spec["leaseTransitions"] = transitions.saturating_add(1).into();
    }
    patch(observed, &spec)
}

/// The patch that gives the Lease up, so that another replica leads at once.
pub(crate) fn given_up(observed: &Observed, now: Timestamp) -> Value {
    let spec = json!({"holderIdentity": "", "renewTime": MicroTime(now)});
    patch(observed, &spec)
}

fn patch(observed: &Observed, spec: &Value) -> Value {
    let version = &observed.lease.metadata.resource_version;
    json!({"metadata": {"resourceVersion": version}, "spec": spec})
}

fn duration_seconds() -> i32 {
    i32::try_from(DURATION.as_secs()).expect("a few seconds fit")
}

#[cfg(test)]
mod tests;

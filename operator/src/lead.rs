//! Keeps this replica's part in the Lease: tries to take it, renews it, gives it up at the end.
//!
//! The rules are in `lease`; this is the loop that carries them out. It tells the rest of the program
//! until when it may act, and never for longer than the last renewal allows.

use crate::clock::Clock;
use crate::lease::{self, Decision, Observed};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use std::time::Duration;
use tokio::sync::watch;

/// An attempt that takes longer is given up and made again.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);
/// How long a stopping leader tries to give the Lease up.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(2);

/// What the watch knows of the Lease.
#[derive(Clone, Debug, Default)]
pub(crate) enum Known {
    /// Nothing was heard yet.
    #[default]
    Nothing,
    /// There is none.
    Absent,
    /// It is this.
    Is(Box<Lease>),
}

/// Until when this replica may act, on its own clock; `None`: it doesn't lead.
pub(crate) type Term = Option<Duration>;

/// One replica's part in the election.
pub(crate) struct Elector {
    api: Api<Lease>,
    me: String,
    clock: Clock,
    heard: watch::Receiver<Known>,
    observed: Option<Observed>,
    term: watch::Sender<Term>,
    failing: bool,
}

impl Elector {
    /// A replica that doesn't lead yet.
    pub(crate) fn new(
        api: Api<Lease>,
        me: String,
        clock: Clock,
        heard: watch::Receiver<Known>,
    ) -> Self {
        let (term, _) = watch::channel(None);
        Self {
            api,
            me,
            clock,
            heard,
            observed: None,
            term,
            failing: false,
        }
    }

    /// Until when this replica may act, as it changes.
    pub(crate) fn term(&self) -> watch::Receiver<Term> {
        self.term.subscribe()
    }

    /// Takes part until told to stop, then gives the Lease up.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.take_part() => {}
        }
        if self.term.send_replace(None).is_some() {
            self.give_up().await;
        }
    }

    async fn take_part(&mut self) {
        while self.hear_first().await {
            let now = self.clock.monotonic();
            if self.term.borrow().is_some_and(|until| now >= until) {
                self.term.send_replace(None);
            }
            let leading = self.term.borrow().is_some();
            let decision = lease::evaluate(self.observed.as_ref(), &self.me, leading, now);
            let until = match decision {
                Decision::Wait(until) => until,
                write => match self.attempt(&write).await {
                    Ok(()) => continue,
                    Err(()) => self.clock.monotonic() + lease::RETRY_AFTER,
                },
            };
            tokio::select! {
                () = tokio::time::sleep_until(self.clock.moment(until)) => {}
                changed = self.heard.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.heard.mark_changed();
                }
            }
        }
    }

    /// Takes in what the watch tells; before it has told anything, waits. False when the watch has
    /// ended, with the program.
    async fn hear_first(&mut self) -> bool {
        if matches!(*self.heard.borrow(), Known::Nothing) {
            if self.heard.changed().await.is_err() {
                return false;
            }
            self.heard.mark_changed();
        }
        if self.heard.has_changed().unwrap_or(false) {
            let known = self.heard.borrow_and_update().clone();
            match known {
                Known::Nothing => {}
                Known::Absent => self.observed = None,
                Known::Is(lease) => self.observe(*lease),
            }
        }
        true
    }

    fn observe(&mut self, lease: Lease) {
        let observed = Observed::after(self.observed.take(), lease, self.clock.monotonic());
        if observed.holder() != Some(&self.me) && self.term.send_replace(None).is_some() {
            let holder = observed.holder().unwrap_or("nobody");
            tracing::warn!(holder, "the Lease was taken from this replica");
        }
        self.observed = Some(observed);
    }

    async fn attempt(&mut self, decision: &Decision) -> Result<(), ()> {
        let sent = self.clock.monotonic();
        let answer = tokio::time::timeout(ATTEMPT_LIMIT, self.write(decision)).await;
        let failure = match answer {
            Ok(Ok(lease)) => {
                self.observed = Some(Observed { lease, at: sent });
                self.term.send_replace(Some(sent + lease::TERM));
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the Lease can be written again");
                }
                return Ok(());
            }
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() => {
                return self.look().await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!("the Lease can't be written, and it is tried again: {failure}");
        }
        Err(())
    }

    async fn write(&self, decision: &Decision) -> kube::Result<Lease> {
        let now = Clock::time_of_day();
        match &self.observed {
            Some(observed) if *decision != Decision::Create => {
                let patch = lease::held(observed, &self.me, now);
                self.patch(&patch).await
            }
            _ => {
                let lease = lease::created(&self.me, now);
                self.api.create(&PostParams::default(), &lease).await
            }
        }
    }

    async fn patch(&self, patch: &serde_json::Value) -> kube::Result<Lease> {
        let patch = Patch::Merge(patch);
        self.api
            .patch(lease::NAME, &PatchParams::default(), &patch)
            .await
    }

    /// Another was faster, or the watch is behind: sees for itself.
    async fn look(&mut self) -> Result<(), ()> {
        match tokio::time::timeout(ATTEMPT_LIMIT, self.api.get_opt(lease::NAME)).await {
            Ok(Ok(Some(lease))) => self.observe(lease),
            Ok(Ok(None)) => self.observed = None,
            // It is tried again anyway, and then says what is wrong.
            Ok(Err(_)) | Err(_) => {}
        }
        Err(())
    }

    async fn give_up(&self) {
        let Some(observed) = &self.observed else {
            return;
        };
        let patch = lease::given_up(observed, Clock::time_of_day());
        match tokio::time::timeout(GIVE_UP_LIMIT, self.patch(&patch)).await {
            Ok(Ok(_)) => tracing::info!("gave the Lease up"),
            Ok(Err(error)) => tracing::warn!("the Lease is left to run out: {error}"),
            Err(_) => tracing::warn!("the Lease is left to run out: no answer in time"),
        }
    }
}

/// Completes when the term is over: lost, or not renewed in time.
pub(crate) async fn over(term: &mut watch::Receiver<Term>, clock: Clock) {
    loop {
        let Some(until) = *term.borrow_and_update() else {
            return;
        };
        tokio::select! {
            biased;
            changed = term.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(clock.moment(until)) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_term_is_over_when_it_is_not_renewed_or_is_lost() {
        let clock = Clock::start();
        let (sender, mut term) = watch::channel(Some(Duration::from_secs(8)));
        {
            let mut over = std::pin::pin!(over(&mut term, clock));
            let six = Duration::from_secs(6);
            assert!(tokio::time::timeout(six, &mut over).await.is_err());
            sender.send_replace(Some(Duration::from_secs(14)));
            assert!(tokio::time::timeout(six, &mut over).await.is_err());
            over.await;
            assert_eq!(clock.monotonic().as_secs(), 14);
        }
        sender.send_replace(Some(Duration::from_secs(1000)));
        let mut over = std::pin::pin!(over(&mut term, clock));
        let minute = Duration::from_mins(1);
        assert!(tokio::time::timeout(minute, &mut over).await.is_err());
        sender.send_replace(None);
        over.await;
        assert_eq!(clock.monotonic().as_secs(), 74);
    }
}

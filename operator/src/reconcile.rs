//! The leader's loop: look at the world when it changes, decide, write; until the term is over.

use crate::apply::Writer;
use crate::clock::Clock;
use crate::decide::{Decision, Memory, decide};
use crate::lead::{self, Term};
use crate::metrics::Metrics;
use crate::world::World;
use std::time::Duration;
use tokio::sync::watch;

/// Changes that come within this time are looked at together.
const GATHER: Duration = Duration::from_millis(200);
/// Pauses after a round in which a write failed: the first, and the longest. Short, because the other
/// objects wait too.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// What the loop works with.
pub(crate) struct Reconciler<'a> {
    pub(crate) world: &'a watch::Sender<World>,
    pub(crate) writer: Writer,
    pub(crate) term: watch::Receiver<Term>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

impl Reconciler<'_> {
    /// Waits for the lead, reconciles while it lasts, and so on for ever. Work is dropped where it
    /// stands when the term is over.
    pub(crate) async fn run(mut self) {
        while self.term.wait_for(Option::is_some).await.is_ok() {
            tracing::info!("this replica leads");
            self.metrics.leading.set(1);
            let mut term = self.term.clone();
            tokio::select! {
                biased;
                () = lead::over(&mut term, self.clock) => {}
                () = self.reconcile() => {}
            }
            self.metrics.leading.set(0);
            tracing::info!("this replica leads no more, and writes nothing");
            // The elector notices an unrenewed term by itself; until then it isn't a new one.
            let clock = self.clock;
            let current = |term: &Term| term.is_none_or(|until| until > clock.monotonic());
            if self.term.wait_for(current).await.is_err() {
                return;
            }
        }
    }

    async fn reconcile(&self) {
        let mut changes = self.world.subscribe();
        let mut retry_after = None;
        let mut memory = Memory::default();
        loop {
            self.metrics.decisions.inc();
            let now = Clock::time_of_day();
            let Decision { writes, again } = decide(&changes.borrow_and_update(), &mut memory, now);
            let mut failed = false;
            for write in writes {
                // A decision may have taken long; what follows must not run on an old term.
                if !self.may_write() {
                    return;
                }
                if let Err(error) = self.writer.write(write, self.world).await {
                    tracing::warn!("{error:#}; it is tried again");
                    failed = true;
                }
            }
            if failed {
                let pause = retry_after.map_or(RETRY.0, |pause: Duration| (pause * 2).min(RETRY.1));
                tokio::time::sleep(pause).await;
                retry_after = Some(pause);
                continue;
            }
            retry_after = None;
            let news = changes.changed();
            let ended = match again {
                None => news.await.is_err(),
                Some(again) => {
                    let waited = tokio::time::timeout(again, news).await;
                    waited.is_ok_and(|heard| heard.is_err())
                }
            };
            if ended {
                return;
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    fn may_write(&self) -> bool {
        self.term
            .borrow()
            .is_some_and(|until| self.clock.monotonic() < until)
    }
}

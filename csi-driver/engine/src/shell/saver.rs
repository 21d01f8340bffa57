//! Makes durable what the engine wants kept, on a thread of its own so that operations go on, and as
//! much at once as has come together since the last time.

use super::state::{Kept, StateError, StateFolder};
use moraine_model::{BucketEntry, BucketId, Cut, Epoch};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The pause before what couldn't be written is written again, all of it and to a new file.
const PAUSE: Duration = Duration::from_secs(1);

/// The state folder and what is on its way there.
pub(super) struct Saver {
    folder: Arc<StateFolder>,
    /// What is to be on disk.
    kept: Kept,
    /// What of it isn't on its way yet.
    news: News,
    /// What is on its way.
    saving: Option<(News, JoinHandle<Result<(), StateError>>)>,
    /// The last attempt failed, and it was said.
    failing: bool,
}

/// What has become durable.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) entries: Vec<(BucketId, Epoch)>,
    pub(super) cut: Option<Cut>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.cut.is_none()
    }
}

impl Saver {
    pub(super) fn new(folder: StateFolder, kept: Kept) -> Self {
        Self {
            folder: Arc::new(folder),
            kept,
            news: News::default(),
            saving: None,
            failing: false,
        }
    }

    /// Wants an entry to be kept.
    pub(super) fn keep(&mut self, entry: BucketEntry) {
        let bucket = entry.bucket();
        self.news.entries.push((bucket, entry.epoch()));
        let slot = self.kept.entries.entry(bucket).or_insert(entry.clone());
        if entry.epoch() > slot.epoch() {
            *slot = entry;
        }
    }

    /// Wants a cut to be kept.
    pub(super) fn keep_cut(&mut self, cut: Cut) {
        self.kept.cut = self.kept.cut.max(cut);
        self.news.cut = self.news.cut.max(Some(cut));
    }

    /// Sets to work if there is something new and nothing is on its way.
    pub(super) fn start(&mut self) {
        if self.saving.is_some() || self.news.is_empty() {
            return;
        }
        let (folder, kept) = (Arc::clone(&self.folder), self.kept.clone());
        let pause = if self.failing { PAUSE } else { Duration::ZERO };
        let saving = tokio::task::spawn_blocking(move || {
            std::thread::sleep(pause);
            folder.save(&kept)
        });
        self.saving = Some((std::mem::take(&mut self.news), saving));
    }

    /// Waits for what is on its way, and says what has become durable; never ends if there is
    /// nothing. It may be dropped and called again.
    pub(super) fn saved(&mut self) -> impl Future<Output = News> + '_ {
        std::future::poll_fn(|context| {
            let Some((_, saving)) = &mut self.saving else {
                return std::task::Poll::Pending;
            };
            let outcome = std::task::ready!(std::pin::Pin::new(saving).poll(context));
            let (news, _) = self.saving.take().expect("it was just polled");
            let outcome = outcome.expect("saving doesn't panic, and nobody aborts it");
            std::task::Poll::Ready(self.ended(news, outcome))
        })
    }

    fn ended(&mut self, mut news: News, outcome: Result<(), StateError>) -> News {
        let Err(error) = outcome else {
            self.failing = false;
            return news;
        };
        if !self.failing {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "what the engine must keep can't be written; nothing new is opened until it can");
        }
        self.failing = true;
        // The old file is whole, and none of this counts as kept: it goes with what came since.
        news.entries.append(&mut self.news.entries);
        news.cut = news.cut.max(self.news.cut);
        self.news = news;
        News::default()
    }
}

//! Keeping what is watched: the objects of one kind by name, as the API server last told.
//!
//! [`Cache`] is a value that takes events; [`follow`] is the loop that brings them. The owner of the
//! cache puts a lock or a channel around it. An object that this version doesn't understand is left
//! out with a warning and never stops the stream: what was known of it before stays.

use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// The objects of one kind, by name; of one namespace, where the kind has namespaces.
#[derive(Clone, Debug)]
pub struct Cache<K> {
    held: BTreeMap<String, K>,
    /// A list under way, which replaces `held` when it is whole.
    list: BTreeMap<String, K>,
    listed: bool,
    /// Names of objects that are there but were never understood.
    left_out: BTreeSet<String>,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            list: BTreeMap::new(),
            listed: false,
            left_out: BTreeSet::new(),
        }
    }
}

impl<K> Deref for Cache<K> {
    type Target = BTreeMap<String, K>;

    fn deref(&self) -> &Self::Target {
        &self.held
    }
}

impl<K: Resource<DynamicType = ()> + Clone> Cache<K> {
    /// Whether the first list is whole: before, an object that is missing may only be unheard of.
    pub fn listed(&self) -> bool {
        self.listed
    }

    /// Whether an object of this name is known to be there, though this version doesn't understand it:
    /// that it isn't held doesn't mean then that it is gone.
    pub fn leaves_out(&self, name: &str) -> bool {
        self.left_out.contains(name)
    }

    /// Takes one event of the watch.
    pub fn apply(&mut self, event: Event<DeserializeGuard<K>>) {
        match event {
            Event::Apply(object) => {
                if let Some((name, object)) = self.understood(object) {
                    self.held.insert(name, object);
                }
            }
            Event::Delete(object) => {
                self.held.remove(&object.name_any());
                self.left_out.remove(&object.name_any());
            }
            Event::Init => self.list.clear(),
            Event::InitApply(object) => {
                if let Some((name, object)) = self.understood(object) {
                    self.list.insert(name, object);
                }
            }
            Event::InitDone => {
                self.held = std::mem::take(&mut self.list);
                self.listed = true;
            }
        }
    }

    /// The object, or what was known of it before, if this version doesn't understand it.
    fn understood(&mut self, object: DeserializeGuard<K>) -> Option<(String, K)> {
        let name = object.name_any();
        let object = match object.0 {
            Ok(object) => {
                self.left_out.remove(&name);
                object
            }
            Err(invalid) => {
                tracing::warn!(kind = %K::kind(&()), name, "left out, not understood: {}", invalid.error);
                let Some(held) = self.held.get(&name) else {
                    self.left_out.insert(name);
                    return None;
                };
                held.clone()
            }
        };
        Some((name, object))
    }

    /// Takes the answer to a write of our own, so that the next decision knows of it though the
    /// watch hasn't told yet. An answer that is older than what is held, or about an object that
    /// is gone, changes nothing.
    pub fn learn(&mut self, object: K) {
        if let Some(held) = self.held.get_mut(&object.name_any())
            && version(held) <= version(&object)
        {
            *held = object;
        }
    }
}

/// Versions of one kind grow as numbers; one that is no number counts as the oldest.
fn version<K: Resource>(object: &K) -> u64 {
    let text = object.meta().resource_version.as_deref();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What a watch of objects `E` tells its owner.
#[derive(Debug)]
pub enum Heard<E> {
    /// An event, in order.
    Event(Event<E>),
    /// The stream broke; it is tried again by itself. Until the next event the owner sees nothing.
    Lost(String),
}

/// Brings the events of a stream to `hear` for ever, trying again with growing pauses (at most 30 s,
/// with jitter) when it breaks. Says once that it is lost and once that it is back.
pub async fn follow<E>(
    kind: &'static str,
    stream: impl Stream<Item = watcher::Result<Event<E>>> + Send,
    mut hear: impl FnMut(Heard<E>) + Send,
) {
    let mut stream = std::pin::pin!(stream.default_backoff());
    let mut lost = false;
    while let Some(event) = stream.next().await {
        match event {
            // Not yet an answer: it is told before the list is asked for.
            Ok(Event::Init) => hear(Heard::Event(Event::Init)),
            Ok(event) => {
                if std::mem::take(&mut lost) {
                    tracing::info!(kind, "the watch is back");
                }
                hear(Heard::Event(event));
            }
            Err(error) => {
                if !std::mem::replace(&mut lost, true) {
                    tracing::warn!(kind, "the watch is lost and tried again: {error}");
                }
                hear(Heard::Lost(error.to_string()));
            }
        }
    }
}

/// Events of a kind of which nothing can be misunderstood, such as bare metadata, as a cache takes
/// them.
pub fn trusted<K>(event: Event<K>) -> Event<DeserializeGuard<K>> {
    let guard = |object| DeserializeGuard(Ok(object));
    match event {
        Event::Apply(object) => Event::Apply(guard(object)),
        Event::Delete(object) => Event::Delete(guard(object)),
        Event::InitApply(object) => Event::InitApply(guard(object)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}

#[cfg(test)]
mod tests;

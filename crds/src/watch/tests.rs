//! A cache of watched objects as a value: events go in, and what is held is looked at. No API server.

use super::*;
use crate::StoragePool;
use serde_json::json;

fn guarded(name: &str, version: &str, replicas: u32) -> DeserializeGuard<StoragePool> {
    DeserializeGuard(Ok(pool(name, version, replicas)))
}

fn pool(name: &str, version: &str, replicas: u32) -> StoragePool {
    let value = json!({
        "apiVersion": "moraine.io/v1alpha1",
        "kind": "StoragePool",
        "metadata": {"name": name, "resourceVersion": version},
        "spec": {"devices": {"paths": ["/dev/sd?"]}, "replicas": replicas},
    });
    serde_json::from_value(value).unwrap()
}

fn replicas(cache: &Cache<StoragePool>) -> Vec<(&str, u32)> {
    cache
        .iter()
        .map(|(name, pool)| (name.as_str(), pool.spec.replicas))
        .collect()
}

#[test]
fn a_list_replaces_what_was_held_only_when_it_is_whole() {
    let mut cache = Cache::default();
    assert!(!cache.listed());
    cache.apply(Event::Init);
    cache.apply(Event::InitApply(guarded("a", "1", 1)));
    assert_eq!(replicas(&cache), []);
    cache.apply(Event::InitDone);
    assert!(cache.listed());
    assert_eq!(replicas(&cache), [("a", 1)]);
    cache.apply(Event::Init);
    cache.apply(Event::InitApply(guarded("b", "2", 2)));
    assert_eq!(replicas(&cache), [("a", 1)]);
    cache.apply(Event::InitDone);
    assert_eq!(replicas(&cache), [("b", 2)]);
}

#[test]
fn changes_and_deletions_are_taken() {
    let mut cache = Cache::default();
    cache.apply(Event::Apply(guarded("a", "1", 1)));
    cache.apply(Event::Apply(guarded("a", "2", 2)));
    cache.apply(Event::Apply(guarded("b", "3", 3)));
    assert_eq!(replicas(&cache), [("a", 2), ("b", 3)]);
    cache.apply(Event::Delete(guarded("a", "4", 2)));
    assert_eq!(replicas(&cache), [("b", 3)]);
}

#[test]
fn an_answer_counts_only_if_it_is_newer_and_the_object_is_there() {
    let mut cache = Cache::default();
    cache.learn(pool("a", "1", 1));
    assert_eq!(replicas(&cache), [], "it is gone or was never heard of");
    cache.apply(Event::Apply(guarded("a", "9", 1)));
    cache.learn(pool("a", "10", 2));
    assert_eq!(replicas(&cache), [("a", 2)]);
    cache.learn(pool("a", "9", 1));
    assert_eq!(replicas(&cache), [("a", 2)]);
}

#[test]
fn an_object_that_is_not_understood_leaves_what_was_known() {
    let strange = |name: &str| {
        let value = json!({
            "metadata": {"name": name},
            "spec": {"devices": {"paths": "all of them"}},
        });
        serde_json::from_value::<DeserializeGuard<StoragePool>>(value).unwrap()
    };
    let mut cache = Cache::default();
    cache.apply(Event::Apply(guarded("known", "1", 1)));
    cache.apply(Event::Apply(strange("known")));
    cache.apply(Event::Apply(strange("unheard-of")));
    assert_eq!(replicas(&cache), [("known", 1)]);
    assert!(cache.leaves_out("unheard-of"), "it is there all the same");
    assert!(!cache.leaves_out("known") && !cache.leaves_out("other"));
    cache.apply(Event::Delete(strange("unheard-of")));
    assert!(!cache.leaves_out("unheard-of"));
    cache.apply(Event::Init);
    cache.apply(Event::InitApply(strange("known")));
    cache.apply(Event::InitApply(guarded("other", "2", 2)));
    cache.apply(Event::InitDone);
    assert_eq!(replicas(&cache), [("known", 1), ("other", 2)]);
    cache.apply(Event::Delete(strange("known")));
    assert_eq!(replicas(&cache), [("other", 2)]);
}

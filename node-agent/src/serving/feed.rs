//! What keeps the disks and the report of them up to date while the agent runs: each newer map goes to
//! the disks, and what is to be said of them is looked at once a second, and at once when something
//! happened.

use super::{Said, Serving};
use crate::clock::Clock;
use crate::data::Event;
use crate::observe::Known;
use moraine_crds::BucketMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How often it is looked at though nothing has happened.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Events that come within this time are told together.
const GATHER: Duration = Duration::from_millis(50);

/// Takes each newer map, for ever.
pub(crate) async fn follow_maps(serving: Arc<Serving>, known: &watch::Sender<Known>) {
    let mut changes = known.subscribe();
    let mut taken = None;
    loop {
        let news = {
            let known = changes.borrow_and_update();
            let versions = versions(&known);
            (known.maps.listed() && taken.as_ref() != Some(&versions)).then(|| {
                taken = Some(versions);
                known.maps.clone()
            })
        };
        if let Some(maps) = news {
            let other = Arc::clone(&serving);
            let taking = tokio::task::spawn_blocking(move || {
                let told: Vec<BucketMap> = maps.values().cloned().collect();
                other.take_maps(&told, |name| maps.leaves_out(name))
            });
            match taking.await {
                Ok(endings) => {
                    for ending in endings {
                        ending.wait().await;
                    }
                    let mapped = serving.pools();
                    known.send_if_modified(|known| {
                        let news = known.mapped != mapped;
                        known.mapped = mapped;
                        news
                    });
                }
                Err(error) => tracing::error!("taking the maps failed: {error}"),
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// What tells one state of the maps from the next.
fn versions(known: &Known) -> BTreeMap<String, Option<String>> {
    let maps = known.maps.iter();
    let versions = maps.map(|(name, map)| (name.clone(), map.metadata.resource_version.clone()));
    versions.collect()
}

/// Keeps what is to be said of the disks true, for ever.
pub(crate) async fn say(
    serving: Arc<Serving>,
    known: &watch::Sender<Known>,
    mut happened: mpsc::Receiver<Event>,
) {
    let mut changes = known.subscribe();
    let mut told = None;
    loop {
        let (pools, evicted) = {
            let known = changes.borrow_and_update();
            let own = known.own.values().next();
            let status = own.and_then(|own| own.status.as_ref());
            let evicted = status.map_or_else(Vec::new, |status| status.evicted_disks.clone());
            ((*known.pools).clone(), evicted)
        };
        serving.forget_evicted(&evicted);
        if let Some(said) = serving.said(&pools, Clock::time_of_day()) {
            publish(known, &mut told, said);
        }
        let next = tokio::time::Instant::now() + LOOK_EVERY;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                event = happened.recv() => match event {
                    Some(event) if serving.hear(&event) => {
                        tokio::time::sleep(GATHER).await;
                        break;
                    }
                    Some(_) => {}
                    None => return,
                },
                news = changes.changed() => match news {
                    Ok(()) => {
                        tokio::time::sleep(GATHER).await;
                        break;
                    }
                    Err(_) => return,
                },
            }
        }
    }
}

fn publish(known: &watch::Sender<Known>, told: &mut Option<Said>, said: Said) {
    if told.as_ref() == Some(&said) {
        return;
    }
    *told = Some(said.clone());
    known.send_modify(|known| known.disks = Some(said));
}

//! The bucket map of a pool: made when the pool is, filled when its disks are there, and moved on from
//! version to version by what placement says.
//!
//! A version is written with the resource version of the one that it follows, so an operator that has
//! lost the lead, or hasn't heard of the newest version, changes nothing (the epoch is the fence).
//! Not here: what is right for a bucket, which is `moraine-placement`'s.

mod object;

use super::Memory;
use super::disks::Disks;
use super::members::{Member, members};
use crate::world::World;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use moraine_crds::observation::to_seconds;
use moraine_crds::{BucketMap, BucketMapSpec, BucketMapStatus, RebalanceMode, StoragePool};
use moraine_placement::{Map, Next, Plan, Rules, Said, Why, advance, first};
use std::hash::{DefaultHasher, Hash, Hasher};

/// While things move, a map is written no more often than this.
const CALM: SignedDuration = SignedDuration::from_secs(1);
/// How long the first map waits for nodes that live but haven't taken their disks yet, from the time
/// at which the map's object was made.
const GATHER: SignedDuration = SignedDuration::from_secs(10);

/// How it stands with the map of a pool.
#[derive(Debug)]
pub(super) enum Standing {
    /// There is no object yet.
    Absent,
    /// The object can't be used, and why.
    Unusable(String),
    /// Disks of the pool were used, but the map doesn't say for what.
    Lost,
    /// Nothing was placed yet.
    Empty,
    /// Buckets are placed.
    Placed(Box<Placed>),
}

/// A map in use.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) map: Map,
    /// What would still be done.
    pub(super) plan: Plan,
    /// The name of the plan.
    pub(super) plan_id: Option<String>,
}

/// What is to be written of the map.
#[derive(Debug)]
pub(super) enum Change {
    /// The object is to be made.
    Make(Box<BucketMapSpec>),
    /// Its next version.
    Write {
        /// The resource version that it follows.
        follows: String,
        status: Box<BucketMapStatus>,
        /// Why, for the log.
        why: String,
    },
}

/// All about the map of one pool.
#[derive(Debug)]
pub(super) struct Outlook {
    pub(super) standing: Standing,
    pub(super) disks: Disks,
    pub(super) change: Option<Change>,
    /// Whether something waits for time to pass.
    pub(super) waits: bool,
}

/// How it stands with the map, and what is to be written.
pub(super) fn outlook(
    pool: &StoragePool,
    world: &World,
    memory: &mut Memory,
    now: Timestamp,
) -> Outlook {
    let object = world.maps.get(&pool.name_any());
    let status = object.and_then(|object| object.status.as_ref());
    let disks = Disks::of(pool, status, world, memory, now);
    let without = |standing, disks| Outlook {
        standing,
        disks,
        change: None,
        waits: false,
    };
    let Some(object) = object else {
        let change = make(pool).map(Change::Make);
        return Outlook {
            change,
            ..without(Standing::Absent, disks)
        };
    };
    if let Some(reason) = unusable(pool, object) {
        return without(Standing::Unusable(reason), disks);
    }
    match status.filter(|status| !status.buckets.is_empty()) {
        None if disks.were_used => without(Standing::Lost, disks),
        None => begin(pool, object, world, disks, now),
        Some(status) => go_on(pool, object, status, (disks, memory), now),
    }
}

/// The object of a new pool. Its id is the pool's own, so that making it twice makes the same.
fn make(pool: &StoragePool) -> Option<Box<BucketMapSpec>> {
    let pool_id = pool.uid()?.replace('-', "");
    Some(Box::new(BucketMapSpec {
        pool: pool.name_any(),
        pool_id,
        buckets: pool.spec.buckets,
    }))
}

fn unusable(pool: &StoragePool, object: &BucketMap) -> Option<String> {
    if object.spec.buckets != pool.spec.buckets {
        return Some(format!(
            "the BucketMap {} is of a former pool of that name, with {} buckets instead of {}: choose another name for the pool, or give it that number",
            pool.name_any(),
            object.spec.buckets,
            pool.spec.buckets,
        ));
    }
    let bad = object.cluster().err().or_else(|| object.entries().err())?;
    Some(format!(
        "the BucketMap {} is damaged ({bad}): nothing is changed; restore it from a backup",
        pool.name_any()
    ))
}

/// The first version, once the disks are there.
fn begin(
    pool: &StoragePool,
    object: &BucketMap,
    world: &World,
    disks: Disks,
    now: Timestamp,
) -> Outlook {
    let empty = |disks, change, waits| Outlook {
        standing: Standing::Empty,
        disks,
        change,
        waits,
    };
    let made = object.metadata.creation_timestamp.as_ref();
    let age = made.map_or(GATHER, |made| now.duration_since(made.0));
    let late = members(pool, world)
        .iter()
        .any(|member| may_yet_bring(member, pool));
    if late && age < GATHER {
        return empty(disks, None, true);
    }
    let Some(map) = first(pool.spec.buckets, &disks.views, rules(pool, false)) else {
        return empty(disks, None, true);
    };
    let why = "the first version".to_owned();
    let change = write(pool, object, &disks, (&map, why), now);
    empty(disks, change, false)
}

/// Whether a node that lives has yet to say what it has for the pool.
fn may_yet_bring(member: &Member<'_>, pool: &StoragePool) -> bool {
    let name = pool.name_any();
    let said = member.said.and_then(|node| node.status.as_ref());
    let has = said.is_some_and(|status| status.disks.iter().any(|disk| disk.pool == name));
    member.reports() && !has
}

/// The version that follows one in use.
fn go_on(
    pool: &StoragePool,
    object: &BucketMap,
    status: &BucketMapStatus,
    (disks, memory): (Disks, &mut Memory),
    now: Timestamp,
) -> Outlook {
    let map = object::read(status);
    remember_refusals(&map, &disks, memory, now);
    let next = follow(pool, &map, &disks);
    let unusable = |error: moraine_placement::HeldError, disks| Outlook {
        standing: Standing::Unusable(format!("{error}; nothing is changed")),
        disks,
        change: None,
        waits: false,
    };
    let (next, plan_id) = match next {
        Ok(next) => next,
        Err(error) => return unusable(error, disks),
    };
    let changed_at = status.changed_at.as_ref();
    let recent = changed_at.is_some_and(|at| now.duration_since(at.0) < CALM);
    let waits = next.map.is_some() && recent && !next.urgent;
    let mut change = None;
    if !waits {
        if let Some(next_map) = &next.map {
            let why = object::difference(&map, next_map);
            change = write(pool, object, &disks, (next_map, why), now);
        } else if object::places_changed(status, &disks.entries) {
            let mut same = map.clone();
            same.epoch += 1;
            let why = "where disks are served has changed".to_owned();
            change = write(pool, object, &disks, (&same, why), now);
        }
    }
    let Next { plan, .. } = next;
    Outlook {
        standing: Standing::Placed(Box::new(Placed { map, plan, plan_id })),
        disks,
        change,
        waits,
    }
}

/// What follows, and the name of the plan that restores balance, if there is one.
fn follow(
    pool: &StoragePool,
    map: &Map,
    disks: &Disks,
) -> Result<(Next, Option<String>), moraine_placement::HeldError> {
    let rebalance = &pool.spec.rebalance;
    let id = plan_id(disks);
    let balance = match rebalance.mode {
        RebalanceMode::Auto => true,
        RebalanceMode::Manual => rebalance.approved_plan.as_ref() == Some(&id),
        RebalanceMode::Paused => false,
    };
    let mut allowed = rules(pool, balance);
    if disks.is_blind {
        // What was begun goes on; the moment passes when the agent has looked.
        (allowed.recoveries_max, allowed.moves_max) = (0, 0);
    }
    let next = advance(map, &disks.views, &disks.answers, allowed)?;
    let mut left = next.plan.steps.iter();
    let unbalanced = left.any(|step| step.why == Why::Balance);
    Ok((next, unbalanced.then_some(id)))
}

/// The name of a plan: that of the disks that it is made for, so that it stays the same while it is
/// carried out, and is another one when they change.
fn plan_id(disks: &Disks) -> String {
    let mut hasher = DefaultHasher::new();
    for (entry, view) in disks.entries.iter().zip(&disks.views) {
        (
            &entry.id,
            view.disk.domain,
            view.disk.weight,
            view.disk.takes,
        )
            .hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn rules(pool: &StoragePool, balance: bool) -> Rules {
    Rules {
        replicas: pool.spec.replicas,
        recoveries_max: pool.spec.recovery.max_concurrent_buckets,
        moves_max: pool.spec.rebalance.max_concurrent_moves,
        balance,
    }
}

/// A disk that refuses what is offered to it is left alone for a while.
fn remember_refusals(map: &Map, disks: &Disks, memory: &mut Memory, now: Timestamp) {
    for answer in disks
        .answers
        .iter()
        .filter(|answer| answer.said == Said::Refused)
    {
        let bucket = usize::try_from(answer.bucket).ok();
        let bucket = bucket.and_then(|bucket| map.buckets.get(bucket));
        let moving = bucket.and_then(|bucket| bucket.moving);
        let stands = moving.is_some_and(|m| (m.to, m.since) == (answer.disk, answer.since));
        if stands && let Some(disk) = disks.entry(answer.disk) {
            memory.refused.insert(disk.id.clone(), now);
        }
    }
}

fn write(
    pool: &StoragePool,
    object: &BucketMap,
    disks: &Disks,
    (map, why): (&Map, String),
    now: Timestamp,
) -> Option<Change> {
    let status = object::written(map, &disks.entries, pool.spec.replicas, to_seconds(now));
    Some(Change::Write {
        follows: object.resource_version()?,
        status: Box::new(status),
        why,
    })
}

//! Which of several pools a volume goes to, from a table of what each of them has; and why each of the others doesn't fit,
//! in words for a person.
//!
//! It doesn't collect the table, and it doesn't place anything within the pool.

use std::fmt;

/// What is known of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMetrics {
    /// Its name.
    pub name: String,
    /// Bytes that its disks take before they are full by its own ratio, before replication.
    pub free: u64,
    /// How busy it is, in parts of 1000.
    pub load: u32,
    /// How it is.
    pub health: PoolHealth,
    /// Copies that it keeps of each block.
    pub replicas: u32,
    /// How far its disks are from where the volume is wanted, as the caller counts: 0 is there.
    pub distance: u32,
}

/// How a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PoolHealth {
    /// All is well.
    Ready,
    /// It serves, but replicas are missing.
    Degraded,
    /// It can't be used.
    Unavailable,
}

/// What is asked of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes of the volume, before replication.
    pub size: u64,
    /// Copies of each block, at least.
    pub replicas: u32,
    /// How far the pool may be from where the volume is wanted; `None`: anywhere.
    pub farthest: Option<u32>,
}

/// Why a pool doesn't fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It can't be used.
    Unavailable,
    /// It keeps too few copies.
    Replicas {
        /// That it keeps.
        has: u32,
        /// That are asked for.
        wanted: u32,
    },
    /// It is too far away.
    TooFar {
        /// How far it is.
        distance: u32,
        /// How far it may be.
        farthest: u32,
    },
    /// It has no room.
    NoRoom {
        /// Bytes that are free.
        free: u64,
        /// Bytes that the volume takes with all its copies; the most that can be counted if it is more.
        needed: u64,
    },
}

/// What came of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The place of the best pool in the table, if one fits.
    pub best: Option<usize>,
    /// For each pool of the table what is against it; `None` if it fits.
    pub reasons: Vec<Option<Reason>>,
}

/// Chooses a pool: of those that fit a healthy one before one that isn't, then the nearest, then the least busy by tenths of
/// the whole, then the one with the most room, then the first by name.
pub fn choose(pools: &[PoolMetrics], request: &Request) -> Choice {
    let reasons: Vec<Option<Reason>> = pools.iter().map(|pool| against(pool, request)).collect();
    let fitting = pools.iter().zip(&reasons).enumerate();
    let fitting = fitting.filter(|(_, (_, reason))| reason.is_none());
    let best = fitting.min_by_key(|(_, (pool, _))| {
        let tenths = pool.load / 100;
        (
            pool.health,
            pool.distance,
            tenths,
            std::cmp::Reverse(pool.free),
            &pool.name,
        )
    });
    Choice {
        best: best.map(|(place, _)| place),
        reasons,
    }
}

/// What is against a pool: first what can't be changed by adding disks.
fn against(pool: &PoolMetrics, request: &Request) -> Option<Reason> {
    if pool.health == PoolHealth::Unavailable {
        return Some(Reason::Unavailable);
    }
    if pool.replicas < request.replicas {
        return Some(Reason::Replicas {
            has: pool.replicas,
            wanted: request.replicas,
        });
    }
    if let Some(farthest) = request.farthest
        && pool.distance > farthest
    {
        return Some(Reason::TooFar {
            distance: pool.distance,
            farthest,
        });
    }
    // The pool keeps as many copies as it does, also where fewer are asked for.
    let needed = request.size.saturating_mul(pool.replicas.into());
    (pool.free < needed).then_some(Reason::NoRoom {
        free: pool.free,
        needed,
    })
}

impl Choice {
    /// What a person should be told when no pool fits; `pools` is the table that the choice was made from.
    pub fn explain(&self, pools: &[PoolMetrics]) -> String {
        if pools.is_empty() {
            return "no pool is offered: create a StoragePool that the StorageClass selects"
                .to_owned();
        }
        let reasons = pools.iter().zip(&self.reasons);
        let lines: Vec<String> = reasons
            .map(|(pool, reason)| match reason {
                Some(reason) => format!("{}: {reason}", pool.name),
                None => format!("{}: fits", pool.name),
            })
            .collect();
        lines.join("; ")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => write!(out, "it is not available: see its conditions"),
            Self::Replicas { has, wanted } => {
                write!(
                    out,
                    "it keeps {has} copies of each block, {wanted} are asked for"
                )
            }
            Self::TooFar { distance, farthest } => write!(
                out,
                "it is {distance} away from where the volume is wanted, {farthest} at most is allowed"
            ),
            Self::NoRoom { free, needed } => write!(
                out,
                "it has {} free before it counts as full, the volume takes {} with all copies: add disks",
                Bytes(*free),
                Bytes(*needed)
            ),
        }
    }
}

/// Bytes in the largest unit of which there is one, rounded down to a tenth.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match UNITS.iter().find(|(bits, _)| self.0 >> bits > 0) {
            Some((bits, unit)) => {
                let tenths = (u128::from(self.0) * 10) >> bits;
                write!(out, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => write!(out, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests;

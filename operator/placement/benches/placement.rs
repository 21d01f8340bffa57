//! What planning costs for a pool far larger than there are: 10,000 disks and a million buckets of three replicas. One JSON
//! object per line, for `cargo xtask bench placement`.
//!
//! Twice, since different things are hard: with many domains there are many places to look at; with four, of which each
//! bucket is in three, most places are barred.

// A benchmark that can't run says where; figures need no more digits than a float has.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use moraine_placement::{Disk, Held, Layout, Plan, plan};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

const DISKS: u32 = 10_000;
const BUCKETS: u32 = 1_000_000;
const REPLICAS: u32 = 3;
/// The middle one of so many counts.
const RUNS: usize = 3;

fn main() {
    for (domains, name) in [(1000, "1000 domains"), (4, "4 domains")] {
        measure(domains, name);
    }
    println!("{}", memory());
}

/// The disks of a pool; every tenth has twice the size.
fn disks(domains: u32) -> Vec<Disk> {
    let disk = |place: u32| Disk {
        domain: Some(place % domains),
        weight: if place.is_multiple_of(10) {
            2 << 40
        } else {
            1 << 40
        },
        takes: true,
    };
    (0..DISKS).map(disk).collect()
}

fn measure(domains: u32, name: &str) {
    let mut disks = disks(domains);
    let mut held = Held::empty(BUCKETS);
    let (first, plan) = time(&disks, &held);
    row(name, "first plan of all", first);
    assert_eq!(plan.steps.len(), (BUCKETS * REPLICAS) as usize);
    held = carried_out(&held, &plan);

    // One disk dies: what it held is gone, and must be made again elsewhere.
    let dead = 17;
    disks[dead as usize].weight = 0;
    let (rest, lost) = without(&held, dead);
    let (again, plan) = time(&disks, &rest);
    let mut found = json!({
        "figure": format!("{name}: plan again after a lost disk"),
        "value": again, "unit": "s", "target": {"at_most": 2},
    });
    found["against"] = json!({"name": "reading the table once", "value": read_once(&rest)});
    println!("{found}");
    moves(
        name,
        "a lost disk: copies",
        plan.steps.len(),
        ("lost", lost),
    );
    held = carried_out(&rest, &plan);

    // One joins: it takes its share, and nothing else moves.
    disks.push(Disk {
        domain: Some(1),
        weight: 1 << 40,
        takes: true,
    });
    let (join, plan) = time(&disks, &held);
    row(name, "plan for a disk that joins", join);
    let taken = plan.steps.iter().filter(|step| step.to == Some(DISKS));
    moves(
        name,
        "a disk joins: copies",
        plan.steps.len(),
        ("its share", taken.count()),
    );
    held = carried_out(&held, &plan);

    // A tenth of the disks are to be left at once.
    let leaving: Vec<usize> = (0..disks.len()).step_by(10).collect();
    let on_them: usize = {
        let held_by = held_by(&held);
        leaving.iter().map(|place| held_by[*place]).sum()
    };
    for place in leaving {
        disks[place].weight = 0;
    }
    let (leave, plan) = time(&disks, &held);
    row(name, "plan for a tenth of the disks to be left", leave);
    moves(
        name,
        "a tenth is left: copies",
        plan.steps.len(),
        ("on them", on_them),
    );
    held = carried_out(&held, &plan);

    come_back(disks, held, domains, name);
}

/// A whole domain goes, and comes back empty: all that it takes has to come from buckets that give no other replica.
fn come_back(mut disks: Vec<Disk>, mut held: Held, domains: u32, name: &str) {
    let weights: Vec<u64> = disks.iter().map(|disk| disk.weight).collect();
    for disk in disks.iter_mut().filter(|disk| disk.domain == Some(2)) {
        disk.weight = 0;
    }
    let (_, plan) = time(&disks, &held);
    held = carried_out(&held, &plan);
    for (disk, weight) in disks.iter_mut().zip(weights) {
        disk.weight = weight;
    }
    let (back, plan) = time(&disks, &held);
    row(name, "plan for a domain that comes back", back);
    let held_by = held_by(&carried_out(&held, &plan));
    let share = held_by.iter().skip(2).step_by(domains as usize).sum();
    moves(
        name,
        "a domain comes back: copies",
        plan.steps.len(),
        ("its share", share),
    );
}

fn row(name: &str, figure: &str, value: f64) {
    let figure = format!("{name}: {figure}");
    println!(
        "{}",
        json!({"figure": figure, "value": value, "unit": "s", "target": {"at_most": 2}})
    );
}

fn moves(name: &str, figure: &str, moves: usize, (against, least): (&str, usize)) {
    let found = json!({
        "figure": format!("{name}: {figure}"),
        "value": moves, "unit": "copies",
        "against": {"name": against, "value": least},
        "target": {"ratio_at_most": 1.01},
    });
    println!("{found}");
}

/// The plan, and the seconds that it took.
fn time(disks: &[Disk], held: &Held) -> (f64, Plan) {
    let layout = Layout {
        disks,
        replicas: REPLICAS,
        held,
    };
    let runs = (0..RUNS).map(|_| {
        let start = Instant::now();
        let plan = black_box(plan(black_box(&layout)));
        (start.elapsed().as_secs_f64(), plan)
    });
    let mut runs: Vec<(f64, Plan)> = runs.collect();
    runs.sort_by(|one, other| one.0.total_cmp(&other.0));
    runs.swap_remove(RUNS / 2)
}

/// Where the buckets lie when the steps are done.
fn carried_out(held: &Held, plan: &Plan) -> Held {
    let mut places: Vec<Vec<u32>> = (0..BUCKETS)
        .map(|bucket| held.of(bucket).to_vec())
        .collect();
    for step in &plan.steps {
        let places = &mut places[step.bucket as usize];
        places.retain(|place| Some(*place) != step.from);
        places.extend(step.to);
    }
    Held::new(places).unwrap()
}

/// The table without a disk, and how many replicas that was.
fn without(held: &Held, dead: u32) -> (Held, usize) {
    let lost = held_by(held)[dead as usize];
    let left = (0..BUCKETS).map(|bucket| {
        held.of(bucket)
            .iter()
            .copied()
            .filter(|place| *place != dead)
    });
    (Held::new(left).unwrap(), lost)
}

fn held_by(held: &Held) -> Vec<usize> {
    let mut counts = vec![0; DISKS as usize + 1];
    for bucket in 0..BUCKETS {
        for &place in held.of(bucket) {
            counts[place as usize] += 1;
        }
    }
    counts
}

/// The least that any plan has to do: seconds to look at every replica once.
fn read_once(held: &Held) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            black_box(held_by(black_box(held)));
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// The most memory that this program had at once, tables and plans of its own included.
fn memory() -> Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    json!({
        "figure": "memory at most, with the tables that are compared",
        "value": kib / 1024.0, "unit": "MiB", "target": {"at_most": 1024},
    })
}

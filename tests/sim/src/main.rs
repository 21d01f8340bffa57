//! `moraine-sim`: runs seeds on all cores of the machine and says which failed, with the story of
//! the first. `cargo xtask sim` builds and starts it.
#![forbid(unsafe_code)]

use moraine_sim::{Counts, Failure, Mutation, run, story};
use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: moraine-sim [--seeds N] [--first S] [--threads N] [--mutation NAME] [--go-on] [--lines N]";

struct Options {
    seeds: u64,
    first: u64,
    threads: usize,
    mutation: Option<Mutation>,
    go_on: bool,
    lines: usize,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seeds: 1000,
        first: 0,
        threads: thread::available_parallelism().map_or(1, usize::from),
        mutation: None,
        go_on: false,
        lines: 100,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value; {USAGE}"));
        let number = |text: String| {
            text.parse::<u64>()
                .map_err(|_| format!("{text} is no number"))
        };
        match word.as_str() {
            "--seeds" => options.seeds = number(value()?)?,
            "--first" => options.first = number(value()?)?,
            "--threads" => options.threads = usize::try_from(number(value()?)?).unwrap_or(1).max(1),
            "--mutation" => options.mutation = Some(value()?.parse()?),
            "--lines" => options.lines = usize::try_from(number(value()?)?).unwrap_or(100),
            "--go-on" => options.go_on = true,
            _ => return Err(format!("{word} is not known; {USAGE}")),
        }
    }
    Ok(options)
}

/// What the threads share.
#[derive(Default)]
struct Progress {
    next: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    failures: Mutex<Vec<Failure>>,
    events: AtomicU64,
    writes: AtomicU64,
    reads: AtomicU64,
    looks: AtomicU64,
    faults: AtomicU64,
}

impl Progress {
    fn add(&self, counts: &Counts) {
        for (total, count) in [
            (&self.events, counts.events),
            (&self.writes, counts.writes),
            (&self.reads, counts.reads),
            (&self.looks, counts.looks),
            (&self.faults, counts.faults),
        ] {
            total.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn failed(&self) -> Vec<Failure> {
        self.failures
            .lock()
            .map(|list| list.clone())
            .unwrap_or_default()
    }
}

fn work(options: &Options, progress: &Progress) {
    while !progress.stop.load(Ordering::Relaxed) {
        let nth = progress.next.fetch_add(1, Ordering::Relaxed);
        if nth >= options.seeds {
            return;
        }
        match run(options.first + nth, options.mutation) {
            Ok(outcome) => progress.add(&outcome.counts),
            Err(failure) => {
                if let Ok(mut list) = progress.failures.lock() {
                    list.push(failure);
                }
                progress.stop.fetch_or(!options.go_on, Ordering::Relaxed);
            }
        }
        progress.done.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(text) => {
            eprintln!("error: {text}");
            return ExitCode::FAILURE;
        }
    };
    let progress = Progress::default();
    let started = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..options.threads)
            .map(|_| scope.spawn(|| work(&options, &progress)))
            .collect();
        let mut shown = Instant::now();
        let pause = Duration::from_secs(if stderr().is_terminal() { 1 } else { 30 });
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(Duration::from_millis(20));
            if shown.elapsed() >= pause {
                shown = Instant::now();
                let end = if stderr().is_terminal() { '\r' } else { '\n' };
                eprint!(
                    "  {} of {} seeds, {} failed{end}",
                    progress.done.load(Ordering::Relaxed),
                    options.seeds,
                    progress.failed().len()
                );
                stderr().flush().ok();
            }
        }
    });
    report(&options, &progress, started.elapsed())
}

fn report(options: &Options, progress: &Progress, took: Duration) -> ExitCode {
    let mut failures = progress.failed();
    failures.sort_by_key(|failure| failure.seed);
    if let Some(first) = failures.first() {
        for line in story(first, options.mutation, options.lines) {
            println!("{line}");
        }
    }
    for failure in &failures {
        println!("seed {} failed: {}", failure.seed, failure.what);
    }
    if let Some(first) = failures.first() {
        let mutation = options
            .mutation
            .map_or(String::new(), |mutation| format!(" --mutation {mutation}"));
        println!(
            "run it again: cargo xtask sim --seeds 1 --first {}{mutation}",
            first.seed
        );
    }
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    println!(
        "{} seeds from {} on, {} failed: {} events, {} writes, {} reads, {} looks, {} faults in {:.1} s",
        count(&progress.done),
        options.first,
        failures.len(),
        count(&progress.events),
        count(&progress.writes),
        count(&progress.reads),
        count(&progress.looks),
        count(&progress.faults),
        took.as_secs_f64()
    );
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! Ctrl-C and SIGTERM as a question that every waiting loop asks.
//!
//! A first signal makes [`check`] fail, so that the error path unwinds and each owner cleans up what it made. It is
//! deliberately not a handler that exits: what a command made is known only to that command. Cleaning itself must
//! not be cut short, so it runs inside [`shielded`].

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
static SHIELDS: AtomicUsize = AtomicUsize::new(0);

/// How often a wait looks for a signal.
const TICK: Duration = Duration::from_millis(50);

/// Starts to listen for Ctrl-C, SIGTERM and SIGHUP.
pub(crate) fn listen() -> Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(asked))?;
    }
    Ok(())
}

/// Fails once the user asked to stop.
pub(crate) fn check() -> Result<()> {
    let asked = ASKED
        .get()
        .is_some_and(|asked| asked.load(Ordering::SeqCst));
    if asked && SHIELDS.load(Ordering::SeqCst) == 0 {
        bail!("stopped as asked");
    }
    Ok(())
}

/// Runs clean-up work that a second Ctrl-C must not cut short.
pub(crate) fn shielded<T>(work: impl FnOnce() -> T) -> T {
    SHIELDS.fetch_add(1, Ordering::SeqCst);
    let done = work();
    SHIELDS.fetch_sub(1, Ordering::SeqCst);
    done
}

/// Sleeps, waking early with an error if the user asks to stop.
pub(crate) fn sleep(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(TICK));
    }
}

/// Asks `done` every 200 ms until it says yes; fails with `what` when `limit` is over.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + limit;
    while !done()? {
        if Instant::now() >= end {
            bail!("{what} did not happen within {} s", limit.as_secs());
        }
        sleep(Duration::from_millis(200))?;
    }
    Ok(())
}

//! Waiting for what the cluster does in its own time.

use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(250);

/// Asks until there is an answer, and fails with `what` and the last reason when the time is up.
///
/// `ask` gives `Ok` when it is done and an error with the reason while it isn't. The time limit is
/// only there to end a test that will never pass: give it generously.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(reason) if Instant::now() >= end => {
                let waited = format!("waited {} s for {what}", limit.as_secs());
                return Err(reason).context(waited);
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Fails with the reason unless the condition holds; for use within [`wait_for`].
pub fn require(holds: bool, reason: impl FnOnce() -> String) -> Result<()> {
    if !holds {
        bail!(reason());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_told() {
        let mut asked = 0;
        let refused = wait_for("the moon", Duration::ZERO, || {
            asked += 1;
            require(false, || format!("reason {asked}"))
        });
        let told = format!("{:#}", refused.unwrap_err());
        assert_eq!(told, "waited 0 s for the moon: reason 1");
    }

    #[test]
    fn it_asks_again_until_there_is_an_answer() {
        let mut asked = 0;
        let answer = wait_for("an answer", Duration::from_mins(1), || {
            asked += 1;
            require(asked > 1, String::new)?;
            Ok(asked)
        });
        assert_eq!(answer.unwrap(), 2);
    }
}

//! The story of a run, for a person who looks for the fault in it. A run that goes well tells none;
//! one that fails is run again, which it can be since the same seed gives the same run, and then
//! tells what matters for the block that was wrong.

use crate::agenda::Micros;
use crate::value::Spot;
use moraine_model::BucketId;
use std::sync::{Arc, Mutex, PoisonError};

/// What a line is about: whether it is told depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// Faults, lives of engines: always told.
    World,
    /// A bucket: its map, its fences, its copies.
    Bucket(BucketId),
    /// Some blocks of a volume, from this one on.
    Blocks(Spot, u64),
}

#[derive(Debug)]
struct Line {
    at: Micros,
    about: About,
    text: String,
}

/// The lines of a run; another handle of it survives a panic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Option<Arc<Mutex<Vec<Line>>>>);

impl Trace {
    /// A trace that is kept.
    pub(crate) fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    /// Adds a line, which is put into words only if somebody listens.
    pub(crate) fn line(&self, at: Micros, about: About, text: impl FnOnce() -> String) {
        if let Some(lines) = &self.0 {
            let text = text();
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(Line { at, about, text });
        }
    }

    /// The last lines, so many at most, of what matters for a block, or for all if none is named.
    pub(crate) fn story(&self, spot: Option<(Spot, BucketId)>, most: usize) -> Vec<String> {
        let Some(lines) = &self.0 else {
            return Vec::new();
        };
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let matters = |line: &&Line| match (line.about, spot) {
            (About::World, _) | (_, None) => true,
            (About::Bucket(bucket), Some((_, of))) => bucket == of,
            (About::Blocks(first, count), Some((spot, _))) => {
                first.volume == spot.volume
                    && (first.block..first.block + count).contains(&spot.block)
            }
        };
        let told: Vec<&Line> = lines.iter().filter(matters).collect();
        let skipped = told.len().saturating_sub(most);
        let words = |line: &&Line| {
            let at = line.at;
            format!("{:>6}.{:03} ms  {}", at / 1000, at % 1000, line.text)
        };
        told[skipped..].iter().map(words).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_for_the_block_is_told() {
        let trace = Trace::kept();
        let spot = |block| Spot { volume: 0, block };
        let bucket = |number| BucketId::new(number).unwrap();
        trace.line(1000, About::World, || "crash".into());
        trace.line(1001, About::Bucket(bucket(1)), || "map".into());
        trace.line(1002, About::Bucket(bucket(2)), || "other map".into());
        trace.line(1003, About::Blocks(spot(4), 2), || "write".into());
        trace.line(1004, About::Blocks(spot(6), 2), || "other write".into());
        let story = trace.story(Some((spot(5), bucket(1))), 9);
        assert_eq!(
            story,
            [
                "     1.000 ms  crash",
                "     1.001 ms  map",
                "     1.003 ms  write"
            ]
        );
        assert_eq!(trace.story(None, 9).len(), 5);
        assert!(Trace::default().story(None, 9).is_empty());
    }
}

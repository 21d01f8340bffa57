//! The load against a volume in memory that tells the truth, and ones that don't.

use super::*;
use crate::volume::memory::MemoryVolume;
use std::cell::Cell;
use tokio::runtime::LocalRuntime;

const BLOCKS: usize = 32;

/// A memory volume that forgets every write whose number in order is divisible by this.
#[derive(Clone)]
struct Forgetful {
    inner: MemoryVolume,
    every: u64,
    writes: Rc<Cell<u64>>,
    fails: bool,
}

impl Volume for Forgetful {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    async fn read(&self, offset: u64, length: u64) -> Result<Bytes, IoError> {
        self.inner.read(offset, length).await
    }

    async fn write(&self, offset: u64, data: Bytes) -> Result<(), IoError> {
        self.writes.set(self.writes.get() + 1);
        if self.writes.get().is_multiple_of(self.every) {
            return if self.fails {
                Err(IoError::NoSpace)
            } else {
                Ok(())
            };
        }
        self.inner.write(offset, data).await
    }

    async fn zero(&self, offset: u64, length: u64) -> Result<(), IoError> {
        self.inner.zero(offset, length).await
    }

    async fn flush(&self) -> Result<(), IoError> {
        self.inner.flush().await
    }
}

fn report(load: &Load, every: u64, fails: bool) -> Report {
    let volume = Forgetful {
        inner: MemoryVolume::new(BLOCKS * BLOCK_BYTES),
        every,
        writes: Rc::default(),
        fails,
    };
    let runtime = LocalRuntime::new().unwrap();
    runtime.block_on(load.run(&volume)).unwrap()
}

fn verified(mode: Mode) -> Load {
    Load {
        verify: true,
        ..Load::new(mode, 4, Duration::from_millis(50))
    }
}

#[test]
fn a_volume_that_tells_the_truth_is_found_right() {
    for mode in [Mode::Mixed, Mode::Write, Mode::RandWrite, Mode::RandRead] {
        let mut load = verified(mode);
        load.op_bytes = 8192;
        let report = report(&load, u64::MAX, false);
        assert!(
            report.is_good() && report.verified > 0,
            "{mode:?}: {report}"
        );
    }
}

#[test]
fn a_lost_write_is_found() {
    for mode in [Mode::Mixed, Mode::RandWrite] {
        let report = report(&verified(mode), 7, false);
        assert!(report.wrong > 0 && report.first_wrong.is_some(), "{mode:?}");
        assert!(!report.is_good());
    }
}

#[test]
fn a_write_that_failed_counts_as_an_error_and_not_as_lost() {
    let report = report(&verified(Mode::Mixed), 7, true);
    assert!(report.writes.errors > 0);
    assert_eq!(report.wrong, 0, "{report}");
    assert!(
        report
            .writes
            .first_error
            .is_some_and(|error| error.contains("space"))
    );
}

#[test]
fn a_load_that_can_not_be_says_why() {
    let volume = MemoryVolume::new(BLOCKS * BLOCK_BYTES);
    let runtime = LocalRuntime::new().unwrap();
    let refused = |load: Load| runtime.block_on(load.run(&volume)).unwrap_err();
    let good = Load::new(Mode::Read, 1, Duration::ZERO);
    let op_bytes = 512;
    let odd = Load {
        op_bytes,
        ..good.clone()
    };
    assert_eq!(refused(odd), LoadError::OpBytes(512));
    let size_bytes = Some(1 << 40);
    let large = Load {
        size_bytes,
        ..good.clone()
    };
    assert!(matches!(refused(large), LoadError::Size { .. }));
    assert_eq!(refused(Load { depth: 0, ..good }), LoadError::Depth);
}

//! What the tools drive: an attached volume, or in their tests one in memory.

use bytes::Bytes;
use moraine_engine::IoError;
use moraine_engine::shell::Attachment;
use std::future::Future;

/// A volume whose operations are under way at the same time. Clones are the same volume.
pub trait Volume: Clone + 'static {
    /// Its size now.
    fn size_bytes(&self) -> u64;
    /// Reads.
    fn read(&self, offset: u64, length: u64) -> impl Future<Output = Result<Bytes, IoError>>;
    /// Writes; durable when done.
    fn write(&self, offset: u64, data: Bytes) -> impl Future<Output = Result<(), IoError>>;
    /// Makes zeros.
    fn zero(&self, offset: u64, length: u64) -> impl Future<Output = Result<(), IoError>>;
    /// Waits for what was submitted before.
    fn flush(&self) -> impl Future<Output = Result<(), IoError>>;
}

impl Volume for Attachment {
    fn size_bytes(&self) -> u64 {
        self.size_bytes()
    }

    fn read(&self, offset: u64, length: u64) -> impl Future<Output = Result<Bytes, IoError>> {
        self.read(offset, length)
    }

    fn write(&self, offset: u64, data: Bytes) -> impl Future<Output = Result<(), IoError>> {
        self.write(offset, data)
    }

    fn zero(&self, offset: u64, length: u64) -> impl Future<Output = Result<(), IoError>> {
        self.zero(offset, length)
    }

    fn flush(&self) -> impl Future<Output = Result<(), IoError>> {
        self.flush()
    }
}

#[cfg(test)]
pub(crate) mod memory {
    //! A volume in memory, whose operations take a turn of the runtime each.

    use super::{Bytes, IoError, Volume};
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Clone)]
    pub(crate) struct MemoryVolume(pub(crate) Rc<RefCell<Vec<u8>>>);

    impl MemoryVolume {
        pub(crate) fn new(size: usize) -> Self {
            Self(Rc::new(RefCell::new(vec![0; size])))
        }
    }

    impl Volume for MemoryVolume {
        fn size_bytes(&self) -> u64 {
            self.0.borrow().len() as u64
        }

        async fn read(&self, offset: u64, length: u64) -> Result<Bytes, IoError> {
            tokio::task::yield_now().await;
            let at = usize::try_from(offset).unwrap();
            let end = at + usize::try_from(length).unwrap();
            Ok(Bytes::copy_from_slice(&self.0.borrow()[at..end]))
        }

        async fn write(&self, offset: u64, data: Bytes) -> Result<(), IoError> {
            tokio::task::yield_now().await;
            let at = usize::try_from(offset).unwrap();
            self.0.borrow_mut()[at..at + data.len()].copy_from_slice(&data);
            Ok(())
        }

        async fn zero(&self, offset: u64, length: u64) -> Result<(), IoError> {
            let zeros = vec![0; usize::try_from(length).unwrap()];
            self.write(offset, Bytes::from(zeros)).await
        }

        async fn flush(&self) -> Result<(), IoError> {
            Ok(())
        }
    }
}

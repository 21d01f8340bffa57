//! The newest certificates. The files are looked at before each connection, so that whatever
//! replaces them (as Kubernetes does with a Secret) need tell nobody, and no task is needed.

use crate::files::Looks;
use crate::set::Set;
use crate::{FilesError, TlsFiles};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// How often files that change meanwhile are read again.
const READINGS_MAX: u32 = 5;

/// The certificates of a side. Connections that were made with older ones stay.
pub struct Tls {
    files: TlsFiles,
    newest: Mutex<Newest>,
}

/// What was read last, and how the files looked then, whether they could be used or not.
struct Newest {
    looks: Looks,
    set: Arc<Set>,
}

impl Tls {
    /// Reads the files for the first time.
    pub fn open(files: TlsFiles) -> Result<Self, FilesError> {
        let (looks, read) = read(&files);
        let set = Arc::new(read?);
        let newest = Mutex::new(Newest { looks, set });
        Ok(Self { files, newest })
    }

    /// The newest set that can be used. One that can't is told once, and changes nothing.
    pub(crate) fn newest(&self) -> Arc<Set> {
        // Whoever panicked has left it whole.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.looks != self.files.looks() {
            let (looks, read) = read(&self.files);
            newest.looks = looks;
            match read {
                Ok(set) => {
                    newest.set = Arc::new(set);
                    tracing::info!("new connections use the changed certificates");
                }
                Err(error) => {
                    tracing::error!("the changed certificates are not taken: {error}");
                }
            }
        }
        Arc::clone(&newest.set)
    }
}

/// Reads all files, as they were at one time.
fn read(files: &TlsFiles) -> (Looks, Result<Set, FilesError>) {
    let mut looks = files.looks();
    for _ in 0..READINGS_MAX {
        let read = Set::read(files);
        let after = files.looks();
        if after == looks {
            return (looks, read);
        }
        // The new certificate was found with the old key, perhaps.
        looks = after;
    }
    (looks, Err(FilesError::Restless))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

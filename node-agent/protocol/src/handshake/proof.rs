//! The secret of a cluster, and proofs of knowing it.
//!
//! A proof is an HMAC-SHA256 over a label and everything that was said so far. The label says whose
//! proof it is, so that none can be sent back to its maker; what was said has a nonce of either side,
//! so that none is right a second time.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use thiserror::Error;

/// Fewest bytes of a secret. Whoever has seen a handshake can try secrets at leisure: it must be
/// random and not a word.
pub const SECRET_BYTES_MIN: usize = 32;

/// What all of a cluster know and nobody else. It is never printed.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// A secret that could be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the cluster's secret has {bytes} bytes; it must have at least {SECRET_BYTES_MIN}, from a random generator"
)]
pub struct SecretTooShort {
    /// How many bytes it has.
    pub bytes: usize,
}

impl Secret {
    /// The secret with these bytes, all of which count.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretTooShort> {
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(SecretTooShort { bytes: bytes.len() });
        }
        let keyed = Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length");
        Ok(Self(keyed))
    }

    fn over(&self, proof: Proof, said: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        // With its length before each part, no two rows of parts are the same bytes.
        for part in [proof.label()].iter().chain(said) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }

    /// The proof over what was said.
    pub(super) fn prove(&self, proof: Proof, said: &[&[u8]]) -> [u8; 32] {
        self.over(proof, said).finalize().into_bytes().into()
    }

    /// Whether this is the proof over what was said; takes as long whatever it is.
    pub(super) fn proves(&self, proof: Proof, said: &[&[u8]], given: &[u8; 32]) -> bool {
        self.over(proof, said).verify_slice(given).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// Whose proof it is, and of what.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// The server's, in its challenge.
    Server,
    /// The client's.
    Client,
    /// The server's, of what it grants.
    Welcome,
}

impl Proof {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Server => b"moraine handshake, server",
            Self::Client => b"moraine handshake, client",
            Self::Welcome => b"moraine handshake, welcome",
        }
    }
}

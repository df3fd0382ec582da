//! Checks signatures with Envoy's own crypto (`verify_signature`), once that has proven itself.
//!
//! A token that is seen for the first time costs about 20 µs there with RS256, and 700 µs in
//! the module. The function is probed with known answers before it is trusted. A host that
//! lacks it, or gets one answer wrong in either direction, is not used for that algorithm. PSS
//! and Ed25519 are beyond it.

use std::cell::Cell;
use std::fmt;

use crate::authn::keys::{
    Algorithm, BadSignature, InModule, Place, SignatureEngine, VerifyingKey, ecdsa_der,
};
use crate::words::wire::push_bytes;

/// Calls a function of the host's by its name. The answer is `None` if the host has no such
/// function, or if the function failed.
pub type Foreign = fn(name: &str, argument: &[u8]) -> Option<Box<[u8]>>;

/// Checks signatures in the host where it can, and otherwise in the module.
pub struct Engine {
    foreign: Foreign,
    /// The algorithms that the host has proven to support, or `None` before the probe.
    proven: Cell<Option<HostAlgorithms>>,
}

/// The algorithms that the host supports.
#[derive(Clone, Copy, Debug, Default)]
struct HostAlgorithms([bool; 5]);

/// The algorithms that a host may support, in the order of [`HostAlgorithms`].
const CANDIDATES: [Algorithm; 5] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
];

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Engine");
        shown.field("proven", &self.proven).finish_non_exhaustive()
    }
}

impl Engine {
    /// Creates an engine with the host's way to its functions.
    #[must_use]
    pub const fn new(foreign: Foreign) -> Self {
        Self {
            foreign,
            proven: Cell::new(None),
        }
    }

    /// Whether the host checks the signatures of this algorithm.
    fn is_host(&self, algorithm: Algorithm) -> bool {
        let proven = match self.proven.get() {
            Some(proven) => proven,
            None => self.probe(),
        };
        CANDIDATES
            .iter()
            .zip(proven.0)
            .any(|(candidate, able)| *candidate == algorithm && able)
    }

    fn probe(&self) -> HostAlgorithms {
        let mut proven = HostAlgorithms::default();
        for (able, (algorithm, spki, signature)) in proven.0.iter_mut().zip(KNOWN) {
            let Some(hash) = algorithm.host_hash() else {
                continue;
            };
            let right = self.ask(hash, spki, MESSAGE, signature);
            let wrong = self.ask(hash, spki, b"another message", signature);
            *able = right == Some(true) && wrong == Some(false);
        }
        self.proven.set(Some(proven));
        proven
    }

    /// Calls the host's function once. Returns `None` if it did not come to a verdict.
    ///
    /// An empty answer does not count as a yes, although protobuf would decode it to one with its
    /// defaults left out. Only an explicit true counts as a yes, and only an actual answer counts
    /// as a no.
    fn ask(&self, hash: &str, spki: &[u8], input: &[u8], signature: &[u8]) -> Option<bool> {
        let size = input.len().saturating_add(spki.len()).saturating_add(600);
        let mut argument = Vec::with_capacity(size);
        push_bytes(&mut argument, 1, hash.as_bytes());
        push_bytes(&mut argument, 2, spki);
        push_bytes(&mut argument, 3, signature);
        push_bytes(&mut argument, 4, input);
        let answer = (self.foreign)("verify_signature", &argument)?;
        Some(is_true(&answer))
    }
}

impl SignatureEngine for Engine {
    fn verify(
        &self,
        key: &VerifyingKey,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let algorithm = key.algorithm();
        if !self.is_host(algorithm) {
            return InModule.verify(key, input, signature);
        }
        let Some(hash) = algorithm.host_hash() else {
            return InModule.verify(key, input, signature);
        };
        let verdict = if algorithm.is_rsa() {
            self.ask(hash, key.spki(), input, signature)
        } else {
            let signature = ecdsa_der(algorithm, signature)?;
            self.ask(hash, key.spki(), input, &signature)
        };
        match verdict {
            Some(true) => Ok(()),
            Some(false) => Err(BadSignature),
            None => InModule.verify(key, input, signature),
        }
    }

    fn place(&self, algorithm: Algorithm) -> Place {
        if self.is_host(algorithm) {
            Place::Host
        } else {
            Place::Module
        }
    }
}

/// Reads `VerifySignatureResult { bool result = 1; string error = 2; }`. The bool comes first,
/// and is there only if it is true.
fn is_true(answer: &[u8]) -> bool {
    answer.starts_with(&[0x08, 0x01])
}

const MESSAGE: &[u8] = include_bytes!("probe/message");

/// An algorithm, a public key, and a signature of [`MESSAGE`] in the form that the host takes.
const KNOWN: [(Algorithm, &[u8], &[u8]); 5] = [
    (
        Algorithm::RS256,
        include_bytes!("probe/rsa.spki"),
        include_bytes!("probe/rs256.sig"),
    ),
    (
        Algorithm::RS384,
        include_bytes!("probe/rsa.spki"),
        include_bytes!("probe/rs384.sig"),
    ),
    (
        Algorithm::RS512,
        include_bytes!("probe/rsa.spki"),
        include_bytes!("probe/rs512.sig"),
    ),
    (
        Algorithm::ES256,
        include_bytes!("probe/p256.spki"),
        include_bytes!("probe/es256.sig"),
    ),
    (
        Algorithm::ES384,
        include_bytes!("probe/p384.spki"),
        include_bytes!("probe/es384.sig"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_function_is_not_used() {
        let engine = Engine::new(|_, _| None);
        for algorithm in Algorithm::ALL {
            assert!(!engine.is_host(algorithm), "{algorithm}");
        }
    }

    #[test]
    fn only_an_explicit_true_counts() {
        assert!(is_true(&[0x08, 0x01]));
        for answer in [
            &[][..],
            &[0x08],
            &[0x08, 0x00],
            &[0x12, 0x01, b'x'],
            &[0x01],
        ] {
            assert!(!is_true(answer), "{answer:?}");
        }
    }
}

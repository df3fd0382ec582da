//! Random sequences of events over several workers of one process, compared with the model in
//! `common/model.rs`.
//!
//! `SCOPEGATE_SEED=n` repeats the sequence with that number, and `SCOPEGATE_SEQUENCES=n` runs
//! that many. A sequence that fails is printed with its seed and in its shortest form.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{Sequence, play, sequence};

/// How many sequences a run has.
const SEQUENCES: u64 = 10_000;

/// Leaves out whatever is not needed for a sequence to fail.
fn shortest(mut sequence: Sequence) -> Sequence {
    let mut size = sequence.steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < sequence.steps.len() {
            let mut shorter = sequence.steps.clone();
            shorter.drain(at..(at + size).min(shorter.len()));
            let candidate = Sequence {
                steps: shorter,
                ..sequence
            };
            if play(&candidate).is_err() {
                sequence = candidate;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    sequence
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_sequence_of_events_breaks_the_model() {
    let seeds: Vec<u64> = match variable("SCOPEGATE_SEED") {
        Some(seed) => vec![seed],
        None => (0..variable("SCOPEGATE_SEQUENCES").unwrap_or(SEQUENCES)).collect(),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = seeds.len().div_ceil(threads).max(1);
    let whole = seeds.len() as u64 == SEQUENCES;
    let results: Vec<Result<BTreeMap<&str, u64>, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = seeds
            .chunks(share)
            .map(|seeds| scope.spawn(move || some(seeds)))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.collect()
    });
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(some) => some
                .into_iter()
                .for_each(|(code, count)| *codes.entry(code).or_default() += count),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    eprintln!("{codes:?}");
    // A model that sees nothing finds nothing.
    for code in [
        "allowed",
        "key_pending",
        "keys_unavailable",
        "unknown_key",
        "waiting_room_full",
        "gate_unavailable",
        "tenant_not_granted",
        "token_expired",
    ] {
        let seen = codes.get(code).copied().unwrap_or_default();
        assert!(!whole || seen > 500, "{code}: {seen}");
    }
}

/// Plays these sequences until one fails.
fn some(seeds: &[u64]) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds {
        if let Ok(some) = play(&sequence(*seed)) {
            for (code, count) in some {
                *codes.entry(code).or_default() += count;
            }
        } else {
            let short = shortest(sequence(*seed));
            let error = play(&short).err().unwrap_or_default();
            let mut text = format!("SCOPEGATE_SEED={seed}\n");
            let _ = writeln!(
                text,
                "{} workers, share: {}, warm: {}, first: {}, {:#?}",
                short.workers, short.share, short.warm, short.first, short.steps
            );
            return Err(text + &error);
        }
    }
    Ok(codes)
}

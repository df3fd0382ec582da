//! The same, run natively, and the table of results.

use std::time::Instant;

use scopegate_bench_queries::{QUERIES, scope_query};

/// Enough for a few hundredths of a second.
const ROUNDS: u32 = 20_000;

/// The best of these counts: whatever else runs only adds.
const TRIES: u32 = 15;

fn main() {
    let wasm: Vec<f64> = std::env::args()
        .skip(1)
        .filter_map(|nanos| nanos.parse().ok())
        .collect();
    println!("{:<10} {:<10} {:>6} {:>10} {:>10}", "", "", "bytes", "native", "in V8");
    for (number, (language, what, text)) in QUERIES.iter().enumerate() {
        let nanos = (0..TRIES).map(|_| {
            let begin = Instant::now();
            let written = scope_query(u32::try_from(number).unwrap_or(0), ROUNDS);
            assert!(written > 0, "{text} is refused");
            begin.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
        });
        let native = nanos.fold(f64::INFINITY, f64::min) / 1_000.0;
        let wasm = wasm.get(number).map_or("-".to_owned(), |nanos| format!("{:.2} us", nanos / 1_000.0));
        let language = format!("{language:?}");
        println!("{language:<10} {what:<10} {:>6} {native:>7.2} us {wasm:>10}", text.len());
    }
}

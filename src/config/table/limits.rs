//! The keys of `limits`.

use super::{Count, Duration};

section! {
    /// Limits on what strangers can make the gate hold or do, for each worker.
    section;

    /// The longest token that is accepted, in bytes.
    TOKEN_BYTES: Count = "token_bytes", Count { least: 256, most: 49_152, default: 16_384 };

    /// The maximum number of groups in a token, each of at most 512 bytes.
    GROUPS: Count = "groups", Count { least: 1, most: 10_000, default: 2_048 };

    /// The maximum number of tenants in a request.
    TENANTS_PER_REQUEST: Count = "tenants_per_request", Count {
        least: 1,
        most: 1_000,
        default: 64,
    };

    /// The maximum number of verified tokens that are remembered. Together they take at most 2 KiB
    /// times that number.
    CACHED_TOKENS: Count = "cached_tokens", Count { least: 0, most: 65_536, default: 4_096 };

    /// The maximum number of requests that wait, for keys or for a directory. If there are several
    /// providers or a directory, one provider or caller holds at most as many places as it leaves
    /// free. For each place, a projects directory may have four questions under way.
    WAITING_REQUESTS: Count = "waiting_requests", Count { least: 0, most: 4_096, default: 256 };

    /// How long a request waits for keys or a directory.
    WAIT: Duration = "wait", Duration::new("0s", "30s", "3s");

    /// The longest duration of a tail or a gRPC read. It ends earlier if its token expires, or
    /// by `max_stream_duration` of its route.
    STREAM_DURATION: Duration = "stream_duration", Duration::new("1s", "24h", "1h");
}

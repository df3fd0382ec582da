//! `limits`

use super::{Count, Duration};

section! {
    /// Bounds on what strangers can make the gate hold or do, for each worker.
    section;

    /// Longest token, in bytes.
    TOKEN_BYTES: Count = "token_bytes", Count { least: 256, most: 49_152, default: 16_384 };

    /// Most groups in a token, each of at most 512 bytes.
    GROUPS: Count = "groups", Count { least: 1, most: 10_000, default: 2_048 };

    /// Most tenants in a request.
    TENANTS_PER_REQUEST: Count = "tenants_per_request", Count {
        least: 1,
        most: 1_000,
        default: 64,
    };

    /// Most verified tokens that are remembered, and 2 KiB times that in bytes.
    CACHED_TOKENS: Count = "cached_tokens", Count { least: 0, most: 65_536, default: 4_096 };

    /// Most requests that wait, for keys or a directory. With several providers or a
    /// directory, one provider or caller holds at most as many as it leaves; a projects
    /// directory has at most four questions under way for each.
    WAITING_REQUESTS: Count = "waiting_requests", Count { least: 0, most: 4_096, default: 256 };

    /// How long a request waits for keys or a directory.
    WAIT: Duration = "wait", Duration::new("0s", "30s", "3s");

    /// Longest tail or gRPC read. The end of its token ends it earlier, and so does
    /// `max_stream_duration` of its route.
    STREAM_DURATION: Duration = "stream_duration", Duration::new("1s", "24h", "1h");
}

//! Host calls as the shell uses them: bytes in and out, every status handled.

use super::abi::{self, Status};
use crate::words::time::{Monotonic, Now, Timestamp};

/// Header maps of the ABI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Map {
    CallResponse = 6,
    Request = 0,
    Response = 2,
}

/// Buffers of the ABI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Buffer {
    CallResponseBody = 4,
    PluginConfiguration = 7,
    RequestBody = 0,
}

/// What the proxy does with a stream after a callback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Continue = 0,
    Pause = 1,
}

/// Log levels of the ABI.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Level {
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// Writes one line to the proxy's log.
pub(super) fn log(level: Level, message: &str) {
    // Nothing can be done about a log line that is not taken.
    let _ = abi::log(level as u32, message.as_bytes());
}

/// Both clocks. The proxy's wall clock, and WASI's monotonic one.
pub(super) fn now() -> Now {
    let nanos = abi::current_time_nanos().unwrap_or(0);
    Now {
        wall: Timestamp::from_nanos(nanos),
        mono: Monotonic::from_millis(abi::monotonic_nanos() / 1_000_000),
    }
}

/// The host shares no data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unshared;

/// A value that the workers of the process share, empty when nobody has written it,
/// and the number for swapping it.
pub(super) fn shared(key: &str) -> Result<(Box<[u8]>, u32), Unshared> {
    match abi::shared_data(key.as_bytes()) {
        Ok(found) => Ok(found),
        Err(Status::NOT_FOUND) => Ok((Box::default(), 0)),
        Err(_) => Err(Unshared),
    }
}

/// Writes a shared value if it is still the one that `swap` was given with, or
/// whatever it is for 0; says whether it was.
pub(super) fn set_shared(key: &str, value: &[u8], swap: u32) -> Result<bool, Unshared> {
    match abi::set_shared_data(key.as_bytes(), value, swap) {
        Ok(()) => Ok(true),
        Err(Status::CAS_MISMATCH) => Ok(false),
        Err(_) => Err(Unshared),
    }
}

/// When the root context is called next, and from then on.
pub(super) fn set_tick_period(millis: u32) {
    let _ = abi::set_tick_period(millis);
}

/// A whole header map in one call, undecoded.
pub(super) fn pairs(map: Map) -> Result<Pairs, Status> {
    abi::header_pairs(map as u32).map(Pairs)
}

/// The first value of a header.
pub(super) fn header(map: Map, name: &str) -> Option<Box<[u8]>> {
    abi::header(map as u32, name.as_bytes()).ok()
}

pub(super) fn add_header(map: Map, name: &[u8], value: &[u8]) -> Result<(), Status> {
    abi::add_header(map as u32, name, value)
}

pub(super) fn set_header(map: Map, name: &[u8], value: &[u8]) -> Result<(), Status> {
    abi::replace_header(map as u32, name, value)
}

pub(super) fn remove_header(map: Map, name: &[u8]) -> Result<(), Status> {
    abi::remove_header(map as u32, name)
}

/// A property by its path, segments divided by NUL.
pub(super) fn property(path: &str) -> Option<Box<[u8]>> {
    abi::property(path.as_bytes()).ok()
}

/// Puts a value into the stream's filter state as `wasm.<name>`.
pub(super) fn set_filter_state(name: &str, value: &[u8]) {
    // Only records depend on it.
    let _ = abi::set_property(name.as_bytes(), value);
}

/// Answers the stream that is in effect. `grpc_status` is for gRPC clients only.
pub(super) fn reply(
    status: u16,
    details: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
    grpc_status: Option<i32>,
) -> Result<(), Status> {
    abi::send_local_response(
        u32::from(status),
        details.as_bytes(),
        body,
        &serialize(headers),
        grpc_status.unwrap_or(-1),
    )
}

/// Lets a paused request go on.
pub(super) fn resume_request() -> Result<(), Status> {
    abi::continue_stream(0)
}

/// Makes the calls that follow act on another context. On an error the previous
/// context stays in effect, so the caller must not go on to act.
pub(super) fn act_on(context: u32) -> Result<(), Status> {
    abi::set_effective_context(context)
}

/// Starts an HTTP request and returns the number its answer will carry.
pub(super) fn call(cluster: &str, headers: &[(&str, &[u8])], timeout: u64) -> Result<u32, Status> {
    let timeout = u32::try_from(timeout).unwrap_or(u32::MAX);
    abi::http_call(cluster.as_bytes(), &serialize(headers), timeout)
}

/// At most `max` bytes of a buffer.
pub(super) fn buffer(buffer: Buffer, max: usize) -> Result<Box<[u8]>, Status> {
    abi::buffer(buffer as u32, max)
}

/// Puts other bytes in the place of a request body of that size.
pub(super) fn replace_body(size: usize, body: &[u8]) -> Result<(), Status> {
    abi::set_buffer(Buffer::RequestBody as u32, size, body)
}

/// The ABI's pair list: count, sizes, then names and values, each ended by NUL.
fn serialize(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(256);
    bytes.extend(size(headers.len()));
    for (name, value) in headers {
        bytes.extend(size(name.len()));
        bytes.extend(size(value.len()));
    }
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}

/// A header map as the host wrote it, read in place.
#[derive(Debug)]
pub(super) struct Pairs(Box<[u8]>);

impl Pairs {
    /// The pairs in order. A list that contradicts itself ends early, which
    /// [`Pairs::has_all`] tells.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let count = self.number(0).unwrap_or(0);
        let mut sizes: usize = 4;
        let mut data = count.saturating_mul(8).saturating_add(4);
        (0..count).map_while(move |_| {
            let name_size = self.number(sizes)?;
            let value_size = self.number(sizes.checked_add(4)?)?;
            sizes = sizes.checked_add(8)?;
            let name_end = data.checked_add(name_size)?;
            let name = self.0.get(data..name_end)?;
            let value_start = name_end.checked_add(1)?;
            let value_end = value_start.checked_add(value_size)?;
            let value = self.0.get(value_start..value_end)?;
            data = value_end.checked_add(1)?;
            Some((name, value))
        })
    }

    /// Whether the list says it holds exactly `seen` pairs.
    pub(super) fn has_all(&self, seen: usize) -> bool {
        self.number(0) == Some(seen)
    }

    fn number(&self, at: usize) -> Option<usize> {
        let bytes = self.0.get(at..at.checked_add(4)?)?;
        let number = u32::from_le_bytes(bytes.try_into().ok()?);
        usize::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(pairs: &Pairs) -> bool {
        pairs.has_all(pairs.iter().count())
    }

    #[test]
    fn what_is_serialized_is_read_back() {
        let headers: [(&str, &[u8]); 3] = [("a", b"1"), ("bb", b""), ("c", b"\xff\x00")];
        let pairs = Pairs(serialize(&headers).into());
        assert!(sound(&pairs));
        let read: Vec<_> = pairs.iter().collect();
        assert_eq!(read, headers.map(|(n, v)| (n.as_bytes(), v)));
    }

    #[test]
    fn lists_that_contradict_themselves_are_told() {
        let good = serialize(&[("a", b"1"), ("b", b"2")]);
        for cut in 0..good.len() - 1 {
            assert!(!sound(&Pairs(good[..cut].into())), "{cut}");
        }
        let mut huge = good.clone();
        huge[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(!sound(&Pairs(huge.into())));
        let mut long = good;
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(!sound(&Pairs(long.into())));
    }
}

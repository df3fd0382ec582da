//! A request of the gate's own: for keys, for organizations, to a directory of projects.

use crate::worker::event::CallId;

/// A request of the worker's own.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    /// Milliseconds.
    pub(super) timeout: u64,
    headers: Vec<(String, Vec<u8>)>,
}

impl Call {
    pub(super) fn new(id: CallId, timeout: u64, headers: &[(&str, &[u8])]) -> Self {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        Self {
            id,
            timeout,
            headers: headers.collect(),
        }
    }

    fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(known, _)| known == name);
        let value = found.map_or(&b""[..], |(_, value)| value);
        String::from_utf8_lossy(value).into_owned()
    }

    /// Where it goes.
    pub(super) fn url(&self) -> String {
        let (scheme, authority) = (self.header(":scheme"), self.header(":authority"));
        format!("{scheme}://{authority}{}", self.header(":path"))
    }

    /// Its headers but for those that make its first line.
    pub(super) fn headers_to_send(&self) -> Vec<(String, Vec<u8>)> {
        let headers = self.headers.iter();
        let headers = headers.filter(|(name, _)| !name.starts_with(':'));
        headers.cloned().collect()
    }
}

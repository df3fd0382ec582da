//! A request that the gate itself makes: for keys, for organizations, or to a directory of
//! projects.

use crate::worker::event::CallId;

/// A request that the worker wants its host to send.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    /// How long to wait for the answer, in milliseconds.
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

    /// The URL that the request is sent to.
    pub(super) fn url(&self) -> String {
        let (scheme, authority) = (self.header(":scheme"), self.header(":authority"));
        format!("{scheme}://{authority}{}", self.header(":path"))
    }

    /// The headers without the pseudo-headers, which make up the first line and the authority.
    pub(super) fn headers_to_send(&self) -> Vec<(String, Vec<u8>)> {
        let headers = self.headers.iter();
        let headers = headers.filter(|(name, _)| !name.starts_with(':'));
        headers.cloned().collect()
    }
}

//! An event as a program makes it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::series::Name;

/// Headers and a body.
///
/// An event that came back undelivered remembers what it was called when it was sent, so that it is known where it arrived
/// after all. A clone of it, or one that was changed, is another event.
#[derive(Debug, Default)]
pub struct Event {
    headers: BTreeMap<String, String>,
    body: Bytes,
    name: Option<Name>,
}

// === impl Event ===

impl Event {
    /// An event without headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// The same with one more header; one of this name is replaced.
    pub fn with_header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(key.into(), value.into());
        self.name = None;
        self
    }

    /// The same with these headers as well.
    pub fn with_headers<K: Into<String>, V: Into<String>>(self, headers: impl IntoIterator<Item = (K, V)>) -> Self {
        headers.into_iter().fold(self, |event, (key, value)| event.with_header(key, value))
    }

    /// The same with another body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.name = None;
        self
    }

    /// Its headers.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    /// Its body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// What its headers and body take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + self.headers.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }

    pub(super) fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Calls it so unless it has a name.
    pub(super) fn name_with(&mut self, name: impl FnOnce() -> Name) {
        self.name.get_or_insert_with(name);
    }

    pub(super) fn take_name(&mut self) -> Option<Name> {
        self.name.take()
    }
}

impl Clone for Event {
    fn clone(&self) -> Self {
        Self { headers: self.headers.clone(), body: self.body.clone(), name: None }
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.headers == other.headers && self.body == other.body
    }
}

impl Eq for Event {}

impl From<&str> for Event {
    fn from(body: &str) -> Self {
        Self::new(body.to_owned())
    }
}

impl From<String> for Event {
    fn from(body: String) -> Self {
        Self::new(body)
    }
}

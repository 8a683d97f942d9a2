//! `BlobHandler`: the whole body is one event.

use std::collections::HashSet;

use hyper::Method;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use millstream_core::Batch;

use super::body::Body;
use crate::gather::Gather;

/// Makes an event of a body.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    /// The `handler.maxBlobLength` option.
    pub(super) most_bytes: usize,
}

// === impl Blob ===

impl Blob {
    /// The event. Its headers are the parameters of the request, the first value of each, and its content type. A form is
    /// all parameters: nothing of it is left for the body.
    pub(super) fn event(&self, head: &Parts, body: &Body) -> Batch {
        if body.is_cut {
            tracing::warn!(most_bytes = self.most_bytes, "body cut at handler.maxBlobLength");
        }
        let (content_type, is_form) = (content_type(head), is_form(head));
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let form: &[u8] = if is_form { &body.bytes } else { b"" };
        let mut events = Gather::new();
        let mut names = HashSet::new();
        for (name, value) in form_urlencoded::parse(query).chain(form_urlencoded::parse(form)) {
            if names.insert(name.clone()) {
                events.header(&name, value.as_bytes());
            }
        }
        if let Some(value) = content_type.filter(|_| names.insert(CONTENT_TYPE_HEADER.into())) {
            events.header(CONTENT_TYPE_HEADER, value.as_bytes());
        }
        events.event(&[if is_form { &b""[..] } else { &body.bytes }]);
        events.take()
    }
}

/// Whether the body is nothing but parameters, whose length is not the handler's concern.
pub(super) fn is_form(head: &Parts) -> bool {
    let media_type = content_type(head).and_then(|value| value.split(';').next()).unwrap_or_default();
    head.method == Method::POST && media_type.trim().eq_ignore_ascii_case(FORM)
}

fn content_type(head: &Parts) -> Option<&str> {
    head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

const FORM: &str = "application/x-www-form-urlencoded";
const CONTENT_TYPE_HEADER: &str = "Content-Type";

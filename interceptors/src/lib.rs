//! Interceptors: they change events on their way in, or drop them by a named rule.
//!
//! One file each; a program finds them by name in [`INTERCEPTORS`].

pub mod host;
pub mod regex_extractor;
pub mod regex_filter;
pub mod remove_header;
pub mod search_replace;
pub mod r#static;
pub mod timestamp;
pub mod uuid;

use bytes::Bytes;
use millstream_core::{InterceptorSpec, Options, Result};

/// Every interceptor of this crate, in documentation order.
pub static INTERCEPTORS: &[&InterceptorSpec] = &[
    &timestamp::SPEC,
    &host::SPEC,
    &r#static::SPEC,
    &uuid::SPEC,
    &remove_header::SPEC,
    &search_replace::SPEC,
    &regex_filter::SPEC,
    &regex_extractor::SPEC,
];

/// The name of a header, in the value of `key`.
fn header_name(options: &Options, key: &str) -> Result<Bytes> {
    match options.text(key)? {
        "" => Err(options.refuse(key, "expected the name of a header, got none")),
        name => Ok(Bytes::copy_from_slice(name.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use millstream_core::{Batch, Setting};

    use super::*;

    /// The options of an interceptor as they stand in a file.
    pub(crate) fn options(spec: &InterceptorSpec, settings: &[(&str, &str)]) -> Result<Options> {
        let settings = settings.iter().map(|(key, value)| Setting {
            key: (*key).into(),
            value: (*value).into(),
            place: format!("flume.conf:9: a1.sources.r1.interceptors.i1.{key}"),
        });
        Options::parse("a1.sources.r1.interceptors.i1", spec.options, &[], settings).map(|(options, _)| options)
    }

    pub(crate) fn bodies(batch: &Batch) -> Vec<String> {
        batch.iter().map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
    }

    /// The headers of each event, sorted.
    pub(crate) fn headers(batch: &Batch) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let of_event = |event: millstream_core::EventRef<'_>| {
            let mut all: Vec<String> = event.headers().map(|(k, v)| format!("{}={}", text(k), text(v))).collect();
            all.sort();
            all.join(" ")
        };
        batch.iter().map(of_event).collect()
    }
}

//! Gives events a header with the time at which they came in.
//!
//! The clock is read once per batch. A second interceptor under the same header, or a header that the event brought
//! along, is replaced unless `preserveExisting` is set.
//!
//! # Source
//! `org.apache.flume.interceptor.TimestampInterceptor` (Flume 1.11).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millstream_core::{
    Batch, CommonHeader, Intercepted, Interceptor, InterceptorSpec, Kind, Options, Result, optional,
};

/// The declaration.
pub static SPEC: InterceptorSpec = InterceptorSpec {
    name: "timestamp",
    aliases: &[
        "org.apache.flume.interceptor.TimestampInterceptor$Builder",
        "org.apache.flume.interceptor.TimestampInterceptor",
    ],
    summary: "Adds a header with the milliseconds since 1970, as decimal text.",
    options: &[
        optional("headerName", Kind::Text, "timestamp", "Name of the header."),
        optional("preserveExisting", Kind::Bool, "false", "An event that has the header already keeps its value."),
    ],
    build: |options| Ok(Box::new(Timestamp::from_options(options)?)),
};

/// Adds the time.
#[derive(Debug)]
struct Timestamp {
    header: Bytes,
    keep_existing: bool,
}

// === impl Timestamp ===

impl Timestamp {
    fn from_options(options: &Options) -> Result<Self> {
        let header = options.text("headerName")?;
        if header.is_empty() {
            return Err(options.refuse("headerName", "expected the name of a header, got none"));
        }
        let header = Bytes::copy_from_slice(header.as_bytes());
        Ok(Self { header, keep_existing: options.bool("preserveExisting")? })
    }

    fn stamp(&self, batch: Batch, now: SystemTime) -> Batch {
        // A clock before 1970 is a clock that was never set: 0 says so.
        let millis = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let (key, value) = (self.header.clone(), Bytes::from(millis.to_string()));
        batch.with_common_header(CommonHeader { key, value, keep_existing: self.keep_existing })
    }
}

impl Interceptor for Timestamp {
    fn intercept(&self, batch: Batch) -> Result<Intercepted> {
        Ok(Intercepted::kept(self.stamp(batch, SystemTime::now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::{Setting, SlabBuilder};
    use millstream_testkit::contract::interceptor::Subject;
    use millstream_testkit::interceptor_contract;
    use std::time::Duration;

    interceptor_contract!(Subject { spec: &SPEC, settings: &[("headerName", "k")] });

    fn timestamp(settings: &[(&str, &str)]) -> Result<Timestamp> {
        let settings = settings.iter().map(|(key, value)| Setting {
            key: (*key).into(),
            value: (*value).into(),
            place: format!("flume.conf:9: a1.sources.r1.interceptors.i1.{key}"),
        });
        let (options, _) = Options::parse("a1.sources.r1.interceptors.i1", SPEC.options, &[], settings)?;
        Timestamp::from_options(&options)
    }

    /// One event that has the header `timestamp` = `old`, one that has none.
    fn batch() -> Batch {
        let mut builder = SlabBuilder::new(Bytes::from_static(b"timestampold"));
        builder.header(0..9, 9..12);
        builder.row(0..1);
        builder.row(1..2);
        builder.finish()
    }

    fn values(batch: &Batch, key: &str) -> Vec<Option<String>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        batch.iter().map(|event| event.header(key).map(text)).collect()
    }

    const NOW: Duration = Duration::from_millis(1_700_000_000_123);

    #[test]
    fn every_event_gets_the_milliseconds_since_1970() {
        let stamped = timestamp(&[]).expect("built").stamp(batch(), UNIX_EPOCH + NOW);
        let now = Some("1700000000123".to_owned());
        assert_eq!(values(&stamped, "timestamp"), [now.clone(), now]);
    }

    #[test]
    fn an_existing_value_stays_only_when_asked() {
        let stamped = timestamp(&[("preserveExisting", "true")]).expect("built").stamp(batch(), UNIX_EPOCH + NOW);
        assert_eq!(values(&stamped, "timestamp"), [Some("old".to_owned()), Some("1700000000123".to_owned())]);
    }

    #[test]
    fn the_header_may_have_another_name() {
        let stamped = timestamp(&[("headerName", "seen")]).expect("built").stamp(batch(), UNIX_EPOCH + NOW);
        assert_eq!(values(&stamped, "timestamp"), [Some("old".to_owned()), None]);
        assert!(values(&stamped, "seen").iter().all(Option::is_some));
    }

    #[test]
    fn an_empty_header_name_is_refused_at_its_place() {
        let error = timestamp(&[("headerName", "")]).expect_err("refused").to_string();
        assert!(error.starts_with("flume.conf:9: a1.sources.r1.interceptors.i1.headerName: "), "{error}");
    }
}

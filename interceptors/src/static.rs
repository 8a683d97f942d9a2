//! Gives all events the same header.
//!
//! # Source
//! `org.apache.flume.interceptor.StaticInterceptor` (Flume 1.11).

use bytes::Bytes;
use millstream_core::{
    Batch, CommonHeader, Intercepted, Interceptor, InterceptorSpec, Kind, Options, Result, optional,
};

use crate::header_name;

/// The declaration.
pub static SPEC: InterceptorSpec = InterceptorSpec {
    name: "static",
    aliases: &[
        "org.apache.flume.interceptor.StaticInterceptor$Builder",
        "org.apache.flume.interceptor.StaticInterceptor",
    ],
    summary: "Adds a header with a value of yours.",
    options: &[
        optional("preserveExisting", Kind::Bool, "true", "An event that has the header already keeps its value."),
        optional("key", Kind::Text, "key", "Name of the header."),
        optional("value", Kind::Text, "value", "Its value."),
    ],
    build: |options| Ok(Box::new(Static::from_options(options)?)),
};

/// Adds a header.
#[derive(Debug)]
struct Static {
    header: CommonHeader,
}

// === impl Static ===

impl Static {
    fn from_options(options: &Options) -> Result<Self> {
        let value = Bytes::copy_from_slice(options.text("value")?.as_bytes());
        let keep_existing = options.bool("preserveExisting")?;
        Ok(Self { header: CommonHeader { key: header_name(options, "key")?, value, keep_existing } })
    }
}

impl Interceptor for Static {
    fn intercept(&self, batch: Batch) -> Result<Intercepted> {
        Ok(Intercepted::kept(batch.with_common_header(self.header.clone())))
    }
}

#[cfg(test)]
mod tests {
    use millstream_core::SlabBuilder;
    use millstream_testkit::contract::interceptor::Subject;
    use millstream_testkit::interceptor_contract;

    use super::*;
    use crate::tests::{headers, options};

    interceptor_contract!(Subject { spec: &SPEC, settings: &[("key", "dc"), ("value", "north")] });

    #[test]
    fn the_value_of_an_event_wins_unless_told_otherwise() {
        let mut builder = SlabBuilder::new("dcsouth".into());
        builder.header(0..2, 2..7);
        builder.row(0..1);
        builder.row(0..1);
        let batch = builder.finish();
        let stamped = |more: &[(&str, &str)]| {
            let settings = [&[("key", "dc"), ("value", "north")][..], more].concat();
            let interceptor = (SPEC.build)(&options(&SPEC, &settings).expect("options")).expect("built");
            headers(&interceptor.intercept(batch.clone()).expect("intercepted").batch)
        };
        assert_eq!(stamped(&[]), ["dc=south", "dc=north"]);
        assert_eq!(stamped(&[("preserveExisting", "false")]), ["dc=north", "dc=north"]);
    }
}

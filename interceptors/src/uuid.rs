//! Gives each event a header with a random UUID.
//!
//! # Source
//! `org.apache.flume.sink.solr.morphline.UUIDInterceptor` (Flume 1.11).

use millstream_core::{Batch, Error, Intercepted, Interceptor, InterceptorSpec, Kind, Options, Result, optional};
use uuid::Builder;

use crate::header_name;

/// The declaration.
pub static SPEC: InterceptorSpec = InterceptorSpec {
    name: "uuid",
    aliases: &["org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"],
    summary: "Adds a header with a random UUID, another one for each event.",
    options: &[
        optional("headerName", Kind::Text, "id", "Name of the header."),
        optional("preserveExisting", Kind::Bool, "true", "An event that has the header already keeps its value."),
        optional("prefix", Kind::Text, "", "What stands before the UUID."),
    ],
    build: |options| Ok(Box::new(Uuid::from_options(options)?)),
};

/// Adds UUIDs.
#[derive(Debug)]
struct Uuid {
    header: String,
    keep_existing: bool,
    prefix: String,
}

// === impl Uuid ===

impl Uuid {
    fn from_options(options: &Options) -> Result<Self> {
        header_name(options, "headerName")?;
        let header = options.text("headerName")?.to_owned();
        let prefix = options.text("prefix")?.to_owned();
        Ok(Self { header, keep_existing: options.bool("preserveExisting")?, prefix })
    }
}

impl Interceptor for Uuid {
    fn intercept(&self, batch: Batch) -> Result<Intercepted> {
        // Asked of the system once, however many events there are.
        let mut random = vec![0; batch.len() * 16];
        getrandom::fill(&mut random)
            .map_err(|error| Error::io("read random bytes from", "the system", error.into()))?;
        let mut value = self.prefix.clone().into_bytes();
        let mut rewriter = batch.rewriter();
        let mut random = random.chunks_exact(16);
        while let (Some(event), Some(random)) = (rewriter.next(), random.next()) {
            if self.keep_existing && event.header(&self.header).is_some() {
                rewriter.keep();
                continue;
            }
            let random = random.try_into().expect("chunks of 16 bytes");
            let uuid = Builder::from_random_bytes(random).into_uuid();
            value.truncate(self.prefix.len());
            value.extend_from_slice(uuid.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
            rewriter.set_headers(&[(self.header.as_bytes(), &value)]);
        }
        Ok(Intercepted::kept(rewriter.finish()?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millstream_core::CommonHeader;
    use millstream_testkit::contract::interceptor::Subject;
    use millstream_testkit::interceptor_contract;

    use super::*;
    use crate::tests::{headers, options};

    interceptor_contract!(Subject { spec: &SPEC, settings: &[("prefix", "p-")] });

    #[test]
    fn every_event_has_another_one_of_version_4() {
        let interceptor = (SPEC.build)(&options(&SPEC, &[("prefix", "p-")]).expect("options")).expect("built");
        let batch = interceptor.intercept(Batch::from_bodies(["a"; 100])).expect("intercepted").batch;
        let ids: BTreeSet<String> = headers(&batch).into_iter().collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            let uuid = id.strip_prefix("id=p-").expect("prefixed");
            let uuid = uuid::Uuid::parse_str(uuid).expect("a UUID");
            assert_eq!(uuid.get_version_num(), 4);
        }
    }

    #[test]
    fn an_existing_value_stays_unless_told_otherwise() {
        let had = CommonHeader { key: "id".into(), value: "old".into(), keep_existing: false };
        let batch = Batch::from_bodies(["a"]).with_common_header(had);
        let stamped = |settings: &[(&str, &str)]| {
            let interceptor = (SPEC.build)(&options(&SPEC, settings).expect("options")).expect("built");
            headers(&interceptor.intercept(batch.clone()).expect("intercepted").batch).remove(0)
        };
        assert_eq!(stamped(&[]), "id=old");
        assert_eq!(stamped(&[("preserveExisting", "false")]).len(), "id=".len() + 36);
    }
}

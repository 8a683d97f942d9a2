//! Gives events a header with the address or the name of this host.
//!
//! Looked up once, when the agent starts; where the host's own name has no address, events get no header, as in Flume,
//! and that is told.
//!
//! # Source
//! `org.apache.flume.interceptor.HostInterceptor` (Flume 1.11).

use bytes::Bytes;
use millstream_core::{
    Batch, CommonHeader, Intercepted, Interceptor, InterceptorSpec, Kind, Options, Result, optional,
};
use millstream_io::LocalHost;

use crate::header_name;

/// The declaration.
pub static SPEC: InterceptorSpec = InterceptorSpec {
    name: "host",
    aliases: &["org.apache.flume.interceptor.HostInterceptor$Builder", "org.apache.flume.interceptor.HostInterceptor"],
    summary: "Adds a header with the address or the name of this host.",
    options: &[
        optional("preserveExisting", Kind::Bool, "false", "An event that has the header already keeps its value."),
        optional("useIP", Kind::Bool, "true", "The address; otherwise the host's full name."),
        optional("hostHeader", Kind::Text, "host", "Name of the header."),
    ],
    build: |options| Ok(Box::new(Host::from_options(options, LocalHost::look_up())?)),
};

/// Adds the host.
#[derive(Debug)]
struct Host {
    /// None where the host is not known.
    header: Option<CommonHeader>,
}

// === impl Host ===

impl Host {
    fn from_options(options: &Options, host: Result<LocalHost>) -> Result<Self> {
        let (key, keep_existing) = (header_name(options, "hostHeader")?, options.bool("preserveExisting")?);
        let value = match (host, options.bool("useIP")?) {
            (Ok(host), true) => host.address.to_string(),
            (Ok(host), false) => host.canonical_name(),
            (Err(error), _) => {
                tracing::warn!(%error, "this host is not known, events get no header");
                return Ok(Self { header: None });
            }
        };
        Ok(Self { header: Some(CommonHeader { key, value: Bytes::from(value), keep_existing }) })
    }
}

impl Interceptor for Host {
    fn intercept(&self, batch: Batch) -> Result<Intercepted> {
        Ok(Intercepted::kept(match &self.header {
            Some(header) => batch.with_common_header(header.clone()),
            None => batch,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use millstream_core::Error;
    use millstream_testkit::contract::interceptor::Subject;
    use millstream_testkit::interceptor_contract;

    use super::*;
    use crate::tests::{headers, options};

    interceptor_contract!(Subject { spec: &SPEC, settings: &[("useIP", "true")] });

    fn stamped(settings: &[(&str, &str)], host: Result<LocalHost>) -> String {
        let host = Host::from_options(&options(&SPEC, settings).expect("options"), host).expect("built");
        let had = CommonHeader { key: "host".into(), value: "old".into(), keep_existing: false };
        let batch = Batch::from_bodies(["x"]).with_common_header(had);
        headers(&host.intercept(batch).expect("intercepted").batch).remove(0)
    }

    fn here() -> LocalHost {
        LocalHost { name: "h".into(), address: Ipv4Addr::LOCALHOST.into() }
    }

    #[test]
    fn events_get_the_address_or_the_name() {
        assert_eq!(stamped(&[], Ok(here())), "host=127.0.0.1");
        assert_eq!(stamped(&[("useIP", "false")], Ok(here())), format!("host={}", here().canonical_name()));
        assert_eq!(stamped(&[("hostHeader", "from")], Ok(here())), "from=127.0.0.1 host=old");
        assert_eq!(stamped(&[("preserveExisting", "true")], Ok(here())), "host=old");
    }

    #[test]
    fn a_host_that_is_not_known_gives_no_header() {
        let unknown = Error::net("look up", "h", std::io::ErrorKind::NotFound.into());
        assert_eq!(stamped(&[], Err(unknown)), "host=old");
    }
}

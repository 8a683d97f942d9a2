//! `-Dflume.monitoring.*`: whether and where to serve.

use std::net::IpAddr;

use millstream_core::{Error, Kind, OptionSpec, Options, Result, Setting, optional, required};

/// Where to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitoring {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 for one that is free.
    pub port: u16,
}

const OPTIONS: &[OptionSpec] = &[
    required("type", Kind::Text, "http."),
    optional("port", Kind::Int(0, 65535), "41414", "Port to listen on; 0 for one that is free."),
    optional("host", Kind::Host, "0.0.0.0", "Address to listen on."),
];

// === impl Monitoring ===

impl Monitoring {
    /// What the `-D` properties ask for; `None` when they do not. Also a line for each key that nobody knows.
    ///
    /// # Errors
    /// `Config` for a reporter that is not built in, and for a value that cannot be used.
    pub fn from_properties<'a>(
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Option<Self>, Vec<String>)> {
        let settings: Vec<Setting> = properties
            .into_iter()
            .filter_map(|(key, value)| {
                let own = key.strip_prefix(PREFIX)?;
                let value = value.trim().to_owned();
                Some(Setting { key: own.to_owned(), value, place: format!("-D{key}") })
            })
            .collect();
        if settings.is_empty() {
            return Ok((None, Vec::new()));
        }
        let (options, unknown) = Options::parse("-Dflume.monitoring", OPTIONS, &[], settings)?;
        let reporter = options.text("type")?;
        if !reporter.eq_ignore_ascii_case("http") {
            return Err(Error::config("-Dflume.monitoring.type", format!("{SUPPORTED}, got {reporter:?}")));
        }
        let host = match options.text("host")? {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            host => {
                host.parse().map_err(|_| options.refuse("host", format!("expected an IP address, got {host:?}")))?
            }
        };
        Ok((Some(Self { host, port: options.int("port")? }), unknown))
    }
}

const PREFIX: &str = "flume.monitoring.";
const SUPPORTED: &str =
    "expected http (Flume's JSON and Prometheus text at /metrics), the only reporter that is built in";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(properties: &[(&str, &str)]) -> Result<(Option<Monitoring>, Vec<String>)> {
        Monitoring::from_properties(properties.iter().copied())
    }

    #[test]
    fn flumes_properties_say_whether_and_where() {
        assert_eq!(asked(&[("user.home", "/root")]).expect("fine"), (None, vec![]));
        let (found, unknown) = asked(&[("flume.monitoring.type", "HTTP")]).expect("fine");
        assert_eq!((found, unknown.len()), (Some(Monitoring { host: [0, 0, 0, 0].into(), port: 41414 }), 0));
        let all = [
            ("flume.monitoring.type", "http"),
            ("flume.monitoring.port", " 5000 "),
            ("flume.monitoring.host", "::1"),
            ("flume.monitoring.prt", "1"),
        ];
        let (found, unknown) = asked(&all).expect("fine");
        assert_eq!(found.map(|found| (found.host.to_string(), found.port)), Some(("::1".to_owned(), 5000)));
        assert_eq!(unknown, ["-Dflume.monitoring.prt: unknown key, ignored; did you mean port?"]);
    }

    #[test]
    fn what_is_not_built_in_or_cannot_be_used_is_refused_with_what_there_is() {
        for (properties, part) in [
            (
                &[("flume.monitoring.type", "ganglia")][..],
                "expected http (Flume's JSON and Prometheus text at /metrics)",
            ),
            (
                &[("flume.monitoring.type", "http"), ("flume.monitoring.port", "x")],
                "port: expected a whole number in 0..=65535",
            ),
            (
                &[("flume.monitoring.type", "http"), ("flume.monitoring.host", "h")],
                "host: expected an IP address, got \"h\"",
            ),
            (&[("flume.monitoring.port", "1")], "-Dflume.monitoring.type: missing"),
        ] {
            let error = asked(properties).expect_err("refused").to_string();
            assert!(error.contains(part) && error.starts_with("-Dflume.monitoring."), "{error}");
        }
    }
}

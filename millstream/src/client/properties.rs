//! Flume's properties of a client, typed.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use millstream_config::Entry;
use millstream_core::options::{joined, nearest};
use millstream_core::{Error, Kind, OptionSpec, Options, Result, Setting, family, optional, required, unset};
use millstream_io::tls;
use millstream_rpc::{ClientSettings, ThriftSettings, Wrapping};
use millstream_wire::avro_event;
use millstream_wire::thrift::Encoding;

use super::host::{self, Host};
use super::ways::{Failover, LoadBalance, Order};

const OWN: [OptionSpec; 19] = [
    optional("client.type", Kind::Text, "default", "default, default_failover, default_loadbalance or thrift."),
    required("hosts", Kind::List, "Names of the hosts, in their order."),
    family("hosts.*", Kind::Text, "host:port of each name."),
    optional("batch-size", Kind::Int(0, u32::MAX as i64), "100", "Most events of one call; 0 is the default."),
    optional("connect-timeout", Kind::Millis, "20000", "For the connection and its TLS; below 1000 it is the default."),
    optional("request-timeout", Kind::Millis, "20000", "For an answer; below 1000 it is the default."),
    unset(
        "max-attempts",
        Kind::Int(1, u32::MAX as i64),
        "default_failover: hosts tried in one call; each once unless given.",
    ),
    optional(
        "host-selector",
        Kind::Choice(&["ROUND_ROBIN", "RANDOM"]),
        "ROUND_ROBIN",
        "default_loadbalance: the order.",
    ),
    optional("backoff", Kind::Bool, "false", "default_loadbalance: a host that failed is left out for a while."),
    optional("maxBackoff", Kind::Millis, "30000", "The longest such while."),
    optional("compression-type", Kind::Choice(&["none", "deflate"]), "none", "What the hosts must use too."),
    optional("compression-level", Kind::Int(0, 9), "6", "0 to 9, from none to most."),
    optional("maxIoWorkers", Kind::Text, "", "No effect: a connection costs no thread, as in Flume 1.10."),
    optional("maxConnections", Kind::Text, "", "No effect: a client makes one call at a time, over one connection."),
    optional(
        "protocol",
        Kind::Choice(&["compact", "binary"]),
        "compact",
        "thrift: the encoding that the host must use too.",
    ),
    optional("kerberos", Kind::Bool, "false", "thrift: only false is built in."),
    unset("client-principal", Kind::Text, "No effect without Kerberos."),
    unset("client-keytab", Kind::Path, "No effect without Kerberos."),
    unset("server-principal", Kind::Text, "No effect without Kerberos."),
];
const OPTIONS: [OptionSpec; OWN.len() + tls::CLIENT_OPTIONS.len()] = joined(&[&OWN, &tls::CLIENT_OPTIONS]);

/// What a client is made of.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) batch_size: usize,
    pub(super) way: Way,
}

/// How a client reaches its hosts.
#[derive(Debug)]
pub(super) enum Way {
    /// The first one alone.
    Default(Box<Host>),
    /// The first one alone, connected to again after a call that failed.
    Thrift(Box<Host>),
    /// One, and another if it fails.
    Failover(Failover),
    /// Each in turn.
    LoadBalance(LoadBalance),
}

/// Properties that a program gives; their place is the key.
pub(super) fn settings<K: Into<String>, V: Into<String>>(properties: impl IntoIterator<Item = (K, V)>) -> Vec<Setting> {
    let setting = |(key, value): (K, V)| {
        let key: String = key.into();
        Setting { place: key.clone(), key, value: value.into().trim().to_owned() }
    };
    properties.into_iter().map(setting).collect()
}

/// Properties of a file.
///
/// # Errors
/// `Io`; `Config` for a file that is no property file.
pub(super) fn load(path: &Path) -> Result<Vec<Setting>> {
    let setting = |entry: Entry| {
        let place = entry.full_place();
        Setting { place, value: entry.value.trim().to_owned(), key: entry.key }
    };
    Ok(millstream_config::load(path)?.into_iter().map(setting).collect())
}

/// The properties of a client of one host.
pub(super) fn of_host(host: &str, port: u16) -> Vec<Setting> {
    let bracketed = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    settings([("hosts", "h1".to_owned()), ("hosts.h1", bracketed)])
}

// === impl Plan ===

impl Plan {
    /// # Errors
    /// `Config`, at the property that cannot be used.
    pub(super) fn of(settings: Vec<Setting>) -> Result<Self> {
        // Which properties there must be depends on it, so it is judged first.
        let given = settings.iter().rfind(|setting| setting.key == "client.type");
        let kind = given.map_or(Ok(Type::Default), Type::of)?;
        let (options, unknown) = Options::parse("client", &OPTIONS, &[], settings)?;
        unknown.iter().for_each(|warning| tracing::warn!(%warning, "client properties"));
        let mut hosts = hosts(&options, kind)?;
        let way = match kind {
            Type::Thrift => Way::Thrift(Box::new(hosts.swap_remove(0))),
            Type::Default => Way::Default(Box::new(hosts.swap_remove(0))),
            Type::Failover => {
                let given = options.find("max-attempts").map(|_| options.int("max-attempts")).transpose()?;
                let max_attempts = given.unwrap_or(hosts.len());
                Way::Failover(Failover::new(hosts, max_attempts))
            }
            Type::LoadBalance if hosts.len() < 2 => {
                let problem = format!("expected two hosts or more, got {:?}", options.text("hosts")?);
                return Err(options.refuse("hosts", problem));
            }
            Type::LoadBalance => {
                let random = options.text("host-selector")?.eq_ignore_ascii_case("RANDOM");
                let order = if random { Order::Random(Default::default()) } else { Order::RoundRobin };
                let backoff = options.bool("backoff")?.then(|| options.millis("maxBackoff")).transpose()?;
                Way::LoadBalance(LoadBalance::new(hosts, order, backoff))
            }
        };
        let batch_size = match options.int("batch-size")? {
            0 => DEFAULT_BATCH_SIZE,
            given => given,
        };
        Ok(Self { batch_size, way })
    }
}

/// `client.type`.
#[derive(Debug, Clone, Copy)]
enum Type {
    Default,
    Failover,
    LoadBalance,
    Thrift,
}

impl Type {
    fn of(setting: &Setting) -> Result<Self> {
        let given = setting.value.as_str();
        let word = given.strip_prefix(FLUME_PACKAGE).unwrap_or(given);
        if let Some((_, found)) = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
            return Ok(*found);
        }
        let words: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        let hint =
            nearest(given, words.iter().copied()).map_or(String::new(), |near| format!("; did you mean {near}?"));
        let problem = format!("expected one of {}, got {given:?}{hint}", words[..4].join(", "));
        Err(Error::config(&setting.place, problem))
    }
}

fn hosts(options: &Options, kind: Type) -> Result<Vec<Host>> {
    if options.bool("kerberos")? {
        return Err(options.refuse("kerberos", "true is not built in; use ssl = true between trusted machines"));
    }
    let tls = tls::connector(options)?;
    let deflate = options.text("compression-type")?.eq_ignore_ascii_case("deflate");
    let deflate = if deflate { Some(options.int("compression-level")?) } else { None };
    let is_binary = options.text("protocol")?.eq_ignore_ascii_case("binary");
    let encoding = if is_binary { Encoding::Binary } else { Encoding::Compact };
    let connect_timeout = time_out(options, "connect-timeout")?;
    let request_timeout = time_out(options, "request-timeout")?;
    let addresses: HashMap<String, Setting> =
        options.under("hosts.").map(|setting| (setting.key.clone(), setting)).collect();
    let names = options.list("hosts");
    if names.is_empty() {
        return Err(options.refuse("hosts", "expected the names of one host or more, got nothing"));
    }
    let host = |name: &&str| {
        let Some(Setting { value, place, .. }) = addresses.get(*name) else {
            return Err(Error::config(format_args!("hosts.{name}"), "missing; expected host:port"));
        };
        let (host, port) = address(value).ok_or_else(|| {
            Error::config(place, format_args!("expected host:port with a port in 1..=65535, got {value:?}"))
        })?;
        Ok(Host::new(match kind {
            Type::Thrift => {
                // The service knows no compression; Flume's client does not look at the property either.
                let wrapping = Wrapping { tls: tls.clone(), deflate: None };
                host::Settings::Thrift(ThriftSettings {
                    host,
                    port,
                    connect_timeout,
                    request_timeout,
                    wrapping,
                    encoding,
                })
            }
            Type::Default | Type::Failover | Type::LoadBalance => {
                let wrapping = Wrapping { tls: tls.clone(), deflate };
                let protocol = avro_event::protocol();
                host::Settings::Avro(ClientSettings {
                    host,
                    port,
                    connect_timeout,
                    request_timeout,
                    wrapping,
                    protocol,
                })
            }
        }))
    };
    names.iter().map(host).collect()
}

/// `host:port`; an IPv6 address stands in brackets.
fn address(value: &str) -> Option<(String, u16)> {
    let (host, port) = value.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.or_else(|| (!host.contains(':')).then_some(host))?.trim();
    let port = port.trim().parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn time_out(options: &Options, key: &str) -> Result<Duration> {
    let given = options.millis(key)?;
    Ok(if given < LEAST_TIMEOUT { DEFAULT_TIMEOUT } else { given })
}

/// Names first, then Flume's classes.
const TYPES: [(&str, Type); 8] = [
    ("default", Type::Default),
    ("default_failover", Type::Failover),
    ("default_loadbalance", Type::LoadBalance),
    ("thrift", Type::Thrift),
    ("NettyAvroRpcClient", Type::Default),
    ("FailoverRpcClient", Type::Failover),
    ("LoadBalancingRpcClient", Type::LoadBalance),
    ("ThriftRpcClient", Type::Thrift),
];
const FLUME_PACKAGE: &str = "org.apache.flume.api.";
/// As Flume's.
const DEFAULT_BATCH_SIZE: usize = 100;
/// Flume replaces shorter ones.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn refused(properties: &[(&str, &str)]) -> String {
        Plan::of(settings(properties.iter().copied())).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_used_is_told_with_place_value_and_remedy() {
        let host = ("hosts.a", "127.0.0.1:1");
        for (properties, wanted) in [
            (&[][..], "client.hosts: missing; expected words separated by spaces: Names of the hosts, in their order."),
            (&[("hosts", "a b"), host], "hosts.b: missing; expected host:port"),
            (&[("hosts", "a"), ("hosts.a", "x")], "hosts.a: expected host:port with a port in 1..=65535, got \"x\""),
            (
                &[("hosts", "a"), ("hosts.a", "::1:7")],
                "hosts.a: expected host:port with a port in 1..=65535, got \"::1:7\"",
            ),
            (
                &[("hosts", "a"), host, ("batch-size", "x")],
                "batch-size: expected a whole number in 0..=4294967295, got \"x\"",
            ),
            (
                &[("hosts", "a"), host, ("client.type", "default_failovr")],
                "client.type: expected one of default, default_failover, default_loadbalance, thrift, got \"default_failovr\"; did you mean default_failover?",
            ),
            // Whatever else is missing.
            (
                &[("client.type", "foo")],
                "client.type: expected one of default, default_failover, default_loadbalance, thrift, got \"foo\"",
            ),
            (
                &[("hosts", "a"), host, ("client.type", "thrift"), ("protocol", "json")],
                "protocol: expected one of compact, binary, got \"json\"",
            ),
            (
                &[("hosts", "a"), host, ("client.type", "thrift"), ("kerberos", "true")],
                "kerberos: true is not built in; use ssl = true between trusted machines",
            ),
            (
                &[("hosts", "a"), host, ("client.type", "default_loadbalance")],
                "hosts: expected two hosts or more, got \"a\"",
            ),
            (
                &[("hosts", "a"), host, ("ssl", "true"), ("truststore", "/none")],
                "truststore: expected a file of PEM or PKCS12 that this user may read, got \"/none\": No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(refused(properties), wanted);
        }
    }

    #[test]
    fn a_file_tells_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client.properties");
        std::fs::write(&file, "hosts = h1\nhosts.h1 = localhost:4141\nconnect-timeout = soon\n").unwrap();
        let error = Plan::of(load(&file).unwrap()).unwrap_err().to_string();
        let wanted = format!("{}:3: connect-timeout: expected a whole number of milliseconds", file.display());
        assert!(error.starts_with(&wanted), "{error}");
    }

    #[test]
    fn hosts_may_be_ipv6_addresses_and_types_flumes_classes() {
        assert_eq!(address("[::1]:7").unwrap(), ("::1".to_owned(), 7));
        let class = ("client.type", "org.apache.flume.api.FailoverRpcClient");
        let plan = Plan::of([of_host("::1", 7), settings([class])].concat()).unwrap();
        assert!(matches!(plan.way, Way::Failover(_)));
        assert_eq!(plan.batch_size, 100);
    }
}

//! Every option of every component that comes with Millstream, given a wrong value.

use millstream_core::{Kind, OptionSpec, Spec};

use super::checking::{checked, said};
use super::probe::Probe;
use super::{counting, start};
use crate::{Registry, Standing};

/// Where a component of a kind stands in a configuration; what must be written beside it.
struct Place {
    prefix: &'static str,
    listed: &'static str,
}

const SOURCE: Place = Place { prefix: "a1.sources.r2", listed: "a1.sources = r1 r2\na1.sources.r2.channels = c1" };
const CHANNEL: Place =
    Place { prefix: "a1.channels.c3", listed: "a1.channels = c1 c2 c3\na1.sources.r1.channels = c1 c2 c3" };
const SINK: Place = Place { prefix: "a1.sinks.k2", listed: "a1.sinks = k1 k2\na1.sinks.k2.channel = c1" };
const INTERCEPTOR: Place = Place { prefix: "a1.sources.r2.interceptors.i9", listed: SECOND_SOURCE };
const SELECTOR: Place = Place { prefix: "a1.sources.r2.selector", listed: SECOND_SOURCE };
const GROUP: Place =
    Place { prefix: "a1.sinkgroups.g1.processor", listed: "a1.sinkgroups = g1\na1.sinkgroups.g1.sinks = k1" };
const SECOND_SOURCE: &str = "a1.sources = r1 r2\na1.sources.r2.channels = c1\na1.sources.r2.type = seq
    a1.sources.r2.interceptors = i9\na1.sources.r2.interceptors.i9.type = timestamp";

/// Options that any text is right for: names of headers, what is written into names and bodies, what is looked for on this
/// machine or asked for by a name when the component runs.
const ANY: &[&str] = &[
    "bind",
    "host",
    "hostname",
    "hosts",
    "command",
    "shell",
    "keepFields",
    "clientIPHeader",
    "clientHostnameHeader",
    "remoteAddress",
    "portHeader",
    "headers.*",
    "fileHeaderKey",
    "basenameHeaderKey",
    "fileSuffix",
    "spoolDir",
    "trackerDir",
    "positionFile",
    "replaceString",
    "withName",
    "fromList",
    "hostHeader",
    "headerName",
    "header",
    "key",
    "value",
    "prefix",
    "checkpointDir",
    "dataDirs",
    "sink.directory",
    "hdfs.filePrefix",
    "hdfs.fileSuffix",
    "hdfs.inUsePrefix",
    "hdfs.inUseSuffix",
    "hdfs.proxyUser",
    "exclude-cipher-suites",
    "excludeProtocols",
    "keystorePassword",
    "keystore-password",
    "keystore-type",
    "truststore-password",
    "truststore-type",
];

/// Of an option that takes text: its key; a value that is wrong; what is given beside it; what is said.
type Row = (&'static str, &'static str, &'static [&'static str], &'static str);

const WRONG: &[Row] = &[
    ("format.regex", "a(b", &[], "expected a regular expression"),
    ("format.search", "a(b", &["format.regex = x"], "expected a regular expression"),
    ("format.replace", "$9", &["format.regex = x", "format.search = y"], "expected a replacement"),
    ("format.dateFormat", "yyyy ww", &["format.regex = x"], "expected letters"),
    ("filegroups", "other", &["serializers.g.name = h"], "expected"),
    ("filegroups.g", "/var/log/a(b", &[], "expected a regular expression"),
    ("handler", "NoHandler", &[], "expected"),
    ("charset", "no-such-set", &[], "expected"),
    ("encoding", "no-such-set", &[], "expected"),
    ("inputCharset", "no-such-set", &[], "expected"),
    ("charset.default", "no-such-set", &[], "expected"),
    ("charset.port.5140", "no-such-set", &[], "expected"),
    ("ports", "http", &[], "expected"),
    ("includePattern", "a(b", &[], "expected a regular expression"),
    ("ignorePattern", "a(b", &[], "expected a regular expression"),
    ("ipFilterRules", "allow:all:*", &["ipFilter = true"], "expected"),
    ("regex", "a(b", &[], "expected a regular expression"),
    ("searchPattern", "a(b", &[], "expected a regular expression"),
    ("matching", "a(b", &[], "expected a regular expression"),
    ("fromListSeparator", "a(b", &[], "expected a regular expression"),
    ("serializers", "other", &["serializers.g.name = h"], "expected"),
    ("serializers.g.type", "other", &["serializers.g.name = h"], "expected"),
    ("optional", "c9", &[], "expected"),
    ("optional.v", "c9", &[], "expected"),
    ("mapping.v", "c9", &[], "expected"),
    ("default", "c9", &[], "expected"),
    ("encryption.activeKey", "k", &[], "encryption"),
    ("encryption.cipherProvider", "k", &[], "encryption"),
    ("encryption.keyProvider", "k", &[], "encryption"),
    ("encryption.keyProvider.keyStoreFile", "k", &[], "encryption"),
    ("encryption.keyProvider.keyStorePasswordFile", "k", &[], "encryption"),
    ("encryption.keyProvider.keys", "k", &[], "encryption"),
    ("encryption.keyProvider.keys.k.passwordFile", "k", &[], "encryption"),
    ("sink.serializer", "NoSuchThing", &[], "expected"),
    ("sink.serializer.appendNewline", "perhaps", &[], "expected true or false"),
    ("sink.pathManager.prefix", "../x", &[], "expected the beginning of a file name"),
    ("sink.pathManager.extension", "a/b", &[], "expected"),
    ("sink.pathManager", "NoSuchThing", &[], "expected"),
    ("channel", "c9", &[], "expected"),
    ("hdfs.path", "ftp://host/dir", &[], "expected"),
    ("hdfs.codeC", "NoSuchThing", &[], "expected"),
    ("hdfs.writeFormat", "NoSuchThing", &[], "expected"),
    ("serializer", "NoSuchThing", &["hdfs.fileType = DataStream"], "expected"),
    (
        "serializer.appendNewline",
        "perhaps",
        &["hdfs.fileType = DataStream", "serializer = text"],
        "expected true or false",
    ),
    ("hdfs.timeZone", "Nowhere/City", &[], "expected"),
    ("hdfs.kerberosPrincipal", "flume", &["hdfs.path = hdfs://host/dir"], "expected hdfs.kerberosKeytab"),
    (
        "hdfs.kerberosKeytab",
        "/no/such",
        &["hdfs.path = hdfs://host/dir", "hdfs.kerberosPrincipal = p@R"],
        "expected a file that can be read",
    ),
    ("keystore", "/no/such.pem", &["ssl = true"], "expected"),
    ("truststore", "/no/such.pem", &["ssl = true"], "expected"),
    ("include-protocols", "TLSv9", &["ssl = true"], "expected"),
    ("exclude-protocols", "TLSv1.2 TLSv1.3", &["ssl = true"], "expected"),
    ("include-cipher-suites", "NO_SUCH_SUITE", &["ssl = true"], "expected"),
];

/// Every kind of component, with what `$call` makes of its declarations.
macro_rules! each_kind {
    ($call:ident) => {{
        let registry = Registry::standard();
        [
            $call(registry.sources(), &SOURCE),
            $call(registry.channels(), &CHANNEL),
            $call(registry.sinks(), &SINK),
            $call(registry.interceptors(), &INTERCEPTOR),
            $call(registry.selectors(), &SELECTOR),
            $call(registry.groups(), &GROUP),
        ]
    }};
}

/// A value that is none of this kind; `None` where any text is one.
fn wrong(kind: Kind) -> Option<&'static str> {
    match kind {
        // An empty value is ignored before anyone looks at its kind.
        Kind::Text | Kind::List | Kind::Path | Kind::Host => None,
        Kind::Port => Some("70000"),
        Kind::Bytes | Kind::Millis | Kind::Seconds => Some("-1"),
        Kind::Bool | Kind::Int(..) | Kind::Choice(_) => Some("no such thing"),
    }
}

fn key_of(option: &OptionSpec) -> String {
    option.key.replace('*', "x")
}

/// A value for an option that must be given.
fn right(option: &OptionSpec) -> &'static str {
    match (option.key, option.kind) {
        ("regex", _) => "(a)",
        ("hdfs.path", _) => "file:///nowhere",
        ("ports", _) => "5140",
        ("channel", _) => "c2",
        (_, Kind::Host) => "127.0.0.1",
        (_, Kind::Path) => ".",
        (_, Kind::Text | Kind::List) => "g",
        _ => "5140",
    }
}

/// A wrong value for every option that takes a number or a word of several.
fn typed<B>(specs: &[&Spec<B>], place: &Place) -> usize {
    let mut options = 0;
    let Place { prefix, listed } = place;
    for spec in specs {
        for option in spec.options {
            let Some(value) = wrong(option.kind) else { continue };
            let key = format!("{prefix}.{}", key_of(option));
            let report = checked("a1", &format!("{listed}\n{prefix}.type = {}\n{key} = {value}", spec.name));
            let (standing, reason) = said(&report, &key);
            assert_eq!(standing, Standing::Broken, "{} {key} = {value}: {reason}", spec.name);
            assert!(reason.contains("expected ") && reason.contains(&format!("got {value:?}")), "{key}: {reason}");
            assert_eq!(said(&report, "a1.sources.r1.type").0, Standing::Honoured, "the others run");
            options += 1;
        }
    }
    options
}

/// A wrong value for every option that takes text; gives the rows that were used.
fn texts<B>(specs: &[&Spec<B>], place: &Place) -> Vec<&'static Row> {
    let mut used = Vec::new();
    for spec in specs {
        let is_text = |option: &&OptionSpec| wrong(option.kind).is_none() && option.why_without_effect().is_none();
        for option in spec.options.iter().filter(is_text) {
            let rows: Vec<_> = WRONG.iter().filter(|row| option.is_called(row.0)).collect();
            let (key, name, help) = (option.key, spec.name, option.help);
            assert!(rows.is_empty() == ANY.contains(&key), "is any text right for {key} of {name}? {help}");
            rows.iter().for_each(|row| text(spec, place, row));
            used.extend(rows);
        }
    }
    used
}

/// What a row says happens, with what must be given beside it.
fn text<B>(spec: &Spec<B>, Place { prefix, listed }: &Place, (key, value, beside, wanted): &Row) {
    let required = spec.options.iter().filter(|option| option.required);
    let given: String = required.map(|option| format!("{prefix}.{} = {}\n", option.key, right(option))).collect();
    let beside: String = beside.iter().map(|line| format!("{prefix}.{line}\n")).collect();
    let (name, key) = (spec.name, format!("{prefix}.{key}"));
    let report = checked("a1", &format!("{listed}\n{prefix}.type = {name}\n{given}{beside}{key} = {value}"));
    let (standing, reason) = said(&report, &key);
    let at_key = standing == Standing::Broken && reason.contains(wanted);
    // What is missing because of it has no line of its own.
    let elsewhere = report.problems.iter().find(|problem| problem.contains(value) && problem.contains(wanted));
    assert!(at_key || elsewhere.is_some(), "{name}: {key} = {value}: {standing:?} {reason} {:?}", report.problems);
    assert_eq!(said(&report, "a1.sources.r1.type").0, Standing::Honoured, "the others run");
}

#[test]
fn every_option_of_every_component_refuses_a_wrong_value_at_its_place_with_what_is_wanted() {
    let refused = each_kind!(typed);
    assert!(refused[..4].iter().all(|options| *options > 5), "{refused:?}");
}

#[test]
fn every_option_that_takes_text_takes_any_or_says_what_is_wanted() {
    let used = each_kind!(texts).concat();
    let unused: Vec<_> = WRONG.iter().filter(|row| !used.contains(row)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// One component of this kind for each wrong value, under `prefix` and a number: their names, properties, and keys.
fn broken<B>(specs: &[&Spec<B>], prefix: &str, connected: &str) -> (String, String, Vec<String>) {
    let (mut names, mut properties, mut keys) = (String::new(), String::new(), Vec::new());
    for spec in specs {
        for option in spec.options {
            let Some(value) = wrong(option.kind) else { continue };
            let name = format!("w{}", keys.len());
            let key = format!("{prefix}.{name}.{}", key_of(option));
            names += &format!(" {name}");
            properties +=
                &format!("{prefix}.{name}.type = {}\n{prefix}.{name}.{connected}\n{key} = {value}\n", spec.name);
            keys.push(key);
        }
    }
    (names, properties, keys)
}

#[tokio::test]
async fn beside_one_component_of_each_wrong_value_the_others_run() {
    let registry = Registry::standard();
    let probe = Probe::new("beside_broken_ones", []);
    let sources = broken(registry.sources(), "a1.sources", "channels = c1");
    let sinks = broken(registry.sinks(), "a1.sinks", "channel = c1");
    let more = format!("a1.sources = r1{}\na1.sinks = k1{}\n{}{}", sources.0, sinks.0, sources.1, sinks.1);
    let agent = start(&counting(&probe, &more)).await.unwrap();
    probe.until_delivered(100).await;
    for key in sources.2.iter().chain(&sinks.2) {
        let told = |warning: &&String| warning.contains(&format!("{key}: expected ")) && warning.contains("is not run");
        assert_eq!(agent.warnings().iter().filter(told).count(), 1, "{key}");
    }
    assert_eq!(agent.path().matches('→').count(), 2, "{}", agent.path());
    agent.stop().await.unwrap();
}

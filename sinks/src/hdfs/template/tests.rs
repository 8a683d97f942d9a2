use std::path::Path;

use bytes::Bytes;
use millstream_core::{Batch, CommonHeader, Kind, OptionSpec, Options, optional, unset};
use millstream_testkit::setting;
use proptest::prelude::*;

use super::*;

const SPECS: &[OptionSpec] = &[
    unset("hdfs.timeZone", Kind::Text, ""),
    optional("hdfs.round", Kind::Bool, "false", ""),
    optional("hdfs.roundValue", Kind::Int(1, 60), "10", ""),
    optional("hdfs.roundUnit", Kind::Choice(&["second", "minute", "hour"]), "minute", ""),
];

fn filler(zone: &str, round: &str, local_time: bool) -> Filler {
    filler_of(&[("hdfs.timeZone", zone), ("hdfs.round", round)], local_time)
}

fn filler_of(settings: &[(&str, &str)], local_time: bool) -> Filler {
    let settings = settings.iter().map(|(key, value)| setting(key, value));
    let (options, _) = Options::parse("a1.sinks.k1", SPECS, &[], settings).expect("options");
    Filler::new(Calendar::from_options(&options).expect("a calendar"), local_time)
}

fn here() -> Result<LocalHost> {
    Ok(LocalHost { name: "box".into(), address: std::net::Ipv4Addr::new(10, 0, 0, 7).into() })
}

fn template(text: &str) -> Template {
    Template::parse(text, here).expect("a template")
}

fn event(headers: &[(&str, &[u8])]) -> Batch {
    headers.iter().fold(Batch::from_bodies(["x"]), |batch, (key, value)| {
        batch.with_common_header(CommonHeader {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value),
            keep_existing: false,
        })
    })
}

fn filled(filler: &mut Filler, dir: &str, name: &str, headers: &[(&str, &[u8])]) -> String {
    let mut out = String::new();
    filler.fill(&template(dir), &template(name), event(headers).event(0), NOW, &mut out);
    out
}

/// 2014-03-01 12:35:47.250 UTC.
const NOW: i64 = 1_393_677_347_250;
const SENT: &[(&str, &[u8])] = &[("timestamp", b"1393677347250"), ("host", b"web-1"), ("a.b-c_d", b"v")];

fn named(template: &str) -> String {
    let path = filled(&mut filler("UTC", "false", false), "/base", template, SENT);
    path.strip_prefix("/base/").expect("within the base").to_owned()
}

#[test]
fn every_escape_stands_for_what_flume_makes_of_it() {
    for (template, text) in [
        ("%{host}-%{a.b-c_d}%{none}.", "web-1-v."),
        ("%t %s", "1393677347250 1393677347"),
        ("%a %A %b %B", "Sat Saturday Mar March"),
        ("%c", "Sat Mar 1 12:35:47 2014"),
        ("%d %e %D", "01 1 03/01/14"),
        ("%H %I %k %l", "12 12 12 12"),
        ("%j %m %n %M %S", "060 03 3 35 47"),
        ("%p %y %Y %z", "PM 14 2014 +0000"),
        ("100%% %[localhost] %[ip]", "100% box 10.0.0.7"),
        ("%q%1%_x %- %{no name} %", "x %- %{no name} %"),
    ] {
        assert_eq!(named(template), text, "{template}");
    }
    let early = filled(&mut filler("UTC", "false", false), "/b", "%H %k %I %l", &[("timestamp", b"1393639200000")]);
    assert_eq!(early, "/b/02 2 02 2");
}

/// Recorded by `tests/golden/flume/Golden.java`.
#[test]
fn paths_are_those_that_flume_makes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/flume/paths.tsv");
    let expected = std::fs::read_to_string(file).expect("golden lines");
    let mut compared = 0;
    for line in expected.lines() {
        let [text, zone, round, timestamp, path] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (value, unit) = round.split_once(' ').unwrap_or(("1", "second"));
        let settings = [
            ("hdfs.timeZone", zone),
            ("hdfs.round", if round == "none" { "false" } else { "true" }),
            ("hdfs.roundValue", value),
            ("hdfs.roundUnit", unit),
        ];
        let mut filler = filler_of(&settings, false);
        let headers: &[(&str, &[u8])] = &[("timestamp", timestamp.as_bytes()), ("host", b"web-1"), ("a.b-c_d", b"v")];
        assert_eq!(filled(&mut filler, "/base", text, headers), format!("/base/{path}"), "{line}");
        compared += 1;
    }
    assert!(compared > 200, "{compared} lines");
}

#[test]
fn parts_of_a_time_are_rounded_and_in_the_zone_and_the_milliseconds_are_not() {
    let path = filled(&mut filler("Asia/Kolkata", "true", false), "/b/%Y%m%d/%H%M", "%S-%s-%t-%z", SENT);
    assert_eq!(path, "/b/20140301/1800/00-1393677000-1393677347250-+0530");
}

#[test]
fn texts_that_are_kept_for_a_second_do_not_outlive_it() {
    let mut filler = filler("UTC", "false", false);
    let mut at = |millis: &[u8]| filled(&mut filler, "/b", "%M%S", &[("timestamp", millis)]);
    assert_eq!(
        [at(b"59999"), at(b"60000"), at(b"60999"), at(b"59000"), at(b"-1")],
        ["/b/0059", "/b/0100", "/b/0100", "/b/0059", "/b/5959"]
    );
}

#[test]
fn an_event_without_a_time_takes_that_of_writing_and_is_counted() {
    let mut filler = filler("UTC", "false", false);
    for headers in [&[][..], &[("timestamp", &b"soon"[..])], &[("timestamp", b"")]] {
        assert_eq!(filled(&mut filler, "/b/%Y-%m", "f", headers), "/b/2014-03/f");
    }
    assert_eq!(filler.without_time, 3);
    assert_eq!(filled(&mut filler, "/b", "%{x}", &[]), "/b/", "nobody asked for a time");
    assert_eq!(filler.without_time, 3);
}

#[test]
fn local_time_stands_for_that_of_the_event() {
    let mut filler = filler("UTC", "false", true);
    assert_eq!(filled(&mut filler, "/b/%s", "f", &[("timestamp", b"1000")]), "/b/1393677347/f");
    assert_eq!(filler.without_time, 0);
}

#[test]
fn values_of_headers_stay_below_the_fixed_directory() {
    let long = "n".repeat(300);
    let slashes = "a/".repeat(1000);
    for (value, path) in [
        ("../../etc", "/base/x/%2E%2E/%2E%2E/etc/f"),
        ("/etc/passwd", "/base/x/etc/passwd/f"),
        ("a//b/", "/base/x/a/b/f"),
        (".", "/base/x/%2E/f"),
        ("", "/base/x/f"),
        ("a\0b\nc", "/base/x/a%00b%0Ac/f"),
        ("..%2F", "/base/x/..%2F/f"),
    ] {
        let mut filler = filler("UTC", "false", false);
        assert_eq!(filled(&mut filler, "/base/x/%{h}", "f", &[("h", value.as_bytes())]), path, "{value:?}");
    }
    let mut filler = filler("UTC", "false", false);
    let cut = filled(&mut filler, "/base/%{h}", "f", &[("h", long.as_bytes())]);
    let other = filled(&mut filler, "/base/%{h}", "f", &[("h", format!("{long}n").as_bytes())]);
    assert_eq!(cut.split('/').nth(2).map(str::len), Some(MOST_NAME_BYTES));
    assert_ne!(cut, other, "two long names stay two");
    assert!(filled(&mut filler, "/base/%{h}", "f", &[("h", slashes.as_bytes())]).len() < 300);
    assert!(filler.tamed >= 3);
}

#[test]
fn a_name_may_not_be_put_together_from_harmless_pieces_into_another() {
    let mut filler = filler("UTC", "false", false);
    assert_eq!(filled(&mut filler, "/base/.%{h}/x", "f", &[("h", b".")]), "/base/%2E%2E/x/f");
    assert_eq!(filled(&mut filler, "/base", "%{h}/%{h}/f", &[("h", b"..")]), "/base/%2E%2E/%2E%2E/f");
    assert_eq!(filled(&mut filler, "/base/..", "%{h}", &[("h", b"x")]), "/base/../x", "what is configured is wanted");
}

#[test]
fn what_can_stand_for_nothing_is_refused() {
    let problem = Template::parse("/x/%[host]", here).expect_err("refused");
    assert_eq!(problem, "expected %[localhost], %[IP] or %[FQDN], got %[host]");
    let unknown = || Err(Error::net("look up", "h", std::io::ErrorKind::NotFound.into()));
    assert!(Template::parse("/x/%[IP]", unknown).is_err());
    assert!(Template::parse("/x/%Y", unknown).is_ok(), "nobody asked for the host");
}

proptest! {
    #[test]
    fn no_header_leads_out_of_the_base(
        one in "(\\.|/|\\PC|\0){0,12}", two in prop::collection::vec(any::<u8>(), 0..12), shape in 0..4_usize,
    ) {
        let (dir, name) = [
            ("/base/%{one}", "%{two}"),
            ("/base/a%{one}/%{two}.x", "f"),
            ("/base", "%{one}%{two}"),
            ("/base/%{one}%{two}", "f%{one}"),
        ][shape];
        let mut filler = filler("UTC", "false", false);
        let path = filled(&mut filler, dir, name, &[("one", one.as_bytes()), ("two", &two)]);
        prop_assert!(path.starts_with("/base/"), "{path:?}");
        prop_assert!(path.split('/').all(|name| name != ".." && name != "." && name.len() <= 255), "{path:?}");
        prop_assert!(!path.chars().any(char::is_control), "{path:?}");
    }

    #[test]
    fn any_time_is_written(millis: i64) {
        let text = millis.to_string();
        let path = filled(&mut filler("America/New_York", "true", false), "/b", "%Y%m%d%H%M%s", &[("timestamp", text.as_bytes())]);
        prop_assert!(path.len() > 10);
    }
}

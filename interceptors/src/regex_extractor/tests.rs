use millstream_core::CommonHeader;
use millstream_testkit::contract::interceptor::Subject;
use millstream_testkit::interceptor_contract;

use super::*;
use crate::tests::{headers, options};

interceptor_contract!(Subject {
    spec: &SPEC,
    settings: &[("regex", "(\\d)"), ("serializers", "s1"), ("serializers.s1.name", "digit")],
});

fn extractor(settings: &[(&str, &str)]) -> Result<RegexExtractor> {
    RegexExtractor::from_options(&options(&SPEC, settings)?)
}

fn extracted(settings: &[(&str, &str)], body: &str) -> String {
    let batch = extractor(settings).expect("built").intercept(Batch::from_bodies([body])).expect("intercepted").batch;
    assert_eq!(batch.event(0).body(), body.as_bytes());
    headers(&batch).remove(0)
}

const TWO: &[(&str, &str)] = &[
    ("regex", "(\\d):(\\d):?(\\d)?"),
    ("serializers", "s1 s2 s3"),
    ("serializers.s1.name", "one"),
    ("serializers.s2.name", "two"),
    ("serializers.s2.type", "org.apache.flume.interceptor.RegexExtractorInterceptorPassThroughSerializer"),
    ("serializers.s3.name", "three"),
    ("serializers.s3.type", "default"),
];

#[test]
fn groups_become_headers_of_the_first_match() {
    assert_eq!(extracted(TWO, "1:2:3.4foobar5"), "one=1 three=3 two=2");
    assert_eq!(extracted(TWO, "x 7:8 y 1:2:3"), "one=7 two=8", "a group that took no part gives no header");
    assert_eq!(extracted(TWO, "nothing"), "");
}

#[test]
fn groups_without_a_serializer_are_passed_over() {
    let settings = [("regex", "(a)(b)"), ("serializers", "s1"), ("serializers.s1.name", "first")];
    assert_eq!(extracted(&settings, "ab"), "first=a");
}

#[test]
fn times_become_milliseconds_since_1970() {
    let settings = [
        ("regex", "^([^,]+),"),
        ("serializers", "s1"),
        ("serializers.s1.type", MILLIS),
        ("serializers.s1.name", "timestamp"),
        ("serializers.s1.pattern", "yyyy-MM-dd HH:mmZ"),
    ];
    assert_eq!(extracted(&settings, "2012-10-18 18:47+0200, rest"), "timestamp=1350578820000");
    assert_eq!(extracted(&settings, "2012-13-18 18:47+0200, rest"), "", "no month, no header");
}

#[test]
fn a_header_that_was_there_gets_the_new_value() {
    let had = CommonHeader { key: "one".into(), value: "old".into(), keep_existing: false };
    let batch = Batch::from_bodies(["1:2", "none"]).with_common_header(had);
    let batch = extractor(TWO).expect("built").intercept(batch).expect("intercepted").batch;
    assert_eq!(headers(&batch), ["one=1 two=2", "one=old"]);
}

#[test]
fn what_cannot_be_a_serializer_is_refused_at_its_place() {
    let with = |more: &[(&str, &str)]| {
        let settings = [&[("regex", "(a)"), ("serializers", "s1")][..], more].concat();
        extractor(&settings).expect_err("refused").to_string()
    };
    let place = "a1.sources.r1.interceptors.i1.serializers.s1";
    assert_eq!(with(&[]), format!("{place}.name: missing; expected the name of a header"));
    let name = ("serializers.s1.name", "n");
    let error = with(&[name, ("serializers.s1.type", "com.example.Mine")]);
    assert!(error.starts_with(&format!("flume.conf:9: {place}.type: expected DEFAULT, ")), "{error}");
    assert!(error.ends_with("got \"com.example.Mine\""), "{error}");
    let error = with(&[name, ("serializers.s1.type", MILLIS)]);
    assert_eq!(error, format!("{place}.pattern: missing; expected how the time is written"));
    let error = with(&[name, ("serializers.s1.type", MILLIS), ("serializers.s1.pattern", "xxxx")]);
    assert!(error.contains(&format!("{place}.pattern: ")) && error.contains("character 1"), "{error}");
}

//! What is said of a configuration that does not run.

use super::*;
use crate::{AgentReport, Standing};

const CONFIG: &str = "\
a1.sources = r1
a1.channels = c1 c2
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.channels = c1 c2
a1.sources.r1.backoffSleepIncrement = 5
a1.sources.r1.batchsise = 5
a1.sources.r1.interceptors = i1
a1.sources.r1.interceptors.i1.type = timestamp
a1.sources.r1.interceptors.i1.preserveExistng = true
a1.sources.r1.selector.optional = c2
a1.channels.c1.type = memory
a1.channels.c1.byteCapacity = 1000
a1.channels.c2.type = file
a1.channels.c2.checkpointDir = /nowhere/at/all
a1.channels.c2.dataDirs = /nowhere/at/all/data,/nowhere/at/all/more
a1.sinks.k1.type = org.apache.flume.sink.NullSink
a1.sinks.k1.channel = c1
b1.sources = r1
";

pub(super) fn checked(name: &str, more: &str) -> AgentReport {
    let builder = Agent::builder().name(name).config_text(format!("{CONFIG}{more}"));
    builder.check().unwrap().agents.remove(0)
}

/// What is said of one key.
pub(super) fn said(report: &AgentReport, key: &str) -> (Standing, String) {
    let found = report.keys.iter().rfind(|found| found.key == key).unwrap();
    (found.standing, found.reason.clone())
}

#[test]
fn every_key_is_honoured_different_ignored_or_unknown_with_the_reason() {
    let report = checked("a1", "");
    assert_eq!(report.keys.len(), 18, "every key of the agent, and none of others");
    assert_eq!(report.problems, [""; 0]);
    for (key, standing, reason) in [
        ("a1.sources", Standing::Honoured, ""),
        ("a1.sources.r1.type", Standing::Honoured, ""),
        ("a1.sources.r1.selector.optional", Standing::Honoured, ""),
        (
            "a1.sources.r1.interceptors.i1.preserveExistng",
            Standing::Unknown,
            "no effect; did you mean preserveExisting?",
        ),
        ("a1.sources.r1.batchsise", Standing::Unknown, "no effect; did you mean batchSize?"),
        ("a1.channels.c1.byteCapacity", Standing::Different, "Flume: `byteCapacity` counts bodies"),
        ("a1.channels.c2.dataDirs", Standing::Different, "here: locks all, uses the first"),
    ] {
        let (found, told) = said(&report, key);
        assert_eq!(found, standing, "{key}: {told}");
        assert!(told.contains(reason) && told.is_empty() == reason.is_empty(), "{key}: {told}");
    }
    let (standing, why) = said(&report, "a1.sources.r1.backoffSleepIncrement");
    assert!(matches!(standing, Standing::Ignored | Standing::Different), "{why}");
    let key = &report.keys[6];
    assert_eq!((key.place.as_str(), key.type_name.as_str()), ("configuration:7", "seq"));
    let file = report.differences.iter().filter(|one| one.component == "a1.channels.c2");
    assert!(file.clone().any(|one| one.difference.flume.contains("own files")), "of components, too");
    assert!(!file.clone().any(|one| one.difference.flume.contains("`dataDirs`")), "but none twice");
    assert!(!std::path::Path::new("/nowhere").exists(), "nothing is opened");
}

#[test]
fn what_cannot_run_is_broken_at_its_key() {
    for (more, key, reason) in [
        (
            "a1.channels.c1.capacity = many",
            "a1.channels.c1.capacity",
            "expected a whole number of at least 1, got \"many\"",
        ),
        ("a1.channels.c1.capacity = 5", "a1.channels.c1.transactionCapacity", "expected at most capacity, 5, got 100"),
        (
            "a1.channels.c2.encryption.activeKey = k",
            "a1.channels.c2.encryption.activeKey",
            "encryption is not built in",
        ),
        ("a1.sinks.k1.type = loger", "a1.sinks.k1.type", "there is no sink of type \"loger\"; did you mean logger?"),
        ("a1.sinks.k1.batchSize = 101", "a1.sinks.k1.batchSize", "the transactionCapacity of channel c1, got 101"),
        ("a1.sinks.k1.channel = c3", "a1.sinks.k1.channel", "there is no working channel \"c3\""),
        ("a1.sinks = k1 k2", "a1.sinks", "a1.sinks.k2 has no settings and is not run"),
        ("a1.sources.r1.selector.optional = c9", "a1.sources.r1.selector.optional", "got \"c9\""),
        ("a1.sinks.k1.type = spark", "a1.sinks.k1.port", "missing; expected"),
    ] {
        let report = checked("a1", more);
        let written = report.keys.iter().rfind(|found| found.key == key && found.standing == Standing::Broken);
        let at_key = written.is_some_and(|found| found.reason.contains(reason));
        // A key that is not written has no line of its own.
        let elsewhere = report.problems.iter().any(|problem| problem.contains(key) && problem.contains(reason));
        assert!(at_key || elsewhere, "{key}: {reason}: {report:#?}");
    }
}

#[test]
fn what_has_no_effect_says_why() {
    let more = "a1.sinks.k2.type = null\na1.sinks.k2.batchSize = 1\na1.sink.k1.type = null\na1.sinks.k1.batchSize = 3
                a1.sinks.k1.batchSize = 4\na1.sources.r1.totalEvents =\na1.sinks.k1.logEveryNEvents = ${env:NO_SUCH_VARIABLE}";
    let report = checked("a1", more);
    for (key, standing, reason) in [
        ("a1.sinks.k2.type", Standing::Ignored, "k2 is not in a1.sinks"),
        ("a1.sinks.k2.batchSize", Standing::Ignored, "a1.sinks.k2 is not run"),
        ("a1.sink.k1.type", Standing::Ignored, "got \"sink\"; did you mean sinks?"),
        ("a1.sinks.k1.batchSize", Standing::Honoured, ""),
        ("a1.sources.r1.totalEvents", Standing::Ignored, "it has no value"),
        ("a1.sinks.k1.logEveryNEvents", Standing::Broken, "expected a whole number"),
    ] {
        let (found, told) = said(&report, key);
        assert_eq!(found, standing, "{key}: {told}");
        assert!(told.contains(reason), "{key}: {told}");
    }
    let first = report.keys.iter().find(|found| found.key == "a1.sinks.k1.batchSize").unwrap();
    assert_eq!((first.standing, first.reason.as_str()), (Standing::Ignored, "replaced at configuration:24"));
}

#[test]
fn all_agents_are_checked_unless_one_is_named() {
    let report = Agent::builder().config_text(CONFIG).check().unwrap();
    let names: Vec<&str> = report.agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, ["a1", "b1"]);
    assert!(report.is_broken(), "b1 has nothing that can run");
    assert!(!Agent::builder().name("a1").config_text(CONFIG).check().unwrap().is_broken());
    let error = Agent::builder().name("c1").config_text(CONFIG).check().unwrap_err().to_string();
    assert!(error.ends_with("no agent named \"c1\"; there are a1, b1: choose one with -n"), "{error}");
    assert!(Agent::builder().config_text("x = 1").check().unwrap_err().to_string().contains("no agent"));
}

/// `more` beside a source, a file of which nothing else is wrong.
fn found(more: &str, wanted: &[(&str, Standing, &str)]) {
    let report = checked("a1", more);
    for (key, standing, reason) in wanted {
        let (found, told) = said(&report, key);
        assert!(found == *standing && told.contains(reason), "{key}: wanted {standing:?} {reason}: {report:#?}");
    }
}

#[test]
fn components_behind_a_broken_channel_are_judged() {
    found(
        "a1.channels.c1.capacity = -1\na1.channels.c2.type = fle
         a1.sources.r1.interceptors.i1.type = regex_filter\na1.sources.r1.interceptors.i1.regex = (((
         a1.sinks.k1.type = hdfs\na1.sinks.k1.hdfs.path = /x\na1.sinks.k1.hdfs.timeZone = Mars/X",
        &[
            ("a1.channels.c1.capacity", Standing::Broken, "got \"-1\""),
            ("a1.channels.c2.checkpointDir", Standing::NotJudged, "depends on configuration:21: a1.channels.c2.type"),
            ("a1.sources.r1.interceptors.i1.regex", Standing::Broken, "((("),
            ("a1.sinks.k1.hdfs.timeZone", Standing::Broken, "Mars/X"),
        ],
    );
}

#[test]
fn a_component_is_judged_beyond_its_first_error_and_each_part_of_it() {
    found(
        "a1.sources.r1.type = http\na1.sources.r1.port = 1\na1.sources.r1.handler = com.x.Foo
         a1.sources.r1.interceptors.i1.type = regex_filter\na1.sources.r1.interceptors.i1.regex = (((
         a1.sources.r1.selector.optional = c9
         a1.sinks.k1.type = hdfs\na1.sinks.k1.hdfs.path = /x\na1.sinks.k1.hdfs.fileType = Foo
         a1.sinks.k1.hdfs.timeZone = Mars/X\na1.sinks.k1.hdfs.rollTimerPoolSize = 2",
        &[
            ("a1.sources.r1.handler", Standing::Broken, "com.x.Foo"),
            ("a1.sources.r1.interceptors.i1.regex", Standing::Broken, "((("),
            ("a1.sources.r1.selector.optional", Standing::Broken, "c9"),
            ("a1.sinks.k1.hdfs.fileType", Standing::Broken, "Foo"),
            ("a1.sinks.k1.hdfs.timeZone", Standing::Broken, "Mars/X"),
            ("a1.sinks.k1.hdfs.rollTimerPoolSize", Standing::Ignored, "takes no thread"),
        ],
    );
}

#[test]
fn a_file_of_which_nothing_can_run_is_judged_all_the_same() {
    let config = "a1.sources = r1\na1.channels = c1\na1.channels.c1.type = memory\na1.sources.r1.type = seq
                  a1.sources.r1.chanels = c1\na1.sources.r1.batchSize = no";
    let report = Agent::builder().name("a1").config_text(config).check().unwrap().agents.remove(0);
    let (standing, told) = said(&report, "a1.sources.r1.chanels");
    assert_eq!((standing, told.as_str()), (Standing::Unknown, "no effect; did you mean channels?"));
    let (standing, told) = said(&report, "a1.sources.r1.type");
    assert!(standing == Standing::Broken, "{told}");
    assert!(told.ends_with("did you mean channels at configuration:5: a1.sources.r1.chanels?"), "{told}");
    assert_eq!(said(&report, "a1.sources.r1.batchSize").0, Standing::Broken);
    assert_eq!(report.problems.len(), 1, "{report:#?}");
}

#[test]
fn a_channel_that_nobody_empties_is_a_warning() {
    assert_eq!(checked("a1", "a1.sinks.k1.channel = c2").warnings.len(), 1, "c1 has no sink then");
    let warnings = checked("a1", "a1.sources.r1.channels = c1").warnings;
    assert_eq!(warnings, [""; 0], "nobody uses the other");
    let warnings = checked("a1", "").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("configuration:14: a1.channels.c2: no sink takes events from it"), "{warnings:?}");
}

#[test]
fn what_differs_belongs_to_the_component_and_to_what_was_written() {
    let report = checked(
        "a1",
        "a1.channels.c2.dataDirs = /one\na1.sinks.k1.type = avro\na1.sinks.k1.hostname = h\na1.sinks.k1.port = 1",
    );
    assert_eq!(said(&report, "a1.channels.c2.dataDirs").0, Standing::Honoured);
    let told: Vec<String> = report.differences.iter().map(|one| one.difference.sentence()).collect();
    assert!(!told.iter().any(|told| told.contains("codecs null") || told.contains("several `")), "{told:#?}");
}

/// What the comment above each key says of it: `# <standing>`, honoured where there is none.
fn wanted_standings(text: &str) -> Vec<(String, String)> {
    let (mut wanted, mut next) = (Vec::new(), "Honoured".to_owned());
    for line in text.lines() {
        match (line.strip_prefix("# "), line.split_once(" = ")) {
            (Some(standing), _) if ["different", "ignored", "unknown", "broken", "not judged"].contains(&standing) => {
                next = format!("{}{}", standing[..1].to_uppercase(), &standing[1..]).replace("t judged", "tJudged");
            }
            (None, Some((key, _))) => wanted.push((key.to_owned(), std::mem::replace(&mut next, "Honoured".into()))),
            _ => {}
        }
    }
    wanted
}

#[test]
fn every_key_of_the_golden_files_stands_as_they_say() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/check");
    for file in ["sources.properties", "sinks.properties"] {
        let path = golden.join(file);
        let wanted = wanted_standings(&std::fs::read_to_string(&path).unwrap());
        let report = Agent::builder().name("a1").config_file(&path).check().unwrap().agents.remove(0);
        assert_eq!(report.problems, [""; 0], "{file}");
        let found = report.keys.iter().map(|key| (key.key.clone(), format!("{:?}", key.standing)));
        let other: Vec<_> = found.zip(&wanted).filter(|(found, wanted)| found != *wanted).collect();
        assert!(other.is_empty() && report.keys.len() == wanted.len(), "{file}: found, wanted: {other:#?}");
        assert!(wanted.len() > 30, "{file}");
    }
}

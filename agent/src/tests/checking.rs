//! What is said of a configuration that does not run.

use super::*;
use crate::{AgentReport, Registry, Standing};

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

#[test]
fn keys_that_a_part_of_a_component_does_not_know_are_unknown_and_no_others() {
    let tail =
        "a1.sources.r1.type = TAILDIR\na1.sources.r1.filegroups = f1\na1.sources.r1.filegroups.f1 = /nowhere/x\n";
    let extract = "a1.sources.r1.interceptors.i1.type = regex_extractor\na1.sources.r1.interceptors.i1.regex = (a)
        a1.sources.r1.interceptors.i1.serializers = s1\na1.sources.r1.interceptors.i1.serializers.s1.name = x\n";
    let roll = "a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = .\n";
    let group = "a1.sinkgroups = g1\na1.sinkgroups.g1.sinks = k1\n";
    let filter = "a1.configfilters = f1\na1.configfilters.f1.type = env\n";
    for (beside, unknown, known) in [
        (tail, "a1.sources.r1.filegroups.f2", "a1.sources.r1.headers.f1.x"),
        (tail, "a1.sources.r1.headers.f2.x", "a1.sources.r1.headers.f1.x"),
        (
            extract,
            "a1.sources.r1.interceptors.i1.serializers.s1.nam",
            "a1.sources.r1.interceptors.i1.serializers.s1.type",
        ),
        (extract, "a1.sources.r1.interceptors.i1.serializers.s2.name", "a1.sources.r1.interceptors.i1.regex"),
        (roll, "a1.sinks.k1.sink.serializer.appendNewLine", "a1.sinks.k1.sink.serializer.appendNewline"),
        (group, "a1.sinkgroups.g1.sink", "a1.sinkgroups.g1.processor.type"),
        (filter, "a1.configfilters.f1.command", "a1.configfilters.f1.type"),
    ] {
        let value = |key: &str| match key.rsplit('.').next() {
            Some("appendNewline") => "true",
            Some("type") if key.contains("configfilters") => "env",
            Some("type") => "default",
            _ => "(a)",
        };
        let text = [unknown, known].map(|key| format!("{key} = {}\n", value(key))).concat();
        let report = checked("a1", &format!("{beside}{text}"));
        let (standing, why) = said(&report, unknown);
        assert_eq!(standing, Standing::Unknown, "{unknown}: {why}");
        assert!(why.starts_with("no effect; "), "{unknown}: {why}");
        assert_eq!(said(&report, known).0, Standing::Honoured, "{known}: {}", said(&report, known).1);
    }
}

#[test]
fn what_flume_has_and_is_not_built_is_told_as_such() {
    for class in ["jms", "JMS", "org.apache.flume.source.kafka.KafkaSource"] {
        let report = checked("a1", &format!("a1.sources.r1.type = {class}\n"));
        let (standing, why) = said(&report, "a1.sources.r1.type");
        assert_eq!(standing, Standing::Broken);
        assert!(why.starts_with(&format!("Flume's source {class:?} is not built in; there are spooldir, ")), "{why}");
    }
    let report = checked("a1", "a1.sources.r1.type = netcatt\n");
    assert!(said(&report, "a1.sources.r1.type").1.ends_with("did you mean netcat?"));
}

/// Every key of the property files of `tests/golden/check`, with the type that it belongs to.
fn judged() -> Vec<(String, String)> {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/check");
    let files = std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "properties"));
    let agents = files.flat_map(|file| Agent::builder().config_file(file).check().unwrap().agents);
    agents.flat_map(|agent| agent.keys).map(|key| (key.key, key.type_name)).collect()
}

#[test]
fn every_option_of_every_component_is_judged_in_the_golden_files() {
    /// Where the keys of such a component stand, as parts of a whole key.
    fn missing<B>(
        place: &str,
        specs: &[&'static millstream_core::Spec<B>],
        judged: &[(String, String)],
    ) -> Vec<String> {
        let of_kind = |key: &str| match place {
            "sources" => !key.contains(".interceptors.") && !key.contains(".selector.") && key.contains(".sources."),
            _ => key.contains(&format!(".{place}.")),
        };
        let mut missing = Vec::new();
        for spec in specs {
            let keys: Vec<&str> = judged
                .iter()
                .filter(|(key, of)| of == spec.name && of_kind(key))
                .map(|(key, _)| key.as_str())
                .collect();
            let has = |option: &millstream_core::OptionSpec| {
                keys.iter().any(|key| key.match_indices('.').any(|(at, _)| option.is_called(&key[at + 1..])))
            };
            missing.extend(
                spec.options.iter().filter(|option| !has(option)).map(|o| format!("{place} {}: {}", spec.name, o.key)),
            );
            if keys.is_empty() {
                missing.push(format!("{place} {}", spec.name));
            }
        }
        missing
    }
    let (registry, judged) = (Registry::standard(), judged());
    let missing = [
        missing("sources", registry.sources(), &judged),
        missing("interceptors", registry.interceptors(), &judged),
        missing("selector", registry.selectors(), &judged),
        missing("channels", registry.channels(), &judged),
        missing("sinks", registry.sinks(), &judged),
        missing("processor", registry.groups(), &judged),
    ]
    .concat();
    assert_eq!(missing, [""; 0], "name them in tests/golden/check, and say in the .txt beside what becomes of them");
}

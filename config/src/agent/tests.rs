#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::properties::parse;

fn read(name: &str, text: &str) -> Result<AgentConfig> {
    let entries = parse("flume.conf", text.as_bytes()).unwrap();
    AgentConfig::from_entries(name, &entries, &Lookups::default())
}

fn names(components: &[ComponentConfig]) -> Vec<&str> {
    components.iter().map(|component| component.name.as_str()).collect()
}

const GOOD: &str = "\
a1.sources = r1
a1.channels = c1 c2
a1.sinks = k1
a1.sources.r1.type = spooldir
a1.sources.r1.channels = c2 c1
a1.sources.r1.spoolDir = /in
a1.sources.r1.deserializer.maxLineLength = 5
a1.sources.r1.interceptors = i2 i1
a1.sources.r1.interceptors.i1.type = timestamp
a1.sources.r1.interceptors.i2.type = host
a1.sources.r1.interceptors.i2.useIP = false
a1.sources.r1.selector.type = replicating
a1.sources.r1.selector.optional = c1
a1.channels.c1.type = memory
a1.channels.c2.type = file
a1.channels.c2.capacity = 10
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
b1.sources = x
";

/// `GOOD` with the lines for which `cut` holds taken out and `more` added.
fn changed(cut: &str, more: &str) -> AgentConfig {
    let kept: Vec<&str> = GOOD.lines().filter(|line| cut.is_empty() || !line.starts_with(cut)).collect();
    read("a1", &format!("{}\n{more}", kept.join("\n"))).unwrap()
}

#[test]
fn one_agent_of_several_is_found_with_all_its_parts() {
    let config = read("a1", GOOD).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(
        (names(&config.sources), names(&config.channels), names(&config.sinks)),
        (vec!["r1"], vec!["c1", "c2"], vec!["k1"])
    );
    let source = &config.sources[0];
    assert_eq!(
        (source.type_name.as_str(), source.channels.as_slice()),
        ("spooldir", ["c2".to_owned(), "c1".to_owned()].as_slice())
    );
    let settings: Vec<(&str, &str)> = source.settings.iter().map(|s| (s.key.as_str(), s.place.as_str())).collect();
    let wanted = [
        ("spoolDir", "flume.conf:6: a1.sources.r1.spoolDir"),
        ("deserializer.maxLineLength", "flume.conf:7: a1.sources.r1.deserializer.maxLineLength"),
    ];
    assert_eq!(settings, wanted);
    let interceptors: Vec<(&str, &str)> =
        source.interceptors.iter().map(|part| (part.name.as_str(), part.type_name.as_str())).collect();
    let wanted = [("a1.sources.r1.interceptors.i2", "host"), ("a1.sources.r1.interceptors.i1", "timestamp")];
    assert_eq!(interceptors, wanted, "in the order of the list");
    assert_eq!(source.interceptors[0].settings[0].key, "useIP");
    assert_eq!(source.selector.settings[0].key, "optional");
    assert_eq!(config.sinks[0].channels, ["c1"]);
}

#[test]
fn a_source_without_a_selector_replicates() {
    let config = changed("a1.sources.r1.selector.type", "");
    let selector = &config.sources[0].selector;
    assert_eq!((selector.type_name.as_str(), selector.settings.len()), ("replicating", 1));
    assert_eq!(selector.name, "a1.sources.r1.selector");
}

#[test]
fn an_unknown_agent_names_those_that_there_are() {
    let error = read("a2", GOOD).unwrap_err();
    assert_eq!(error.to_string(), "flume.conf: no agent named \"a2\"; there are a1, b1: choose one with -n");
    assert!(matches!(error, Error::Config { .. }));
    assert!(read("a1", "").unwrap_err().to_string().contains("and no other"));
}

#[test]
fn a_broken_component_goes_alone_and_the_rest_runs() {
    for (cut, more, part) in [
        ("", "a1.sinks = k1 k2", "flume.conf:20: a1.sinks: a1.sinks.k2 has no settings"),
        (
            "",
            "a1.sinks = k1 k2\na1.sinks.k2.channel = c1",
            "flume.conf:21: a1.sinks.k2.channel: a1.sinks.k2 has no type",
        ),
        (
            "",
            "a1.sinks = k1 k2\na1.sinks.k2.type = null",
            "a1.sinks.k2.type: a1.sinks.k2 has no channel and is not run",
        ),
        ("", "a1.sinks = k1 k2\na1.sinks.k2.type = null\na1.sinks.k2.channel = c11", "did you mean c1?"),
        ("a1.sources.r1.channels", "", "a1.sources.r1 has no channels and is not run"),
        ("a1.sources.r1.interceptors.i1", "", "interceptor \"i1\" has no type, so a1.sources.r1 is not run"),
    ] {
        let config = changed(cut, more);
        assert!(config.warnings.iter().any(|warning| warning.contains(part)), "{part}: {:?}", config.warnings);
        assert_eq!(names(&config.sinks), ["k1"], "{part}");
        assert!(config.broken.iter().any(|broken| broken.reason.contains(part)), "{part}: {:?}", config.broken);
    }
}

#[test]
fn components_mean_the_same_wherever_and_in_whatever_order_they_are_written() {
    let reversed: Vec<&str> = GOOD.lines().rev().collect();
    let (one, two) = (read("a1", GOOD).unwrap(), read("a1", &format!("\n\n{}", reversed.join("\n"))).unwrap());
    assert_ne!(one.sources, two.sources, "other places");
    assert!(one.sources[0].means_the_same_as(&two.sources[0]));
    for more in [
        "a1.sources.r1.spoolDir = /other",
        "a1.sources.r1.more = x",
        "a1.sources.r1.type = seq",
        "a1.sources.r1.channels = c1 c2",
        "a1.sources.r1.interceptors = i1 i2",
        "a1.sources.r1.interceptors.i2.useIP = true",
        "a1.sources.r1.selector.optional = c2",
    ] {
        assert!(!one.sources[0].means_the_same_as(&changed("", more).sources[0]), "{more}");
    }
}

#[test]
fn a_channel_that_goes_takes_those_that_have_no_other() {
    let config = changed("a1.channels.c1.type", "");
    assert_eq!(names(&config.channels), ["c2"]);
    assert_eq!(config.sources[0].channels, ["c2"], "it does without the other");
    assert_eq!(names(&config.sinks), [""; 0]);
    let mut config = read("a1", GOOD).unwrap();
    config.retain_channels(|name| name == "c1");
    assert_eq!(config.sources[0].channels, ["c1"]);
    assert!(config.warnings[0].starts_with("flume.conf:5: a1.sources.r1.channels: there is no working channel \"c2\""));
}

#[test]
fn a_channel_without_source_and_sink_is_not_run() {
    let config = changed("", "a1.channels = c1 c2 c3\na1.channels.c3.type = memory");
    assert_eq!(names(&config.channels), ["c1", "c2"]);
    assert!(config.warnings.iter().any(|warning| warning.contains("a1.channels.c3 has no source and no sink")));
}

#[test]
fn nothing_left_to_run_is_an_error_with_every_reason() {
    let error =
        read("a1", "a1.channels = c1\na1.sinks = k1\na1.sinks.k1.type = null\na1.sinks.k1.channel = c1").unwrap_err();
    let text = error.to_string();
    for part in
        ["neither a source nor a sink of agent a1", "a1.channels.c1 has no settings", "no working channel \"c1\""]
    {
        assert!(text.contains(part), "{text} lacks {part}");
    }
}

#[test]
fn what_belongs_nowhere_is_told_and_ignored() {
    for (more, part) in [
        ("a1.source.r1.type = x", "flume.conf:20: a1.source.r1.type: ignored: expected one of sources, channels"),
        ("a1.source.r1.type = x", "got \"source\"; did you mean sources?"),
        ("a1.sources.r2.type = x", "not used: r2 is not in a1.sources; add it there or did you mean r1"),
        ("a1.sources.r1 = x", "expected sources.name.key, got \"sources.r1\""),
        ("a1.sources.r1.batchSize =", "flume.conf:20: a1.sources.r1.batchSize: ignored: it has no value"),
        ("lonely = x", "flume.conf:20: lonely: ignored: expected agent.key"),
        (
            "a1.sinks.k1.type = null",
            "flume.conf:20: a1.sinks.k1.type: replaces the value given at flume.conf:17; remove one",
        ),
        ("a1.sinks.k1.x = ${env:NONE}", "nothing is known as ${env:NONE}"),
        ("a1.sinks.k1.x = ${a1.sinks.k1.x}", "refer to themselves"),
    ] {
        let config = changed("", more);
        assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
        assert!(config.warnings[0].contains(part), "{part}: {:?}", config.warnings);
        assert_eq!(names(&config.sources), ["r1"]);
    }
}

#[test]
fn the_command_line_wins_and_variables_are_filled_in() {
    let mut entries = parse("flume.conf", GOOD.as_bytes()).unwrap();
    entries.push(Entry::overriding("a1.sources.r1.spoolDir", "${sys:root}/in"));
    let lookups = Lookups { system: [("root".to_owned(), "/data".to_owned())].into(), ..Lookups::default() };
    let config = AgentConfig::from_entries("a1", &entries, &lookups).unwrap();
    let setting = &config.sources[0].settings[0];
    assert_eq!((setting.value.as_str(), setting.place.as_str()), ("/data/in", "-D: a1.sources.r1.spoolDir"));
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn a_sink_group_has_its_working_sinks_its_processor_and_a_channel_of_its_own() {
    let group = "a1.sinkgroups = g1\na1.sinkgroups.g1.sinks = k1 k9\na1.sinkgroups.g1.processor.type = failover
                 a1.channels = c1 c2 c9\na1.channels.c9.type = memory\na1.sinkgroups.g1.processor.channel = c9";
    let config = changed("", group);
    let group = &config.sink_groups[0];
    assert_eq!((group.name.as_str(), group.sinks.as_slice()), ("g1", &["k1".to_owned()][..]));
    assert_eq!((group.processor.type_name.as_str(), group.spool.as_deref()), ("failover", Some("c9")));
    assert_eq!(group.processor.settings[0].key, "channel");
    assert!(config.channels.iter().any(|channel| channel.name == "c9"), "it is used");
    assert!(config.warnings[1].contains("\"k9\" is left out: there is no such working sink"), "{:?}", config.warnings);
    let config = changed("", "a1.sinkgroups = g1\na1.sinkgroups.g1.sinks = k1");
    assert_eq!(config.sink_groups[0].processor.type_name, "default");
}

#[test]
fn filters_fill_in_values_of_components_and_are_no_unknown_variables() {
    let filters = "a1.configfilters = f1 f2\na1.configfilters.f1.type = env\na1.configfilters.f2.type = external
                   a1.configfilters.f2.command = echo ${f1['PW']}";
    let more = "a1.sinks.k1.password = ${f1['PW']}\na1.sources.r1.interceptors.i1.x = <${f2[key]}>\na1.sinks.k1.y = ${f3['PW']}";
    let entries = parse("flume.conf", format!("{GOOD}{filters}\n{more}").as_bytes()).unwrap();
    let lookups = Lookups { environment: [("PW".to_owned(), "s3cret".to_owned())].into(), ..Lookups::default() };
    let config = AgentConfig::from_entries("a1", &entries, &lookups).unwrap();
    let value = |settings: &[Setting], key: &str| settings.iter().find(|one| one.key == key).unwrap().value.clone();
    assert_eq!(value(&config.sinks[0].settings, "password"), "s3cret");
    // Filters are not filled in themselves.
    assert_eq!(value(&config.sources[0].interceptors[1].settings, "x"), "<${f1['PW']} key>");
    let told =
        "flume.conf:26: a1.sinks.k1.y: nothing is known as ${f3['PW']}, it stays as it is; define it or remove it";
    assert_eq!(config.warnings, [told]);
}

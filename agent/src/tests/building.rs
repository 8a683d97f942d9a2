//! What is refused, told and left running.

use super::*;

fn warned(agent: &RunningAgent, part: &str) {
    assert!(agent.warnings().iter().any(|warning| warning.contains(part)), "{part}: {:#?}", agent.warnings());
}

#[tokio::test]
async fn the_path_is_told_on_one_line() {
    let probe = Probe::new("path", []);
    let more = "a1.sources.r1.interceptors = i1
                a1.sources.r1.interceptors.i1.type = timestamp
                a1.channels = c1 c2
                a1.channels.c2.type = memory
                a1.sources.r1.channels = c1 c2
                a1.sinks = k1 k2
                a1.sinks.k2.type = spark
                a1.sinks.k2.channel = c2
                a1.sinks.k2.hostname = 127.0.0.1
                a1.sinks.k2.port = 0";
    let agent = start(&counting(&probe, more)).await.unwrap();
    let wanted = "seq r1 → timestamp → memory c1 → probe k1; seq r1 → timestamp → memory c2 → spark k2 127.0.0.1:0";
    assert_eq!(agent.path(), wanted);
    let kinds: Vec<&str> = agent.status().components().iter().map(|component| component.kind).collect();
    assert_eq!(kinds, ["source", "channel", "channel", "sink", "sink"], "in the order of travel");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_unknown_key_is_told_with_the_nearest_and_ignored() {
    let probe = Probe::new("unknown_key", []);
    let agent = start(&counting(&probe, "a1.sources.r1.batchsise = 5")).await.unwrap();
    warned(&agent, "a1.sources.r1.batchsise: unknown key, ignored; did you mean batchSize?");
    probe.until_delivered(1).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_broken_component_is_refused_alone_and_the_rest_runs() {
    for (name, setting, told) in [
        (
            "type",
            "a1.sinks.k2.type = loger",
            "a1.sinks.k2.type: there is no sink of type \"loger\"; did you mean logger?",
        ),
        (
            "value",
            "a1.sinks.k2.type = null\na1.sinks.k2.batchSize = many",
            "a1.sinks.k2.batchSize: expected a whole number in 1..=4294967295, got \"many\"; so a1.sinks.k2 is not run",
        ),
        ("missing", "a1.sinks.k2.type = spark", "a1.sinks.k2.port: missing; expected"),
        (
            "panic",
            "a1.sinks.k2.type = probe\na1.sinks.k2.name = nobody",
            "a1.sinks.k2 is not run: panic in a1.sinks.k2",
        ),
        (
            "batch",
            "a1.sinks.k2.type = null\na1.sinks.k2.batchSize = 101",
            "a1.sinks.k2.batchSize: expected at most 100, the transactionCapacity of channel c1, got 101",
        ),
    ] {
        let probe = Probe::new(&format!("broken_{name}"), []);
        let more = format!("a1.sinks = k1 k2\na1.sinks.k2.channel = c1\n{setting}");
        let agent = start(&counting(&probe, &more)).await.unwrap();
        warned(&agent, told);
        assert_eq!(state(&agent, "k2"), State::Failed, "{name}");
        probe.until_delivered(1).await;
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_source_whose_interceptor_or_selector_cannot_be_built_is_not_run_without_it() {
    for (name, setting, told) in [
        (
            "interceptor",
            "a1.sources.r2.interceptors = i1\na1.sources.r2.interceptors.i1.type = timestmp",
            "there is no interceptor of type \"timestmp\"; did you mean timestamp?; so a1.sources.r2 is not run",
        ),
        (
            "selector",
            "a1.sources.r2.selector.optional = c9",
            "got \"c9\"; did you mean c1?; so a1.sources.r2 is not run",
        ),
    ] {
        let probe = Probe::new(&format!("part_{name}"), []);
        let more = "a1.sources = r1 r2\na1.sources.r2.type = seq\na1.sources.r2.channels = c1";
        let agent = start(&counting(&probe, &format!("{more}\n{setting}"))).await.unwrap();
        warned(&agent, told);
        agent.ready().await;
        assert_eq!((state(&agent, "r1"), state(&agent, "r2")), (State::Running, State::Failed), "{name}");
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_channel_that_cannot_be_opened_takes_with_it_who_has_no_other() {
    let probe = Probe::new("channel", []);
    let more = "a1.channels = c1 c2
                a1.channels.c2.type = memory
                a1.channels.c2.capacity = none
                a1.sources.r1.channels = c1 c2
                a1.sinks = k1 k2
                a1.sinks.k2.type = null
                a1.sinks.k2.channel = c2";
    let agent = start(&counting(&probe, more)).await.unwrap();
    warned(&agent, "a1.channels.c2.capacity: expected a whole number of at least 1, got \"none\"");
    warned(&agent, "there is no working channel \"c2\", so a1.sources.r1 does without it");
    warned(&agent, "a1.sinks.k2 has no channel left and is not run");
    probe.until_delivered(1).await;
    assert_eq!(state(&agent, "c2"), State::Failed);
    assert!(agent.channel("c1").is_some() && agent.channel("c2").is_none());
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_of_which_nothing_is_left_is_an_error() {
    let probe = Probe::new("nothing", []);
    let config = counting(&probe, "a1.sources.r1.batchSize = x\na1.sinks.k1.batchSize = 0");
    let error = start(&config).await.unwrap_err();
    assert!(error.to_string().contains("a1.sources.r1.batchSize: expected"), "{error}");
    let error = Agent::builder().name("a2").config_text(config).start().await.unwrap_err();
    assert!(error.to_string().ends_with("no agent named \"a2\"; there are a1: choose one with -n"), "{error}");
}

#[tokio::test]
async fn properties_of_the_command_line_replace_keys_and_are_variables() {
    let probe = Probe::new("override", []);
    let config = counting(&probe, "a1.sources.r1.totalEvents = 10").replace("override", "${sys:probe}");
    let builder = Agent::builder().name("a1").config_text(config).register(&PROBE_SINK);
    let overrides = [("probe", "override"), ("a1.sources.r1.totalEvents", "3"), ("a2.sources.r1.type", "other")];
    let agent = builder.overrides(overrides).start().await.unwrap();
    probe.until_delivered(3).await;
    agent.stop().await.unwrap();
    assert_eq!(probe.delivered(), ["0", "1", "2"]);
}

#[tokio::test]
async fn a_channel_that_nobody_empties_is_told() {
    let probe = Probe::new("no_sink", []);
    let agent = start(&counting(&probe, "a1.sinks.k1.batchSize = 0")).await.unwrap();
    warned(&agent, "a1.channels.c1: no sink takes events from it");
    agent.stop().await.unwrap();
}

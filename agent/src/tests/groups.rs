//! Sinks that work together.

use super::probe::Act;
use super::*;

/// `seq → memory → two probes in group g1`.
fn grouped(probes: [&Probe; 2], processor: &str) -> String {
    let more = format!(
        "a1.sources.r1.totalEvents = 500
         a1.sinks = k1 k2
         a1.sinks.k2.type = probe
         a1.sinks.k2.name = {}
         a1.sinks.k2.channel = c1
         a1.sinkgroups = g1
         a1.sinkgroups.g1.sinks = k1 k2
         {processor}",
        probes[1].name
    );
    counting(probes[0], &more)
}

fn refused(agent: &Result<RunningAgent>, text: &str) {
    let error = match agent {
        Ok(agent) => agent.warnings().join("\n"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains(text), "{error}");
}

#[tokio::test]
async fn a_failover_group_delivers_by_the_next_sink_what_one_cannot() {
    let (first, second) = (Probe::new("group_first", [Act::Work, Act::Fail(broken())]), Probe::new("group_second", []));
    let processor = "a1.sinkgroups.g1.processor.type = failover
                     a1.sinkgroups.g1.processor.priority.k1 = 10";
    let agent = start(&grouped([&first, &second], processor)).await.unwrap();
    assert_eq!(agent.path(), "seq r1 → memory c1 → failover g1 (probe k1, probe k2)");
    until(|| first.delivered().len() + second.delivered().len() >= 500).await;
    let mut all: Vec<u64> =
        first.delivered().iter().chain(&second.delivered()).map(|body| body.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..500).collect::<Vec<u64>>(), "each once");
    let drained = |name| counted(&agent, name, MetricName::EventDrainSuccessCount);
    assert_eq!(drained("k1"), first.delivered().len() as u64);
    assert_eq!(drained("k2"), second.delivered().len() as u64);
    assert!(drained("k2") > 0 && !first.delivered().is_empty());
    assert!(last_error(&agent, "k1").contains("broken"));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_sink_that_panics_in_its_group_costs_no_event() {
    let (first, second) = (Probe::new("group_panics", [Act::Panic]), Probe::new("group_calm", []));
    let agent = start(&grouped([&first, &second], "a1.sinkgroups.g1.processor.type = failover")).await.unwrap();
    until(|| first.delivered().len() + second.delivered().len() >= 500).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn what_no_sink_delivers_waits_in_the_channel_of_the_group() {
    let fails = || std::iter::repeat_n(Act::Fail(broken()), 1);
    let (first, second) = (Probe::new("spool_first", fails()), Probe::new("spool_second", fails()));
    let processor = "a1.sinkgroups.g1.processor.type = store_on_failure
                     a1.sinkgroups.g1.processor.channel = spool
                     a1.sinkgroups.g1.processor.maxpenalty = 100
                     a1.channels = c1 spool
                     a1.channels.spool.type = memory
                     a1.channels.spool.capacity = 10000";
    let agent = start(&grouped([&first, &second], processor)).await.unwrap();
    let spool = agent.channel("spool").expect("it is used");
    until(|| first.delivered().len() + second.delivered().len() >= 500).await;
    assert!(spool.totals().put_events > 0, "something was stored");
    until(|| spool.totals().waiting_events() == 0).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_group_that_cannot_be_is_refused_at_its_place() {
    let (first, second) = (Probe::new("refused_first", []), Probe::new("refused_second", []));
    let both = |processor: &str| grouped([&first, &second], processor);
    refused(&start(&both("")).await, "a1.sinkgroups.g1.processor.type: default takes exactly one sink");
    let typo = both("a1.sinkgroups.g1.processor.type = failovr");
    refused(&start(&typo).await, "there is no sink processor of type \"failovr\"; did you mean failover?");
    let apart = both(
        "a1.sinkgroups.g1.processor.type = failover\na1.channels = c1 c2\na1.channels.c2.type = memory\na1.sinks.k2.channel = c2",
    );
    refused(&start(&apart).await, "the sinks of group g1 share one channel");
    let priority = both("a1.sinkgroups.g1.processor.type = failover\na1.sinkgroups.g1.processor.priority.k3 = 1");
    refused(&start(&priority).await, "expected a sink of this group (k1 k2), got \"k3\"");
    let spool = both("a1.sinkgroups.g1.processor.type = store_on_failure\na1.sinkgroups.g1.processor.channel = c9");
    refused(&start(&spool).await, "processor.channel: expected a working channel of this agent (c1), got \"c9\"");
}

#[tokio::test]
async fn a_sink_that_hands_out_batches_itself_is_left_out_of_its_group() {
    let (first, second) = (Probe::new("pulls_first", []), Probe::new("pulls_second", []));
    let processor = "a1.sinkgroups.g1.processor.type = failover
                     a1.sinks.k2.type = spark
                     a1.sinks.k2.port = 0";
    let agent = start(&grouped([&first, &second], processor)).await;
    refused(&agent, "spark hands out batches itself; take it out of group g1");
    first.until_delivered(500).await;
    agent.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn the_priority_of_a_sink_that_is_left_out_is_no_reason_to_refuse_its_group() {
    let (first, second) = (Probe::new("prior_first", []), Probe::new("prior_second", []));
    let processor = "a1.sinkgroups.g1.processor.type = failover
                     a1.sinkgroups.g1.processor.priority.k1 = 5
                     a1.sinkgroups.g1.processor.priority.k2 = 9
                     a1.sinks.k2.type = file_roll";
    let agent = start(&grouped([&first, &second], processor)).await;
    refused(&agent, "a1.sinks.k2.sink.directory: missing");
    first.until_delivered(500).await;
    agent.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_group_restarts_when_one_of_its_sinks_changes_and_not_otherwise() {
    let (first, second) = (Probe::new("regroup_first", []), Probe::new("regroup_second", []));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flume.conf");
    let config = grouped([&first, &second], "a1.sinkgroups.g1.processor.type = failover");
    std::fs::write(&file, &config).unwrap();
    let builder = Agent::builder().name("a1").config_file(&file);
    let mut agent = builder.register(&PROBE_SINK).register(&PROBE_SOURCE).start().await.unwrap();
    assert!(agent.reload().await.unwrap().is_empty());
    std::fs::write(&file, format!("{config}\na1.sinks.k2.batchSize = 7")).unwrap();
    let changes = agent.reload().await.unwrap();
    assert_eq!(changes.started, ["a1.sinkgroups.g1"]);
    agent.stop().await.unwrap();
}

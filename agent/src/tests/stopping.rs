//! What a stop waits for, and what it does not.

use std::time::Duration;

use super::probe::Act;
use super::*;

#[tokio::test]
async fn a_channel_that_forgets_is_emptied_before_its_sink_stops() {
    let probe = Probe::new("drains", []);
    probe.close();
    let agent =
        start(&counting(&probe, "a1.sources.r1.totalEvents = 900\na1.sources.r1.batchSize = 100")).await.unwrap();
    let channel = agent.channel("c1").unwrap();
    until(|| channel.totals().put_events == 900).await;
    let status = agent.status();
    let stopped = tokio::spawn(agent.stop());
    // Sources are down, so that from here on only the channel feeds the sink.
    until(|| status.components()[0].state() == State::Stopped).await;
    probe.open();
    in_time(stopped).await.unwrap().unwrap();
    assert_eq!(probe.delivered().len(), 900);
    assert_eq!(channel.totals().waiting_events(), 0);
}

#[tokio::test]
async fn a_durable_channel_keeps_for_the_next_start_what_its_sink_did_not_deliver() {
    let dir = tempfile::tempdir().unwrap();
    let fails = std::iter::repeat_n(Act::Fail(broken()), 100);
    let probe = Probe::new("durable", std::iter::once(Act::Work).chain(fails));
    let file = format!(
        "a1.channels.c1.type = file
         a1.channels.c1.transactionCapacity = 100
         a1.channels.c1.checkpointDir = {0}/checkpoint
         a1.channels.c1.dataDirs = {0}/data",
        dir.path().display()
    );
    let count = "a1.sources.r1.totalEvents = 500\na1.sources.r1.batchSize = 100";
    let agent = start(&counting(&probe, &format!("{file}\n{count}"))).await.unwrap();
    let channel = agent.channel("c1").unwrap();
    until(|| channel.totals().put_events == 500).await;
    probe.until_called(2).await;
    agent.stop().await.unwrap();
    drop(channel);
    let first = probe.delivered().len();
    assert!(first > 0 && first < 500, "{first}");
    probe.behave();
    let agent = start(&counting(&probe, &format!("{file}\na1.sources.r1.totalEvents = 0"))).await.unwrap();
    probe.until_delivered(500).await;
    agent.stop().await.unwrap();
    assert_eq!(probe.delivered(), (0..500).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_never_ends_holds_a_stop_up_to_the_limit_only() {
    let probe = Probe::new("hangs", [Act::Hang]);
    let config = counting(&probe, "a1.sources.r1.totalEvents = 5");
    let builder = Agent::builder().name("a1").config_text(config).register(&PROBE_SINK);
    let agent = builder.stop_limit(Duration::from_secs(3)).start().await.unwrap();
    probe.until_called(1).await;
    let (status, channel) = (agent.status(), agent.channel("c1").unwrap());
    let began = tokio::time::Instant::now();
    agent.stop().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(status.components().iter().all(|component| component.state() == State::Stopped));
    assert!(channel.totals().waiting_events() > 0, "the take went back, nothing counts as delivered");
}

#[tokio::test]
async fn a_sink_that_failed_for_good_does_not_hold_a_stop_up() {
    let probe = Probe::new("failed", [Act::Fail(Error::mismatch("probe", "no"))]);
    let agent = start(&counting(&probe, "")).await.unwrap();
    until_state(&agent, "k1", State::Failed).await;
    // Well below the limit of 10 s, which `in_time` allows twice over.
    let began = std::time::Instant::now();
    agent.stop().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_dropped_agent_runs_no_component_any_more() {
    let probe = Probe::new("dropped", []);
    probe.close();
    let agent = start(&counting(&probe, "")).await.unwrap();
    probe.until_called(1).await;
    let channel = agent.channel("c1").unwrap();
    drop(agent);
    // Its components held on to it; now only this test does.
    until(|| std::sync::Arc::strong_count(&channel) == 1).await;
    assert_eq!(probe.delivered().len(), 0);
}

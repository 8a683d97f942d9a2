//! Failures at work: what is tried again, what ends, what stays.

use super::probe::Act;
use super::*;

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn events_arrive_in_order_and_are_counted_under_flumes_names() {
    let probe = Probe::new("order", []);
    let agent =
        start(&counting(&probe, "a1.sources.r1.totalEvents = 1000\na1.sources.r1.batchSize = 7")).await.unwrap();
    probe.until_delivered(1000).await;
    agent.ready().await;
    assert_eq!(probe.delivered(), numbers(1000));
    let channel = agent.channel("c1").unwrap();
    let status = agent.status();
    agent.stop().await.unwrap();
    let totals = channel.totals();
    assert_eq!((totals.put_events, totals.taken_events), (1000, 1000));
    let sink = &status.components()[2];
    let count = |counter| sink.counters().value(counter);
    assert_eq!(count(MetricName::EventDrainAttemptCount), 1000);
    assert_eq!(count(MetricName::EventDrainSuccessCount), 1000);
    assert_eq!(count(MetricName::EventWriteFail), 0);
    assert!(count(MetricName::BatchUnderflowCount) + count(MetricName::BatchCompleteCount) >= 10);
    assert!(status.components().iter().all(|component| component.state() == State::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_fails_goes_back_and_is_tried_again_in_order() {
    let probe = Probe::new("fails", [Act::Work, Act::Fail(broken()), Act::Fail(broken()), Act::Fail(broken())]);
    let agent = start(&counting(&probe, "a1.sources.r1.totalEvents = 500")).await.unwrap();
    probe.until_delivered(500).await;
    assert_eq!(probe.delivered(), numbers(500));
    until_state(&agent, "k1", State::Running).await;
    assert_eq!(counted(&agent, "k1", MetricName::EventWriteFail), 3);
    assert_eq!(last_error(&agent, "k1"), "write /dev/probe: broken");
    agent.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_is_built_anew_and_nothing_is_lost() {
    let probe = Probe::new("panics", [Act::Work, Act::Panic, Act::Panic]);
    let agent = start(&counting(&probe, "a1.sources.r1.totalEvents = 500")).await.unwrap();
    probe.until_delivered(500).await;
    assert_eq!(probe.delivered(), numbers(500));
    assert_eq!(last_error(&agent, "k1"), "panic in a1.sinks.k1: a test asked for this");
    agent.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn events_that_a_sink_rejects_stay_and_the_status_says_why() {
    let rejected = || Act::Fail(Error::Rejected { reason: "not to my taste".into() });
    let probe = Probe::new("rejects", [rejected(), rejected()]);
    let agent = start(&counting(&probe, "a1.sources.r1.totalEvents = 3")).await.unwrap();
    probe.until_called(2).await;
    assert_eq!((state(&agent, "k1"), probe.delivered().len()), (State::Retrying, 0));
    assert_eq!(last_error(&agent, "k1"), "rejected: not to my taste");
    assert!(agent.channel("c1").unwrap().totals().waiting_events() > 0);
    probe.until_delivered(3).await;
    agent.stop().await.unwrap();
    assert_eq!(probe.delivered(), numbers(3));
}

#[tokio::test]
async fn a_sink_that_cannot_go_on_fails_alone() {
    let gone = Error::mismatch("probe", "belongs to somebody else");
    let probe = Probe::new("sink_stops", [Act::Fail(gone)]);
    let agent = start(&counting(&probe, "")).await.unwrap();
    until_state(&agent, "k1", State::Failed).await;
    assert_eq!(state(&agent, "r1"), State::Running);
    assert!(agent.channel("c1").unwrap().totals().waiting_events() > 0, "what it had went back");
    agent.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_or_panics_is_started_again() {
    let probe = Probe::new("source", [Act::Fail(broken()), Act::Panic]);
    let more = "a1.sources.r1.type = probe\na1.sources.r1.name = source\na1.sinks.k1.type = null";
    let agent = start(&counting(&probe, more)).await.unwrap();
    agent.ready().await;
    until_state(&agent, "r1", State::Running).await;
    probe.until_called(3).await;
    assert_eq!(last_error(&agent, "r1"), "panic in a1.sources.r1: a test asked for this");
    assert_eq!(counted(&agent, "r1", MetricName::GenericProcessingFail), 2);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_in_which_nothing_works_any_more_has_ended() {
    let gone = || Act::Fail(Error::config("probe", "never"));
    let probe = Probe::new("ends", [gone(), gone()]);
    let more = "a1.sources = r1 r2\na1.sources.r2.type = probe\na1.sources.r2.name = ends\na1.sources.r2.channels = c1
                a1.sources.r1.type = probe\na1.sources.r1.name = ends\na1.sinks.k1.batchSize = 0";
    let mut agent = start(&counting(&probe, more)).await.unwrap();
    in_time(agent.ended()).await;
    assert_eq!((state(&agent, "r1"), state(&agent, "r2")), (State::Failed, State::Failed));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_waited_for() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let probe = Probe::new("port", []);
    let more = format!(
        "a1.sources.r1.totalEvents = 0\na1.sinks.k1.type = spark\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}"
    );
    let agent = start(&counting(&probe, &more)).await.unwrap();
    agent.ready().await;
    until_state(&agent, "k1", State::Retrying).await;
    let error = last_error(&agent, "k1");
    assert!(error.starts_with(&format!("bind 127.0.0.1:{port}: ")), "{error}");
    drop(holder);
    until_state(&agent, "k1", State::Running).await;
    agent.stop().await.unwrap();
}

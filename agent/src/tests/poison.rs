//! Events that a sink rejects: set aside where there is a place for them, and nothing else.

use super::probe::Act;
use super::*;
use millstream_core::poison::ATTEMPTS;

/// `seq → file → probe`, in `dir`, `events` of them.
fn on_disk(probe: &Probe, dir: &tempfile::TempDir, events: u32) -> String {
    let at = dir.path().display();
    let more = format!(
        "a1.channels.c1.type = file
         a1.channels.c1.checkpointDir = {at}/checkpoint
         a1.channels.c1.dataDirs = {at}/data
         a1.channels.c1.transactionCapacity = 100
         a1.sources.r1.totalEvents = {events}
         a1.sources.r1.batchSize = 100"
    );
    counting(probe, &more).replace("a1.channels.c1.type = memory\n", "")
}

/// All but those that were rejected, in order.
fn without(events: u32, poison: &[u32]) -> Vec<String> {
    (0..events).filter(|event| !poison.contains(event)).map(|event| event.to_string()).collect()
}

fn dead_lettered(agent: &RunningAgent) -> u64 {
    agent.channel("c1").unwrap().totals().dead_lettered
}

#[tokio::test]
async fn poison_at_the_start_in_the_middle_at_the_end_and_in_a_row_is_set_aside_and_the_rest_arrives_in_order() {
    let poison = [0, 50, 51, 99, 150, 299];
    let (probe, dir) = (Probe::new("poison", []), tempfile::tempdir().unwrap());
    probe.reject(&poison);
    let agent = start(&on_disk(&probe, &dir, 300)).await.unwrap();
    let channel = agent.channel("c1").unwrap();
    until(|| channel.totals().taken_events == 300).await;
    until_state(&agent, "k1", State::Running).await;
    assert_eq!(probe.delivered(), without(300, &poison));
    assert_eq!(dead_lettered(&agent), 6);
    assert_eq!(counted(&agent, "k1", MetricName::EventDrainSuccessCount), 294);
    assert_eq!(last_error(&agent, "k1"), "rejected: 299 is poison");
    agent.stop().await.unwrap();
    drop(channel);

    // And a restart brings none of them back.
    let channel = start(&on_disk(&probe, &dir, 0)).await.unwrap();
    let totals = channel.channel("c1").unwrap().totals();
    assert_eq!((totals.put_events, totals.taken_events, totals.dead_lettered), (300, 300, 6));
    channel.stop().await.unwrap();
}

#[tokio::test]
async fn a_sink_that_takes_several_at_once_has_its_poison_found_beside_what_it_delivers() {
    let poison = [3, 4, 55, 200, 299];
    let (probe, dir) = (Probe::new("poison_at_once", []), tempfile::tempdir().unwrap());
    probe.at_once(4);
    probe.reject(&poison);
    let agent = start(&(on_disk(&probe, &dir, 300) + "\na1.sinks.k1.batchSize = 7")).await.unwrap();
    let channel = agent.channel("c1").unwrap();
    until(|| channel.totals().taken_events == 300).await;
    let mut delivered: Vec<u32> = probe.delivered().iter().map(|body| body.parse().unwrap()).collect();
    delivered.sort_unstable();
    let delivered: Vec<String> = delivered.iter().map(u32::to_string).collect();
    assert_eq!((delivered, dead_lettered(&agent)), (without(300, &poison), 5), "each once");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_sink_that_rejects_everything_does_not_empty_the_channel_and_goes_on_once_it_is_mended() {
    let (probe, dir) = (Probe::new("poison_all", []), tempfile::tempdir().unwrap());
    probe.reject(&(0..300).collect::<Vec<_>>());
    let agent = start(&on_disk(&probe, &dir, 300)).await.unwrap();
    until(|| last_error(&agent, "k1").contains("10 events in a row were set aside, so the sink is at fault")).await;
    let so_far = counted(&agent, "k1", MetricName::EventWriteFail);
    until(|| counted(&agent, "k1", MetricName::EventWriteFail) > so_far).await;
    assert_eq!((dead_lettered(&agent), state(&agent, "k1"), probe.delivered().len()), (10, State::Retrying, 0));
    probe.reject(&[100]);
    probe.until_delivered(289).await;
    let channel = agent.channel("c1").unwrap();
    until(|| channel.totals().taken_events == 300).await;
    let gone: Vec<u32> = (0..10).chain([100]).collect();
    assert_eq!((probe.delivered(), dead_lettered(&agent)), (without(300, &gone), 11));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn errors_that_may_pass_set_nothing_aside_however_often_they_come() {
    let acts = (0..ATTEMPTS + 1).map(|_| Act::Fail(broken()));
    let (probe, dir) = (Probe::new("poison_retry", acts), tempfile::tempdir().unwrap());
    probe.reject(&[7]);
    let agent = start(&on_disk(&probe, &dir, 20)).await.unwrap();
    probe.until_called(ATTEMPTS as usize + 2).await;
    assert_eq!(dead_lettered(&agent), 0, "rejected once");
    probe.until_delivered(19).await;
    until(|| dead_lettered(&agent) == 1).await;
    assert_eq!(probe.delivered(), without(20, &[7]));
    agent.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_channel_in_memory_keeps_the_event_and_the_status_names_the_remedy() {
    let probe = Probe::new("poison_memory", []);
    probe.reject(&[2]);
    let agent = start(&counting(&probe, "a1.sources.r1.totalEvents = 5")).await.unwrap();
    until(|| last_error(&agent, "k1").contains("a file channel sets such events aside")).await;
    let so_far = counted(&agent, "k1", MetricName::EventWriteFail);
    until(|| counted(&agent, "k1", MetricName::EventWriteFail) >= so_far + 3).await;
    assert_eq!((probe.delivered(), state(&agent, "k1")), (without(2, &[]), State::Retrying));
    assert_eq!(agent.channel("c1").unwrap().totals().waiting_events(), 3);
    probe.reject(&[]);
    probe.until_delivered(5).await;
    assert_eq!(probe.delivered(), without(5, &[]));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_channel_of_a_group_keeps_what_its_memory_channel_has_no_place_for() {
    let (probe, dir) = (Probe::new("poison_group", []), tempfile::tempdir().unwrap());
    probe.reject(&[2]);
    let at = dir.path().display();
    let group = format!(
        "a1.sources.r1.totalEvents = 5
         a1.channels = c1 spool
         a1.channels.spool.type = file
         a1.channels.spool.checkpointDir = {at}/checkpoint
         a1.channels.spool.dataDirs = {at}/data
         a1.sinkgroups = g1
         a1.sinkgroups.g1.sinks = k1
         a1.sinkgroups.g1.processor.type = store_on_failure
         a1.sinkgroups.g1.processor.channel = spool"
    );
    let agent = start(&counting(&probe, &group)).await.unwrap();
    probe.until_delivered(4).await;
    let channel = agent.channel("c1").unwrap();
    until(|| channel.totals().waiting_events() == 0).await;
    assert_eq!(probe.delivered(), without(5, &[2]));
    agent.stop().await.unwrap();
    let letters = millstream_channels::file::offline::DeadLetters::read(&dir.path().join("data")).unwrap();
    let [letter] = letters.letters() else { panic!("{letters:?}") };
    assert_eq!((letter.event.event(0).body(), &*letter.sink, letter.number), (&b"2"[..], "a1.sinkgroups.g1", 1));
    assert_eq!(letter.reason, "2 is poison");
}

//! Chains of agents, Flume's and ours in turn, of which one is killed in the middle of a flow: what has come is counted once
//! every channel is empty and at rest, so what comes twice is seen however late it comes.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use millstream::receiver::PollReceiver;
use millstream_testkit::peer::{ClassPath, Flume, Place, RpcLoad, Version};
use millstream_tests::config::{BATCH, Config, hop, last_hop};
use millstream_tests::demo::{Counts, different};
use millstream_tests::monitoring::{MONITORED, Monitored, until_at_rest};
use millstream_tests::overheard::Overheard;
use millstream_tests::peers::{OurAgent, WordCount, assert_at_least_once, once_each};
use millstream_tests::until_true;

const FAILOVER: &str =
    "processor.type = failover\nprocessor.priority.k1 = 10\nprocessor.priority.k2 = 5\nprocessor.maxpenalty = 1000";
const BALANCE: &str = "processor.type = load_balance\nprocessor.selector = round_robin\nprocessor.backoff = true";
/// Events that go through a chain.
const MANY: usize = 100_000;

fn poll(port: u16) -> PollReceiver {
    PollReceiver::new(vec![("127.0.0.1".to_owned(), port)])
}

/// Waits until everything that was sent has come, and nothing moves in these agents any more; gives what was counted.
#[track_caller]
fn counted(mut job: WordCount, sent: &Counts, agents: &[&dyn Monitored]) -> Counts {
    job.until_totals("all are counted", |totals| totals.len() == sent.len());
    until_at_rest(agents);
    job.stop()
}

/// Holds what was counted against what was sent, when a hop was killed that is foreign to both of its neighbours. On either
/// side at most one batch comes again, which was stored there and not yet answered for: on the side of `ways_in`, what
/// was said there twice; on the other side, the rest.
#[track_caller]
fn assert_one_batch_a_side(sent: &Counts, counts: &Counts, ways_in: &[Overheard]) {
    let mut said = Counts::new();
    for (body, times) in ways_in.iter().flat_map(Overheard::bodies) {
        *said.entry(body).or_default() += times;
    }
    assert!(sent.keys().all(|body| said.contains_key(body)), "all of it came this way");
    assert_at_least_once(sent, counts, 2 * BATCH);
    let again_here = counts.iter().map(|(body, times)| (times - 1).min(said[body] - 1)).sum::<u64>();
    let again_behind = counts.values().map(|times| times - 1).sum::<u64>() - again_here;
    println!("{again_here} again on the way in, {again_behind} on the way out");
    assert!(again_here <= BATCH && again_behind <= BATCH, "{again_here} on the way in, {again_behind} on the way out");
}

/// Half of what is sent takes this long at least, so that there is a flow to strike in.
const PAUSE_MS: u32 = 20;

/// Sends half of it through the agent at `port`, strikes meanwhile, and then sends the rest: whatever strikes calls the
/// second argument for that. Gives what was sent.
fn send_many(port: u16, place: &Place, strike: impl FnOnce(&mut RpcLoad, &dyn Fn())) -> Counts {
    let struck = place.path("struck");
    let half = |prefix: &str| format!("count={},batch={BATCH},pause={PAUSE_MS},prefix={prefix}", MANY / 2);
    let steps = [half("e"), format!("{},after={}", half("f"), struck.display())];
    let (dir, host) = (place.path("load"), format!("hosts = h1\nhosts.h1 = 127.0.0.1:{port}\n"));
    std::fs::create_dir(&dir).unwrap();
    let mut load = RpcLoad::start(ClassPath::Flume111, &dir, &host, &steps.each_ref().map(String::as_str));
    load.until_acknowledged(MANY / 5);
    strike(&mut load, &|| std::fs::write(&struck, "").unwrap());
    let sent = once_each(load.finish());
    assert_eq!(sent.len(), MANY);
    sent
}

#[test]
fn a_real_agent_between_two_of_ours_may_be_killed() {
    let last = OurAgent::start_with(&MONITORED, last_hop);
    let mut middle = Flume::monitored_agent(Version::V1_11, |place| hop(place, last.port("avro")));
    let way_in = Overheard::before(middle.port("avro"));
    let first = OurAgent::start_with(&MONITORED, |place| hop(place, way_in.port));
    let job = WordCount::start(poll(last.port("spark")));
    let sent = send_many(first.port("avro"), first.place(), |_, go_on| {
        job.until_totals("some have come through", |totals| totals.len() > 1_000);
        middle.kill();
        go_on();
        middle.start();
    });
    assert_one_batch_a_side(&sent, &counted(job, &sent, &[&first, &middle, &last]), &[way_in]);
}

/// Peers: Flume 1.11.0, Flume 1.9.0
#[test]
fn ours_between_two_real_agents_may_be_killed() {
    let last = Flume::monitored_agent(Version::V1_11, last_hop);
    let mut middle = OurAgent::start_with(&MONITORED, |place| hop(place, last.port("avro")));
    let way_in = Overheard::before(middle.port("avro"));
    let first = Flume::monitored_agent(Version::V1_9, |place| hop(place, way_in.port));
    let job = WordCount::start(poll(last.port("spark")));
    let sent = send_many(first.port("avro"), first.place(), |_, go_on| {
        job.until_totals("some have come through", |totals| totals.len() > 1_000);
        middle.kill();
        go_on();
        middle.start_again();
    });
    assert_one_batch_a_side(&sent, &counted(job, &sent, &[&first, &middle, &last]), &[way_in]);
}

#[test]
fn between_our_own_agents_no_event_comes_twice_whoever_is_killed() {
    let mut last = OurAgent::start_with(&MONITORED, last_hop);
    let mut middle = OurAgent::start_with(&MONITORED, |place| hop(place, last.port("avro")));
    let first = OurAgent::start_with(&MONITORED, |place| hop(place, middle.port("avro")));
    let job = WordCount::start(poll(last.port("spark")));
    let sent = send_many(first.port("avro"), first.place(), |load, go_on| {
        job.until_totals("some have come through", |totals| totals.len() > 1_000);
        middle.kill();
        go_on();
        middle.start_again();
        load.until_acknowledged(2 * MANY / 3);
        last.kill();
        last.start_again();
    });
    assert_eq!(different(&sent, &counted(job, &sent, &[&first, &middle, &last])), None);
}

/// From an avro source through a file channel to whom of the two next agents the group chooses.
fn group_hop(place: &mut Place, next: [u16; 2], processor: &str) -> String {
    let avro = place.port("avro");
    let config = Config::default().avro("r1", avro, "").file_channel("c1", place);
    config.avro_sink("k1", "c1", next[0], "").avro_sink("k2", "c1", next[1], "").group(processor).text()
}

/// An agent of either kind that can be killed.
trait Mortal: Monitored {
    fn kill(&mut self);
    fn start_again(&mut self);
}

impl Mortal for Flume {
    fn kill(&mut self) {
        Self::kill(self);
    }

    fn start_again(&mut self) {
        self.start();
    }
}

impl Mortal for OurAgent {
    fn kill(&mut self) {
        Self::kill(self);
    }

    fn start_again(&mut self) {
        Self::start_again(self);
    }
}

/// Kills the first of a group in the middle of the load; it is started again once the second has taken over.
fn kill_the_first(
    group: &mut [impl Mortal; 2],
    job: &WordCount,
    load: &mut RpcLoad,
    go_on: &dyn Fn(),
    processor: &str,
) {
    job.until_totals("some have come through", |totals| totals.len() > 1_000);
    let before = group[1].received();
    assert!(processor != FAILOVER || before == 0, "the first takes everything while it is there");
    group[0].kill();
    go_on();
    load.until_acknowledged(2 * MANY / 3);
    until_true("the second takes over", || group[1].received() > before + BATCH);
    group[0].start_again();
}

/// Ours → a group of two real ones → ours; a real one is killed, and started again when two thirds are sent.
fn a_group_of_real_agents_between_two_of_ours_may_lose_one(processor: &str) {
    let last = OurAgent::start_with(&MONITORED, last_hop);
    let mut middle = [Version::V1_9, Version::V1_11]
        .map(|version| Flume::monitored_agent(version, |place| hop(place, last.port("avro"))));
    let ways_in = middle.each_ref().map(|agent| Overheard::before(agent.port("avro")));
    let next = ways_in.each_ref().map(|way| way.port);
    let first = OurAgent::start_with(&MONITORED, |place| group_hop(place, next, processor));
    let job = WordCount::start(poll(last.port("spark")));
    let sent = send_many(first.port("avro"), first.place(), |load, go_on| {
        kill_the_first(&mut middle, &job, load, go_on, processor);
    });
    assert_one_batch_a_side(&sent, &counted(job, &sent, &[&first, &middle[0], &middle[1], &last]), &ways_in);
}

/// Peers: Flume 1.11.0, Flume 1.9.0
#[test]
fn a_failover_group_of_real_agents_between_two_of_ours_may_lose_one() {
    a_group_of_real_agents_between_two_of_ours_may_lose_one(FAILOVER);
}

/// Peers: Flume 1.11.0, Flume 1.9.0
#[test]
fn a_load_balancing_group_of_real_agents_between_two_of_ours_may_lose_one() {
    a_group_of_real_agents_between_two_of_ours_may_lose_one(BALANCE);
}

/// Real → a group of two of ours → real, of these versions; one of ours is killed, and started again when two thirds are
/// sent.
fn a_group_of_ours_between_two_real_agents_may_lose_one(versions: [Version; 2], processor: &str) {
    let last = Flume::monitored_agent(versions[1], last_hop);
    let mut middle = [(), ()].map(|()| OurAgent::start_with(&MONITORED, |place| hop(place, last.port("avro"))));
    let ways_in = middle.each_ref().map(|agent| Overheard::before(agent.port("avro")));
    let next = ways_in.each_ref().map(|way| way.port);
    let first = Flume::monitored_agent(versions[0], |place| group_hop(place, next, processor));
    let job = WordCount::start(poll(last.port("spark")));
    let sent = send_many(first.port("avro"), first.place(), |load, go_on| {
        kill_the_first(&mut middle, &job, load, go_on, processor);
    });
    assert_one_batch_a_side(&sent, &counted(job, &sent, &[&first, &middle[0], &middle[1], &last]), &ways_in);
}

/// Peers: Flume 1.11.0, Flume 1.9.0
#[test]
fn a_failover_group_of_ours_between_two_real_agents_may_lose_one() {
    a_group_of_ours_between_two_real_agents_may_lose_one([Version::V1_11, Version::V1_9], FAILOVER);
}

/// Peers: Flume 1.11.0, Flume 1.9.0
#[test]
fn a_load_balancing_group_of_ours_between_two_real_agents_may_lose_one() {
    a_group_of_ours_between_two_real_agents_may_lose_one([Version::V1_9, Version::V1_11], BALANCE);
}

/// Peers: Flume 1.11.0
#[test]
fn the_last_of_ours_behind_a_real_agent_may_be_killed() {
    let mut last = OurAgent::start_with(&MONITORED, last_hop);
    let middle = Flume::monitored_agent(Version::V1_11, |place| hop(place, last.port("avro")));
    let first = OurAgent::start_with(&MONITORED, |place| hop(place, middle.port("avro")));
    let job = WordCount::start(poll(last.port("spark")));
    let sent = send_many(first.port("avro"), first.place(), |_, go_on| {
        job.until_totals("some have come through", |totals| totals.len() > 1_000);
        last.kill();
        go_on();
        last.start_again();
    });
    // Towards our job events have names; only what the real one had no answer for comes again.
    assert_at_least_once(&sent, &counted(job, &sent, &[&first, &middle, &last]), BATCH);
}

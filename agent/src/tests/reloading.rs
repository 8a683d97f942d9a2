//! Another configuration while the agent runs: what restarts, what goes on, what is lost (nothing).

use std::path::PathBuf;

use super::probe::Act;
use super::*;
use crate::Changes;

/// A configuration file that tests change.
struct File(tempfile::TempDir);

impl File {
    fn new(text: &str) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("flume.conf")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    async fn start(&self) -> RunningAgent {
        let builder = Agent::builder().name("a1").config_file(self.path()).home(self.0.path());
        builder.register(&PROBE_SINK).register(&PROBE_SOURCE).start().await.unwrap()
    }
}

fn changes(started: &[&str], removed: &[&str], resized: &[&str]) -> Changes {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Changes { started: names(started), removed: names(removed), resized: names(resized) }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn component(agent: &RunningAgent, name: &str) -> std::sync::Arc<millstream_core::ComponentStatus> {
    agent.status().components().into_iter().find(|component| *component.name == *name).unwrap()
}

/// A file channel in `dir`.
fn file_channel(dir: &std::path::Path, more: &str) -> String {
    format!(
        "a1.channels.c1.type = file
         a1.channels.c1.capacity = 10000
         a1.channels.c1.checkpointDir = {0}/checkpoint
         a1.channels.c1.dataDirs = {0}/data
         {more}",
        dir.display()
    )
}

#[tokio::test]
async fn a_changed_sink_restarts_while_its_source_goes_on_and_nothing_is_lost() {
    let (probe, second) = (Probe::new("sink_changes", []), Probe::new("sink_changed", []));
    let config = |sink: &Probe| counting(sink, "a1.sources.r1.totalEvents = 20000\na1.sources.r1.batchSize = 10");
    let file = File::new(&config(&probe));
    let mut agent = file.start().await;
    let (source, channel) = (component(&agent, "r1"), agent.channel("c1").unwrap());
    probe.until_delivered(100).await;
    file.write(&format!("# Everything moves down a line.\n{}\na1.sinks.k1.batchSize = 7", config(&second)));
    assert_eq!(agent.reload().await.unwrap(), changes(&["a1.sinks.k1"], &[], &[]));
    assert!(std::sync::Arc::ptr_eq(&source, &component(&agent, "r1")), "the source is the same");
    assert!(std::sync::Arc::ptr_eq(&channel, &agent.channel("c1").unwrap()), "the channel is the same");
    until(|| probe.delivered().len() + second.delivered().len() >= 20_000).await;
    agent.stop().await.unwrap();
    assert_eq!([probe.delivered(), second.delivered()].concat(), numbers(20_000), "in order, none missing, none twice");
}

#[tokio::test]
async fn the_same_definition_elsewhere_in_the_file_changes_nothing() {
    let probe = Probe::new("moved", []);
    let config = counting(&probe, "a1.sources.r1.totalEvents = 10");
    let file = File::new(&config);
    let mut agent = file.start().await;
    probe.until_delivered(10).await;
    let reversed: Vec<&str> = config.lines().rev().collect();
    file.write(&reversed.join("\n\n"));
    assert!(agent.reload().await.unwrap().is_empty());
    assert_eq!(probe.delivered().len(), 10, "a source that came to its end does not begin anew");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_names_every_reason() {
    let probe = Probe::new("keeps_old", []);
    let config = counting(&probe, "a1.sinks = k1 k2\na1.sinks.k2.type = nll\na1.sinks.k2.channel = c1");
    let file = File::new(&config);
    let mut agent = file.start().await;
    let sink = component(&agent, "k1");
    until_state(&agent, "r1", State::Running).await;
    until_state(&agent, "k1", State::Running).await;
    for (more, part) in [
        ("a1.sinks.k1.batchSize = many", "a1.sinks.k1.batchSize: expected a whole number in 1..=1000000, got \"many\""),
        ("a1.sinks.k1.type = prob", "there is no sink of type \"prob\"; did you mean probe?"),
        ("a1.sinks.k1.channel = c2", "there is no working channel \"c2\", so a1.sinks.k1 does without it"),
        ("a1.sinks = k1 k2 k3", "a1.sinks.k3 has no settings and is not run"),
        ("a1.channels.c1.capacity = 5", "expected at most capacity, 5, got 100"),
        (
            "a1.channels.c1.transactionCapacity = 50",
            "a1.sinks.k1.batchSize: expected at most 50, the transactionCapacity of channel c1, got 100",
        ),
        ("a1.sources.r1.interceptors = i1", "interceptor \"i1\" has no type, so a1.sources.r1 is not run"),
        ("a1.x = \\u00zz", "expected four hexadecimal digits"),
    ] {
        file.write(&format!("{config}\n{more}"));
        let error = agent.reload().await.unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
        assert!(error.contains("flume.conf"), "{error}");
        assert!(!error.contains("\"nll\""), "what was broken before is no reason: {error}");
        assert!(std::sync::Arc::ptr_eq(&sink, &component(&agent, "k1")), "{more}");
        assert_eq!((state(&agent, "r1"), state(&agent, "k1")), (State::Running, State::Running), "{more}");
    }
    std::fs::remove_file(file.path()).unwrap();
    assert!(agent.reload().await.unwrap_err().to_string().contains("flume.conf: No such file"));
    let seen = probe.delivered().len();
    probe.until_delivered(seen + 1).await;
    file.write(&format!("{config}\na1.sinks.k2.type = null"));
    assert_eq!(agent.reload().await.unwrap(), changes(&["a1.sinks.k2"], &[], &[]), "mended");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_of_which_nothing_can_run_names_every_reason() {
    let probe = Probe::new("hopeless", []);
    let config = counting(&probe, "");
    let file = File::new(&config);
    let mut agent = file.start().await;
    file.write(&format!("{config}\na1.sinks.k1.batchSize = many\na1.sources.r1.batchSize = few"));
    let error = agent.reload().await.unwrap_err().to_string();
    assert!(error.contains("got \"many\"") && error.contains("got \"few\""), "{error}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_memory_channel_that_is_resized_keeps_its_events_and_both_ends_go_on() {
    let probe = Probe::new("resized", []);
    probe.close();
    let config = counting(&probe, "a1.sources.r1.totalEvents = 1500\na1.sources.r1.batchSize = 100");
    let file = File::new(&config);
    let mut agent = file.start().await;
    let (channel, sink) = (agent.channel("c1").unwrap(), component(&agent, "k1"));
    until(|| channel.totals().put_events == 1000).await;
    file.write(&format!("{config}\na1.channels.c1.capacity = 1500"));
    assert_eq!(agent.reload().await.unwrap(), changes(&[], &[], &["a1.channels.c1"]));
    until(|| channel.totals().put_events == 1500).await;
    assert_eq!(agent.status().channel_view()[0].capacity_events, 1500);
    assert!(std::sync::Arc::ptr_eq(&sink, &component(&agent, "k1")));
    probe.open();
    probe.until_delivered(1500).await;
    assert_eq!(probe.delivered(), numbers(1500));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_memory_channel_that_becomes_a_file_channel_hands_its_events_over() {
    let (probe, dir) = (Probe::new("poured", []), tempfile::tempdir().unwrap());
    probe.close();
    let config = counting(&probe, "a1.sources.r1.totalEvents = 700\na1.sources.r1.batchSize = 100");
    let file = File::new(&config);
    let mut agent = file.start().await;
    until(|| agent.channel("c1").unwrap().totals().put_events == 700).await;
    probe.until_called(1).await;
    file.write(&format!("{config}\n{}", file_channel(dir.path(), "a1.sources.r1.totalEvents = 0")));
    let reloaded = async { agent.reload().await.unwrap() };
    let open = async {
        // The sink that runs has a delivery in hand, which is finished first.
        probe.open();
    };
    let (reloaded, ()) = tokio::join!(reloaded, open);
    assert_eq!(reloaded, changes(&["a1.channels.c1", "a1.sinks.k1", "a1.sources.r1"], &[], &[]));
    assert!(agent.channel("c1").unwrap().is_durable());
    probe.until_delivered(700).await;
    agent.stop().await.unwrap();
    assert_eq!(probe.delivered(), numbers(700));
}

#[tokio::test]
async fn a_file_channel_that_changes_is_opened_again_with_all_that_it_holds() {
    let (probe, dir) = (Probe::new("reopened", []), tempfile::tempdir().unwrap());
    probe.close();
    let config = counting(&probe, &file_channel(dir.path(), "a1.sources.r1.totalEvents = 900"));
    let file = File::new(&config);
    let mut agent = file.start().await;
    until(|| agent.channel("c1").unwrap().totals().put_events == 900).await;
    probe.open();
    let ended = "a1.sources.r1.totalEvents = 0";
    // Judged before anything stops.
    file.write(&format!("{config}\na1.channels.c1.encryption.activeKey = k\n{ended}"));
    assert!(agent.reload().await.unwrap_err().to_string().contains("encryption is not built in"));
    // Found wanting only once the old one is closed: the old definition comes back.
    file.write(&format!("{config}\na1.channels.c1.dataDirs = /dev/null/x\n{ended}"));
    agent.reload().await.unwrap();
    assert!(last_error(&agent, "c1").contains("/dev/null/x"), "{}", last_error(&agent, "c1"));
    assert_eq!(state(&agent, "c1"), State::Running);
    file.write(&format!("{config}\na1.channels.c1.capacity = 20000\n{ended}"));
    let changed = agent.reload().await.unwrap();
    assert_eq!(changed, changes(&["a1.channels.c1", "a1.sinks.k1", "a1.sources.r1"], &[], &[]));
    assert_eq!(agent.status().channel_view()[0].capacity_events, 20_000);
    probe.until_delivered(900).await;
    agent.stop().await.unwrap();
    assert_eq!(probe.delivered(), numbers(900), "in order, none missing, none twice");
}

#[tokio::test]
async fn a_store_moves_to_a_channel_of_another_name() {
    let (probe, dir) = (Probe::new("renamed", []), tempfile::tempdir().unwrap());
    probe.close();
    let config = counting(&probe, &file_channel(dir.path(), "a1.sources.r1.totalEvents = 500"));
    let file = File::new(&config);
    let mut agent = file.start().await;
    until(|| agent.channel("c1").unwrap().totals().put_events == 500).await;
    probe.open();
    let renamed = config.replace("c1", "c2").replace("totalEvents = 500", "totalEvents = 0");
    file.write(&renamed);
    agent.reload().await.unwrap();
    assert!(agent.channel("c1").is_none());
    probe.until_delivered(500).await;
    agent.stop().await.unwrap();
    assert_eq!(probe.delivered(), numbers(500));
}

#[tokio::test]
async fn a_path_that_is_taken_out_delivers_first_and_one_that_is_put_in_runs() {
    let (probe, second) = (Probe::new("goes", []), Probe::new("comes", []));
    probe.close();
    let config = counting(&probe, "a1.sources.r1.totalEvents = 300");
    let other = counting(&second, "a1.sources.r1.totalEvents = 5");
    let file = File::new(&config);
    let mut agent = file.start().await;
    until(|| agent.channel("c1").unwrap().totals().put_events == 300).await;
    let other = other.replace("r1", "r2").replace("c1", "c2").replace("k1", "k2");
    file.write(&other);
    probe.open();
    let changed = agent.reload().await.unwrap();
    let started = ["a1.channels.c2", "a1.sinks.k2", "a1.sources.r2"];
    assert_eq!(changed, changes(&started, &["a1.channels.c1", "a1.sources.r1", "a1.sinks.k1"], &[]));
    assert_eq!(probe.delivered(), numbers(300), "before it was taken out");
    second.until_delivered(5).await;
    assert_eq!(agent.path(), "seq r2 → memory c2 → probe k2");
    let shown: Vec<String> = agent.status().components().iter().map(|one| one.name.to_string()).collect();
    assert_eq!(shown, ["r2", "c2", "k2"]);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_source_that_changes_in_the_middle_of_a_file_goes_on_where_it_was() {
    let (probe, dir) = (Probe::new("mid_file", []), tempfile::tempdir().unwrap());
    let spool = dir.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    std::fs::write(spool.join("lines"), numbers(50_000).join("\n") + "\n").unwrap();
    let source = format!(
        "a1.sources.r1.type = spooldir\na1.sources.r1.spoolDir = {}\na1.sources.r1.batchSize = 100",
        spool.display()
    );
    let config = counting(&probe, &file_channel(dir.path(), &source));
    let file = File::new(&config);
    let mut agent = file.start().await;
    for round in 1..=3 {
        probe.until_delivered(round * 1000).await;
        file.write(&format!("{config}\na1.sources.r1.pollDelay = {round}00"));
        assert_eq!(agent.reload().await.unwrap(), changes(&["a1.sources.r1"], &[], &[]));
    }
    probe.until_delivered(50_000).await;
    agent.stop().await.unwrap();
    assert!(probe.delivered() == numbers(50_000), "in order, none missing, none twice");
}

#[tokio::test]
async fn what_failed_for_good_is_started_again() {
    let probe = Probe::new("again", [Act::Fail(Error::mismatch("probe", "not mine"))]);
    let file = File::new(&counting(&probe, ""));
    let mut agent = file.start().await;
    until_state(&agent, "k1", State::Failed).await;
    assert_eq!(agent.reload().await.unwrap(), changes(&["a1.sinks.k1"], &[], &[]));
    probe.until_delivered(1).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn several_files_are_one_configuration_and_each_of_them_is_watched() {
    let probe = Probe::new("several", []);
    let (base, more) = (File::new(&counting(&probe, "")), File::new("a1.sinks.k1.batchSize = 3"));
    let builder = Agent::builder().name("a1").config_file(base.path()).config_file(more.path());
    let mut agent = builder.register(&PROBE_SINK).start().await.unwrap();
    let mut watch = agent.watch();
    for (file, text, restarted) in [
        (&more, "a1.sinks.k1.batchSize = 44", "a1.sinks.k1"),
        (&base, &*counting(&probe, "a1.sources.r1.batchSize = 9"), "a1.sources.r1"),
    ] {
        file.write(text);
        in_time(watch.changed(Duration::from_millis(1))).await;
        assert_eq!(agent.reload().await.unwrap(), changes(&[restarted], &[], &[]));
    }
    let waited = tokio::time::timeout(Duration::from_millis(50), watch.changed(Duration::from_millis(1))).await;
    assert!(waited.is_err(), "nothing has changed since");
    std::fs::remove_file(more.path()).unwrap();
    in_time(watch.changed(Duration::from_millis(1))).await;
    assert!(agent.reload().await.is_err());
    agent.stop().await.unwrap();
}

//! The three reliability levels, as their examples configure them, while links are cut and both hops are killed with -9:
//! what `docs/reliability.md` promises of each.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use millstream_testkit::Proxy;
use millstream_tests::demo::spool;
use millstream_tests::monitoring::{MONITORED, address, metrics};
use millstream_tests::{Process, millstream};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Lines of one file, and events of one take of the sinks.
const LINES: usize = 500;
const BATCH: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// A level's example in a directory of its own, with a link that can be cut between its two agents.
struct Level {
    dir: TempDir,
    link: Proxy,
    files: usize,
}

// === impl Level ===

impl Level {
    async fn of(example: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let link = Proxy::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let dir = tempfile::tempdir().unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples");
        let text = fs::read_to_string(examples.join(example)).unwrap();
        let here = |text: &str, line: &str, with: String| {
            assert!(text.contains(line), "{example} has no line {line}");
            text.replace(line, &with)
        };
        let text = here(&text, "next.port = 41416", format!("next.port = {}", link.address.port()));
        let text = here(&text, "in.port = 41416", format!("in.port = {port}"));
        let text = here(&text, "next.hostname = localhost", "next.hostname = 127.0.0.1".to_owned());
        let text = here(&text, "in.bind = 0.0.0.0", "in.bind = 127.0.0.1".to_owned());
        fs::write(dir.path().join("flume.properties"), text).unwrap();
        for name in ["spool", "out"] {
            fs::create_dir_all(dir.path().join("reliability").join(name)).unwrap();
        }
        Self { dir, link, files: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("reliability").join(name)
    }

    fn agent(&self, name: &str) -> Process {
        let mut command = Command::new(millstream());
        command.args(["agent", "-n", name, "-f", "flume.properties"]).args(MONITORED);
        command.current_dir(self.dir.path()).env_remove("RUST_LOG");
        let agent = Process::spawn(command);
        agent.until("agent is ready");
        agent
    }

    /// Puts a file with new lines into the spool.
    fn feed(&mut self) {
        let from = self.files * LINES;
        let lines: String = (from..from + LINES).map(|line| format!("line {line}\n")).collect();
        spool(&self.path("spool"), &format!("file-{:04}", self.files), lines);
        self.files += 1;
    }

    /// How often each line stands in the files of the collector.
    fn written(&self) -> BTreeMap<usize, usize> {
        let mut written = BTreeMap::new();
        for file in fs::read_dir(self.path("out")).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            // What a kill left half-written was not delivered, and comes again.
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            for line in whole.lines() {
                *written.entry(line.strip_prefix("line ").unwrap().parse().unwrap()).or_default() += 1;
            }
        }
        written
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "never: {what}; {} lines are written", self.written().len());
            tokio::time::sleep(Duration::from_millis(5)).await; // sleeps: between two looks at files that wake nobody
        }
    }

    /// Feeds a file and waits until something new was written: events are on their way.
    async fn pass(&mut self) {
        let before = self.written().len();
        self.feed();
        self.until("something new is written", || self.written().len() > before).await;
    }

    async fn until_all_is_written(&self) {
        self.until("all is written", || self.written().len() == self.files * LINES).await;
    }

    /// Where the events of the channel in `dir` are, once nothing runs.
    fn audited(&self, dir: &str) -> Value {
        let output = Command::new(millstream()).arg("audit").arg(self.path(dir)).args(["--output", "json"]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["channels"][0].clone()
    }

    /// Whether no file will be read again by an edge that forgot what it read.
    fn all_is_read(&self) -> bool {
        let files = fs::read_dir(self.path("spool")).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|end| end == "COMPLETED")).count() == self.files
    }

    fn more_than_once(&self) -> usize {
        self.written().values().map(|times| times - 1).sum()
    }
}

/// A number in the agent's monitoring.
fn metric(agent: &Process, component: &str, name: &str) -> usize {
    metrics(&address(agent))[component][name].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_to_end_loses_nothing_and_no_hop_stores_twice_over_cut_links_and_kills_of_both_hops() {
    let mut level = Level::of("end-to-end.properties").await;
    let (mut edge, mut collector) = (level.agent("edge"), level.agent("collector"));
    let mut collectors_killed = 0;
    for round in 0..12 {
        level.pass().await;
        level.link.cut();
        level.feed();
        match round % 3 {
            0 => {
                drop(edge);
                edge = level.agent("edge");
            }
            1 => {
                drop(collector);
                collectors_killed += 1;
                level.feed();
                collector = level.agent("collector");
            }
            _ => {
                drop((edge, collector));
                collectors_killed += 1;
                (edge, collector) = (level.agent("edge"), level.agent("collector"));
            }
        }
    }
    level.until_all_is_written().await;
    edge.stop().expect_code(0);
    collector.stop().expect_code(0);
    let lines = level.files * LINES;
    for hop in ["edge", "collector"] {
        let ledger = level.audited(hop);
        assert_eq!(
            (&ledger["in"], &ledger["waiting"], &ledger["lost"]),
            (&lines.into(), &0.into(), &0.into()),
            "{hop}"
        );
    }
    assert!(level.audited("collector")["redelivered"].as_u64().unwrap() > 0, "nothing came again: this proves nothing");
    // Files are foreign: a kill between writing and acknowledging repeats a batch.
    let twice = level.more_than_once();
    assert!(twice <= collectors_killed * BATCH, "{twice} lines more than once after {collectors_killed} kills");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_on_failure_loses_nothing_while_the_collector_is_cut_off_or_killed_and_what_is_stored_survives_a_kill() {
    let mut level = Level::of("store-on-failure.properties").await;
    let (mut edge, mut collector) = (level.agent("edge"), level.agent("collector"));
    let mut killed = 0;
    for round in 0..9 {
        level.pass().await;
        level.link.cut();
        level.feed();
        if round % 3 == 2 {
            drop(collector);
            killed += 1;
            level.feed();
            collector = level.agent("collector");
        }
    }
    // The collector is away; what is read meanwhile is stored, and outlives its process.
    level.until_all_is_written().await;
    drop(collector);
    let stored = metric(&edge, "CHANNEL.spool", "EventPutSuccessCount");
    level.feed();
    level
        .until("it is stored", || {
            level.all_is_read()
                && metric(&edge, "CHANNEL.ram", "ChannelSize") == 0
                && metric(&edge, "CHANNEL.spool", "ChannelSize") == LINES
        })
        .await;
    assert_eq!(metric(&edge, "CHANNEL.spool", "EventPutSuccessCount"), stored + LINES);
    drop(edge);
    (edge, collector) = (level.agent("edge"), level.agent("collector"));
    level.until_all_is_written().await;
    edge.stop().expect_code(0);
    collector.stop().expect_code(0);
    let ledger = level.audited("collector");
    assert_eq!(ledger["in"], level.files * LINES, "no event is stored twice: {ledger}");
    let twice = level.more_than_once();
    assert!(twice <= (killed + 1) * BATCH, "{twice} lines more than once after {killed} kills");
}

/// What a memory channel of the examples holds at most: lost with its process.
const IN_MEMORY: usize = 1000;
/// More files than a memory channel has room for.
const MANY: usize = 6;

/// Feeds more than the edge's memory holds, and kills the edge when that is nearly full. How many events it knew by then to
/// be lost.
async fn kill_with_full_memory(level: &mut Level, edge: Process) -> usize {
    (0..MANY).for_each(|_| level.feed());
    let full = || metric(&edge, "CHANNEL.ram", "ChannelSize") > IN_MEMORY - BATCH;
    level.until("the memory of the edge is full", full).await;
    let counted = metric(&edge, "SINK.next", "EventWriteFail");
    drop(edge);
    counted
}

/// How many lines are missing once nothing comes any more.
async fn missing(level: &Level, channels: &[(&Process, &str)]) -> usize {
    let waits = |(agent, channel): &(&Process, &str)| metric(agent, channel, "ChannelSize") > 0;
    let empty = || level.all_is_read() && !channels.iter().any(waits);
    level.until("nothing waits", empty).await;
    let missing = || level.files * LINES - level.written().len();
    // What was sent and not answered for is on its way to a file.
    let mut before = usize::MAX;
    while std::mem::replace(&mut before, missing()) != before || !empty() {
        tokio::time::sleep(AT_REST).await; // sleeps: between two looks, of which both must find the same
    }
    before
}

const AT_REST: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_store_on_failure_an_edge_that_is_killed_costs_no_more_than_its_memory() {
    let mut level = Level::of("store-on-failure.properties").await;
    let (edge, collector) = (level.agent("edge"), level.agent("collector"));
    level.pass().await;
    level.until_all_is_written().await;
    // It answers nothing, and the edge waits for it. Then both are gone.
    collector.signal(Signal::SIGSTOP);
    kill_with_full_memory(&mut level, edge).await;
    drop(collector);
    let (edge, collector) = (level.agent("edge"), level.agent("collector"));
    let channels = [(&edge, "CHANNEL.ram"), (&edge, "CHANNEL.spool"), (&collector, "CHANNEL.log")];
    let missing = missing(&level, &channels).await;
    assert!((1..=IN_MEMORY).contains(&missing), "{missing} lines are missing");
    edge.stop().expect_code(0);
    collector.stop().expect_code(0);
    assert_eq!(level.audited("collector")["in"], level.written().len(), "and none is stored twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_best_effort_an_edge_that_is_killed_costs_no_more_than_its_memory() {
    let mut level = Level::of("best-effort.properties").await;
    // Without the link, which takes connections though nobody is behind it: what is sent into one is lost, and waits no more.
    let properties = level.dir.path().join("flume.properties");
    let text = fs::read_to_string(&properties).unwrap();
    let port = text.lines().find_map(|line| line.strip_prefix("collector.sources.in.port = ")).unwrap();
    let link = format!("next.port = {}", level.link.address.port());
    fs::write(&properties, text.replace(&link, &format!("next.port = {port}"))).unwrap();
    let (edge, collector) = (level.agent("edge"), level.agent("collector"));
    level.pass().await;
    level.until_all_is_written().await;
    drop(collector);
    let counted = kill_with_full_memory(&mut level, edge).await;
    let (edge, collector) = (level.agent("edge"), level.agent("collector"));
    let missing = missing(&level, &[(&edge, "CHANNEL.ram"), (&collector, "CHANNEL.ram")]).await;
    let most = IN_MEMORY + counted + metric(&edge, "SINK.next", "EventWriteFail");
    assert!((1..=most).contains(&missing), "{missing} lines are missing, {most} may be");
    assert_eq!(level.more_than_once(), 0);
    edge.stop().expect_code(0);
    collector.stop().expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_best_effort_a_collector_that_is_killed_costs_no_more_than_its_memory() {
    let mut level = Level::of("best-effort.properties").await;
    // Nobody empties it.
    let properties = level.dir.path().join("flume.properties");
    let text = fs::read_to_string(&properties).unwrap();
    fs::write(&properties, text.replace("collector.sinks = files", "collector.sinks =")).unwrap();
    let (edge, collector) = (level.agent("edge"), level.agent("collector"));
    fs::write(&properties, text).unwrap();
    (0..MANY).for_each(|_| level.feed());
    let full = || metric(&collector, "CHANNEL.ram", "ChannelSize") > IN_MEMORY - BATCH;
    level.until("the memory of the collector is full", full).await;
    drop(collector);
    let collector = level.agent("collector");
    let missing = missing(&level, &[(&edge, "CHANNEL.ram"), (&collector, "CHANNEL.ram")]).await;
    let most = IN_MEMORY + metric(&edge, "SINK.next", "EventWriteFail");
    assert!((1..=most).contains(&missing), "{missing} lines are missing, {most} may be");
    assert_eq!(level.more_than_once(), 0);
    edge.stop().expect_code(0);
    collector.stop().expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn best_effort_counts_what_cut_links_cost_and_a_kill_costs_no_more_than_the_memory_of_its_hop() {
    let mut level = Level::of("best-effort.properties").await;
    let (edge, mut collector) = (level.agent("edge"), level.agent("collector"));
    for _ in 0..30 {
        level.pass().await;
        level.feed();
        level.link.cut();
    }
    let counted = |edge: &Process| metric(edge, "SINK.next", "EventWriteFail");
    let quiet = |level: &Level, edge: &Process, collector: &Process| {
        level.all_is_read()
            && metric(edge, "CHANNEL.ram", "ChannelSize") == 0
            && metric(collector, "CHANNEL.ram", "ChannelSize") == 0
    };
    let missing = |level: &Level| level.files * LINES - level.written().len();
    level
        .until("what is missing is counted", || quiet(&level, &edge, &collector) && missing(&level) <= counted(&edge))
        .await;
    let lost_by_links = counted(&edge);
    assert!(lost_by_links > 0, "no cut hit anything: this run proves nothing");
    assert_eq!(level.more_than_once(), 0, "what is not waited for is not sent again");

    level.pass().await;
    drop(collector);
    level.feed();
    level
        .until("the edge sends into the void", || {
            metric(&edge, "CHANNEL.ram", "ChannelSize") > 0 || counted(&edge) > lost_by_links
        })
        .await;
    collector = level.agent("collector");
    level.pass().await;
    let may_miss = |edge: &Process| counted(edge) + IN_MEMORY;
    level
        .until("only what the collector held is not counted", || {
            quiet(&level, &edge, &collector) && missing(&level) <= may_miss(&edge)
        })
        .await;
    assert_eq!(level.more_than_once(), 0);
    edge.stop().expect_code(0);
    collector.stop().expect_code(0);
}

use std::cell::RefCell;
use std::path::Path;

use millstream_core::MetricName;
use millstream_io::ManualClock;
use millstream_testkit::contract::sink::{FailingHome, Home};
use millstream_testkit::{Call, FakeDisk, TestChannel, failing_sink_contract, setting, sink_contract, start_sink};
use tempfile::TempDir;

use super::*;

/// A directory of this machine.
struct Local(TempDir);

impl Local {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }
}

impl Home for Local {
    fn spec(&self) -> &'static SinkSpec {
        &SPEC
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("sink.directory", self.0.path().display().to_string())]
    }

    fn delivered(&self) -> Option<Vec<String>> {
        let mut files: Vec<_> = std::fs::read_dir(self.0.path()).expect("a directory").flatten().collect();
        // Named by the millisecond of the start, and counted. Of two starts within one, the second passes over the names of the
        // first. The times of the files are too coarse to tell.
        files.sort_by_key(|file| {
            let name = file.file_name().into_string().expect("a name");
            let (start, number) = name.split_once('-').expect("millisecond-number");
            [start, number].map(|part| part.parse::<u64>().expect("a number"))
        });
        let texts = files.iter().map(|file| std::fs::read_to_string(file.path()).expect("text"));
        Some(texts.collect::<String>().lines().map(str::to_owned).collect())
    }
}

sink_contract!(Local::new());

thread_local! {
    /// The disk of the sinks that a test builds.
    static DISK: RefCell<FakeDisk> = RefCell::new(FakeDisk::new());
}

/// As the real one, on the disk of the thread.
static ON_FAKE_DISK: SinkSpec = SinkSpec {
    build: |options| built(options, Arc::new(DISK.with_borrow(FakeDisk::clone)), SystemClock::new()),
    name: SPEC.name,
    aliases: SPEC.aliases,
    summary: SPEC.summary,
    options: SPEC.options,
};

/// A directory that does not exist but in a test's mind.
struct Fake(FakeDisk);

impl Fake {
    fn new() -> Self {
        let disk = FakeDisk::new();
        disk.create_dir_all(Path::new(DIR)).expect("a directory");
        DISK.set(disk.clone());
        Self(disk)
    }

    fn files(&self) -> Vec<(String, String)> {
        let names = self.0.list(Path::new(DIR)).expect("a directory");
        let content = |name: &str| String::from_utf8(self.0.content(&Path::new(DIR).join(name)).expect("a file"));
        names.into_iter().map(|name| (content(&name).expect("text"), name)).map(|(text, name)| (name, text)).collect()
    }
}

impl Home for Fake {
    fn spec(&self) -> &'static SinkSpec {
        &ON_FAKE_DISK
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("sink.directory", DIR.into())]
    }

    fn delivered(&self) -> Option<Vec<String>> {
        let mut files = self.files();
        files.sort_by_key(|(name, _)| name.split_once('-').and_then(|(_, number)| number.parse::<u64>().ok()));
        Some(files.iter().flat_map(|(_, text)| text.lines().map(str::to_owned)).collect())
    }
}

impl FailingHome for Fake {
    fn fail(&self, count: usize) {
        self.0.fail(Call::TornWrite, 0, count as u32);
    }
}

failing_sink_contract!(Fake::new());

#[tokio::test]
async fn files_are_counted_as_connections() {
    let home = Fake::new();
    home.0.fail(Call::Create, 0, 1);
    let settings = [setting("sink.directory", DIR)];
    let (options, _) = Options::parse("a1.sinks.k1", SPEC.options, &[], settings).expect("options");
    let channel = TestChannel::new();
    let running = start_sink((ON_FAKE_DISK.build)(&options).expect("built"), &channel);
    channel.fill(0..3);
    channel.until_committed(3).await;
    let status = Arc::clone(&running.status);
    let counted = |name| status.counters().value(name);
    assert_eq!(counted(MetricName::ConnectionFailedCount), 1);
    assert_eq!((counted(MetricName::ConnectionCreatedCount), counted(MetricName::ConnectionClosedCount)), (1, 0));
    running.stop().await.expect("stopped");
    assert_eq!(counted(MetricName::ConnectionClosedCount), 1);
}

const DIR: &str = "/events";

fn writer(disk: &FakeDisk, clock: &Arc<ManualClock>, settings: &[(&str, &str)]) -> Result<Writer> {
    let settings = settings.iter().chain(&[("sink.directory", DIR)]).map(|(key, value)| setting(key, value));
    let (options, unknown) = Options::parse("a1.sinks.k1", SPEC.options, &[], settings)?;
    assert_eq!(unknown, [""; 0]);
    Writer::from_options(&options, Arc::new(disk.clone()), Arc::clone(clock) as Arc<dyn Clock>)
}

fn bodies<const N: usize>(bodies: [&str; N]) -> [Batch; 1] {
    [Batch::from_bodies(bodies)]
}

#[test]
fn a_failed_transaction_leaves_nothing_behind_whatever_failed() {
    for call in [Call::Write, Call::TornWrite, Call::Sync, Call::Create, Call::SyncDir] {
        let home = Fake::new();
        let clock = ManualClock::new(1000);
        let mut writer = writer(&home.0, &clock, &[]).expect("built");
        if !matches!(call, Call::Create | Call::SyncDir) {
            writer.write(&bodies(["before"])).expect("written");
        }
        home.0.fail(call, 0, 1);
        writer.write(&bodies(["a", "b"])).expect_err("failed");
        writer.write(&bodies(["a", "b"])).expect("written");
        let all = home.delivered().expect("seen").join(" ");
        assert!(all == "before a b" || all == "a b", "{call:?}: {all}");
        assert!(home.files().iter().all(|(_, text)| !text.is_empty()), "{:?}", home.files());
    }
}

#[test]
fn what_was_delivered_survives_a_power_cut() {
    for seed in 0..50 {
        let home = Fake::new();
        let mut writer = writer(&home.0, &ManualClock::new(1000), &[]).expect("built");
        writer.write(&bodies(["a"])).expect("written");
        writer.write(&bodies(["b"])).expect("written");
        home.0.fail(Call::Sync, 0, 1);
        writer.write(&bodies(["c"])).expect_err("not synced");
        let after = Fake(home.0.power_cut(seed));
        let delivered = after.delivered().expect("seen");
        assert!(delivered.starts_with(&["a".into(), "b".into()]), "seed {seed}: {delivered:?}");
    }
}

#[test]
fn files_are_called_as_flume_calls_them_and_begin_when_it_is_time() {
    let (home, clock) = (Fake::new(), ManualClock::new(1_400_000_000_000));
    let settings =
        [("sink.rollInterval", "10"), ("sink.pathManager.prefix", "p-"), ("sink.pathManager.extension", "log")];
    let mut writer = writer(&home.0, &clock, &settings).expect("built");
    clock.advance(Duration::from_secs(60));
    assert!(home.files().is_empty(), "no file without events");
    writer.write(&bodies(["a"])).expect("written");
    clock.advance(Duration::from_millis(9_999));
    writer.write(&bodies(["b"])).expect("written");
    clock.advance(Duration::from_millis(1));
    writer.write(&bodies(["c"])).expect("written");
    let wanted = [("p-1400000000000-1.log", "a\nb\n"), ("p-1400000000000-2.log", "c\n")];
    assert_eq!(home.files(), wanted.map(|(name, text)| (name.into(), text.into())));
}

#[test]
fn roll_times_count_within_the_second() {
    let (home, clock) = (Fake::new(), ManualClock::new(1_400_000_000_000));
    let settings = [("sink.rollInterval", "1"), ("sink.pathManager", "ROLLTIME")];
    let mut writer = writer(&home.0, &clock, &settings).expect("built");
    for body in ["a", "b"] {
        writer.open = None;
        writer.write(&bodies([body])).expect("written");
    }
    clock.advance(Duration::from_secs(1));
    writer.write(&bodies(["c"])).expect("written");
    let names: Vec<String> = home.files().into_iter().map(|(name, _)| name).collect();
    let (first, _) = names[0].split_once('-').expect("a number");
    assert_eq!(first.len(), 14, "{names:?}");
    assert_eq!(names[1], format!("{first}-2"));
    assert!(names[2].ends_with("-1") && !names[2].starts_with(first), "{names:?}");
}

#[test]
fn zero_never_rolls_and_a_name_that_is_taken_is_passed_over() {
    let (home, clock) = (Fake::new(), ManualClock::new(7));
    home.0.put(&Path::new(DIR).join("7-1"), b"another's");
    let mut writer = writer(&home.0, &clock, &[("sink.rollInterval", "0")]).expect("built");
    writer.write(&bodies(["a"])).expect("written");
    clock.advance(Duration::from_secs(1_000_000));
    writer.write(&bodies(["b"])).expect("written");
    let wanted = [("7-1", "another's"), ("7-2", "a\nb\n")];
    assert_eq!(home.files(), wanted.map(|(name, text)| (name.into(), text.into())));
}

#[test]
fn what_cannot_be_used_is_refused_at_its_place() {
    let (home, clock) = (Fake::new(), ManualClock::new(7));
    for (key, value, problem) in [
        ("sink.pathManager", "com.example.Mine", "expected default or rolltime, got \"com.example.Mine\""),
        ("sink.pathManager.prefix", "../x", "expected the beginning of a file name, without a slash, got \"../x\""),
    ] {
        let error = writer(&home.0, &clock, &[(key, value)]).expect_err("refused").to_string();
        assert_eq!(error, format!("flume.conf:7: a1.sources.r1.{key}: {problem}"));
    }
    let (options, _) = Options::parse("a1.sinks.k1", SPEC.options, &[], [setting("sink.directory", "/does/not/exist")])
        .expect("typed");
    let Err(error) = (SPEC.build)(&options) else { panic!("a directory that does not exist is accepted") };
    assert!(error.to_string().contains("expected a directory that exists, got \"/does/not/exist\""), "{error}");
}

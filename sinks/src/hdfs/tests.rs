use std::cell::RefCell;
use std::path::{Path, PathBuf};

use millstream_core::MetricName;
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

    fn files(&self) -> Vec<PathBuf> {
        let dir = std::fs::read_dir(self.0.path().join("events"));
        let mut files: Vec<PathBuf> = dir.into_iter().flatten().map(|file| file.expect("a file").path()).collect();
        files.sort();
        files
    }
}

impl Home for Local {
    fn spec(&self) -> &'static SinkSpec {
        &SPEC
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let path = format!("file://{}/events", self.0.path().display());
        vec![("hdfs.path", path), ("hdfs.fileType", "DataStream".into())]
    }

    fn delivered(&self) -> Option<Vec<String>> {
        let texts = self.files().into_iter().map(|file| std::fs::read_to_string(file).expect("text"));
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

/// A directory that is in a test's mind only.
struct Fake(FakeDisk);

impl Fake {
    fn new() -> Self {
        let disk = FakeDisk::new();
        DISK.set(disk.clone());
        Self(disk)
    }
}

impl Home for Fake {
    fn spec(&self) -> &'static SinkSpec {
        &ON_FAKE_DISK
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("hdfs.path", "/events".into()), ("hdfs.fileType", "DataStream".into())]
    }

    fn delivered(&self) -> Option<Vec<String>> {
        let mut names = self.0.list(Path::new("/events")).expect("a directory");
        names.sort();
        let texts = names.iter().map(|name| self.0.content(&Path::new("/events").join(name)).expect("a file"));
        let texts = texts.map(|text| String::from_utf8(text).expect("text"));
        Some(texts.collect::<String>().lines().map(str::to_owned).collect())
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
    let settings = [("hdfs.path", "/events"), ("hdfs.fileType", "DataStream"), ("hdfs.rollCount", "2")];
    let settings = settings.iter().map(|(key, value)| setting(key, value));
    let (options, _) = Options::parse("a1.sinks.k1", SPEC.options, &[], settings).expect("options");
    let channel = TestChannel::new();
    let running = start_sink((ON_FAKE_DISK.build)(&options).expect("built"), &channel);
    channel.fill(0..3);
    channel.until_committed(3).await;
    let status = Arc::clone(&running.status);
    let counted = |name| status.counters().value(name);
    assert_eq!(counted(MetricName::ConnectionFailedCount), 1);
    assert_eq!((counted(MetricName::ConnectionCreatedCount), counted(MetricName::ConnectionClosedCount)), (2, 1));
    running.stop().await.expect("stopped");
    assert_eq!(counted(MetricName::ConnectionClosedCount), 2);
}

fn refused(settings: &[(&str, &str)]) -> String {
    let settings = settings.iter().map(|(key, value)| setting(key, value));
    let built =
        Options::parse("a1.sinks.k1", SPEC.options, &[], settings).and_then(|(options, _)| (SPEC.build)(&options));
    built.err().expect("refused").to_string()
}

#[test]
fn what_cannot_be_used_is_refused_at_its_place() {
    let stream = ("hdfs.fileType", "CompressedStream");
    for (settings, key, problem) in [
        (
            vec![("hdfs.path", "s3a://bucket/x")],
            "path",
            "expected hdfs://… or a directory of this machine, file:///…; others are not built in yet",
        ),
        (vec![("hdfs.path", "%{x}/y")], "path", "expected a path that begins with a directory"),
        (vec![("hdfs.path", "/x/%[host]")], "path", "expected %[localhost], %[IP] or %[FQDN], got %[host]"),
        (
            vec![("hdfs.path", "/x"), ("hdfs.codeC", "lzo")],
            "codeC",
            "expected gzip, bzip2, deflate or snappy, got \"lzo\"",
        ),
        (
            vec![("hdfs.path", "/x"), ("hdfs.writeFormat", "Xml")],
            "writeFormat",
            "expected Writable or Text, got \"Xml\"",
        ),
        (
            vec![("hdfs.path", "hdfs://nn:1/x"), ("hdfs.kerberosPrincipal", "p@R")],
            "kerberosPrincipal",
            "expected hdfs.kerberosKeytab beside it",
        ),
        (
            vec![("hdfs.path", "hdfs://nn:1/x"), ("hdfs.kerberosKeytab", "/nowhere")],
            "kerberosKeytab",
            "expected hdfs.kerberosPrincipal beside it",
        ),
        (
            vec![
                ("hdfs.path", "hdfs://nn:1/x"),
                ("hdfs.kerberosPrincipal", "p@R"),
                ("hdfs.kerberosKeytab", "/nowhere"),
            ],
            "kerberosKeytab",
            "expected a file that can be read, got \"/nowhere\"",
        ),
        (vec![("hdfs.path", "/x"), ("hdfs.inUsePrefix", "a/")], "inUsePrefix", "expected a part of a file name"),
        (vec![("hdfs.path", "/x"), ("hdfs.timeZone", "Mars")], "timeZone", "expected the name of a time zone"),
        (vec![("hdfs.path", "/x"), ("hdfs.roundUnit", "day")], "roundUnit", "expected one of second, minute, hour"),
        (
            vec![("hdfs.path", "/x"), ("hdfs.fileType", "DataStream"), ("hdfs.codeC", "gzip")],
            "codeC",
            "a DataStream is not compressed",
        ),
    ] {
        let error = refused(&settings);
        assert!(error.starts_with(&format!("flume.conf:7: a1.sources.r1.hdfs.{key}: {problem}")), "{error}");
    }
    assert!(refused(&[("hdfs.path", "file:///%{x}")]).contains("begins with a directory"), "the root is none");
    assert!(refused(&[("hdfs.path", "/x"), stream]).contains("codeC: missing; expected how a CompressedStream"));
}

#[tokio::test]
async fn a_file_is_complete_in_time_though_nothing_comes_and_at_the_end() {
    let home = Local::new();
    let settings = home.settings();
    let more = [("hdfs.rollInterval", "0"), ("hdfs.idleTimeout", "1"), ("hdfs.rollCount", "0"), ("hdfs.rollSize", "0")];
    let settings = settings.iter().map(|(key, value)| (*key, value.as_str())).chain(more);
    let settings = settings.map(|(key, value)| setting(key, value));
    let (options, _) = Options::parse("a1.sinks.k1", SPEC.options, &[], settings).expect("options");
    let BuiltSink::Push { mut sink, .. } = (SPEC.build)(&options).expect("built") else { panic!("pulls") };
    let in_use =
        |files: &[PathBuf]| files.iter().filter(|file| file.extension().is_some_and(|end| end == "tmp")).count();
    sink.deliver([Batch::from_bodies(["a"])].into()).await.expect("written");
    let complete = async {
        while in_use(&home.files()) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(millstream_testkit::PATIENCE, complete).await.expect("complete in time");
    sink.deliver([Batch::from_bodies(["b"])].into()).await.expect("written");
    assert_eq!(in_use(&home.files()), 1);
    drop(sink);
    assert_eq!(in_use(&home.files()), 0);
    assert_eq!(home.delivered().expect("seen"), ["a", "b"]);
}

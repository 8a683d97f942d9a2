#![allow(clippy::unwrap_used, reason = "tests")]

mod positions;

use std::fs::{OpenOptions, read_to_string, remove_file, write};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use millstream_core::{MetricName, SourceContext};
use millstream_io::{Disk, FileIdentity, SystemDisk};
use millstream_testkit::contract::source::Home;
use millstream_testkit::{PATIENCE, Running, TestChannel, setting, source_contract, start_source};
use tempfile::TempDir;

use super::groups::Found;
use super::positions::Positions;
use super::tails::{Look, Tails};
use super::*;

/// A directory of logs, and one for the positions.
struct Logs {
    dir: TempDir,
    state: TempDir,
}

impl Logs {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn position_file(&self) -> PathBuf {
        self.state.path().join("positions.json")
    }

    fn append(&self, name: &str, text: &str) {
        let file = OpenOptions::new().append(true).create(true).open(self.path(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        SystemDisk.rename(&self.path(from), &self.path(to)).unwrap();
    }

    /// Follows `*.log` of the directory.
    fn start(&self, settings: &[(&str, &str)], channel: &TestChannel) -> Running<SourceContext> {
        let pattern = self.path(r".*\.log").display().to_string();
        let positions = self.position_file().display().to_string();
        let always = [("filegroups", "f"), ("filegroups.f", &pattern), ("positionFile", &positions)];
        let fast = [("pollDelay", "5"), ("maxBackoffSleep", "5"), ("writePosInterval", "10")];
        let settings = always.iter().chain(&fast).chain(settings).map(|(key, value)| setting(key, value));
        let (options, unknown) = Options::parse("a1.sources.r1", SPEC.options, &[], settings).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        start_source((SPEC.build)(&options).unwrap(), channel)
    }

    /// Runs until the channel has so many events, then stops.
    async fn run_until(&self, settings: &[(&str, &str)], channel: &TestChannel, events: usize) {
        let running = self.start(settings, channel);
        until(channel, events).await;
        running.stop().await.unwrap();
    }

    fn origin(&self, name: &str) -> String {
        FileIdentity::of(&std::fs::metadata(self.path(name)).unwrap()).to_string()
    }

    fn inode(&self, name: &str) -> u64 {
        std::fs::metadata(self.path(name)).unwrap().ino()
    }
}

impl Home for Logs {
    fn spec(&self) -> &'static SourceSpec {
        &SPEC
    }

    fn offer(&self, events: usize) -> Vec<(&'static str, String)> {
        if events > 0 {
            let lines: String = (0..events).map(|line| format!("{line}\n")).collect();
            write(self.path("offered.log"), lines).unwrap();
        }
        let settings = [
            ("filegroups", "f".to_owned()),
            ("filegroups.f", self.path(r".*\.log").display().to_string()),
            ("positionFile", self.position_file().display().to_string()),
            ("pollDelay", "5".to_owned()),
            ("maxBackoffSleep", "5".to_owned()),
        ];
        settings.into()
    }

    fn has_positions(&self) -> bool {
        true
    }

    fn counters(&self) -> &'static [MetricName] {
        &[
            MetricName::EventReceivedCount,
            MetricName::EventAcceptedCount,
            MetricName::AppendBatchReceivedCount,
            MetricName::AppendBatchAcceptedCount,
        ]
    }
}

source_contract!(Logs::new());

async fn until(channel: &TestChannel, events: usize) {
    channel.until(|stored| stored.bodies.len() >= events).await;
}

/// Waits until `holds` of a file's text.
async fn until_file(path: &Path, holds: impl Fn(&str) -> bool) {
    let waited = async {
        while !read_to_string(path).is_ok_and(|text| holds(&text)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("written in time");
}

// === lines ===

#[tokio::test]
async fn lines_lose_their_end_whichever_it_is_and_keep_a_carriage_return_within() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "unix\nwindows\r\n\r\n\nin\rside\r\r\n");
    logs.run_until(&[], &channel, 5).await;
    assert_eq!(channel.texts(), ["unix", "windows", "", "", "in\rside\r"]);
}

#[tokio::test]
async fn an_unfinished_line_waits_for_its_newline() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\ntw");
    let running = logs.start(&[], &channel);
    until(&channel, 1).await;
    logs.append("a.log", "o, a");
    logs.append("a.log", "nd more\nthree\nfo");
    until(&channel, 3).await;
    running.stop().await.unwrap();
    logs.append("a.log", "ur\n");
    logs.run_until(&[], &channel, 4).await;
    assert_eq!(channel.texts(), ["one", "two, and more", "three", "four"]);
}

#[tokio::test]
async fn an_idle_file_ends_its_line_is_closed_and_goes_on_when_it_grows() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\nunfinished");
    let running = logs.start(&[("idleTimeout", "50")], &channel);
    until(&channel, 2).await;
    logs.append("a.log", " rest\nlast\n");
    until(&channel, 4).await;
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), ["one", "unfinished", " rest", "last"]);
}

#[tokio::test]
async fn a_line_larger_than_a_chunk_is_one_event_and_one_over_the_limit_is_cut() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    let long = "x".repeat(5 << 20);
    logs.append("a.log", &format!("first\n{long}\nlast\n"));
    logs.run_until(&[], &channel, 3).await;
    assert_eq!(channel.texts(), ["first", &long, "last"]);
    logs.append("b.log", "abcdefgh\nx\n");
    let cut = TestChannel::new();
    remove_file(logs.path("a.log")).unwrap();
    logs.run_until(&[("maxLineLength", "3")], &cut, 4).await;
    assert_eq!(cut.texts(), ["abc", "def", "gh", "x"]);
}

#[tokio::test]
async fn many_files_of_many_batches_come_whole() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    for file in 0..5 {
        let lines: String = (0..1000).map(|line| format!("{file} {line}\n")).collect();
        logs.append(&format!("{file}.log"), &lines);
    }
    logs.run_until(&[("batchSize", "7"), ("maxBatchCount", "3")], &channel, 5000).await;
    for file in 0..5 {
        let own = format!("{file} ");
        let texts = channel.texts();
        let lines: Vec<&str> = texts.iter().filter_map(|text| text.strip_prefix(&own)).collect();
        assert_eq!(lines, (0..1000).map(|line| line.to_string()).collect::<Vec<_>>());
    }
    assert!(channel.puts().iter().all(|events| *events <= 7));
    let first: Vec<&str> = ["0 0", "1 0", "2 0", "3 0", "4 0"].into();
    let places = first.iter().map(|text| channel.texts().iter().position(|other| other == text).unwrap());
    assert_eq!(places.collect::<Vec<_>>(), [0, 21, 42, 63, 84], "three batches are one turn");
}

// === headers and groups ===

#[tokio::test]
async fn headers_are_those_of_the_group_the_path_and_the_offset() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\r\ntwo\n");
    logs.append("b.txt", "three\n");
    // Java's patterns look ahead.
    let pattern = logs.path(r"(?!a)\w\.t?xt").display().to_string();
    let settings = [
        ("filegroups", "f g"),
        ("filegroups.g", &pattern),
        ("headers.f.kind", "log"),
        ("headers.f.a.b", "dotted"),
        ("headers.g.kind", "text"),
        ("byteOffsetHeader", "true"),
        ("fileHeader", "true"),
        ("fileHeaderKey", "path"),
    ];
    logs.run_until(&settings, &channel, 3).await;
    let stored = channel.stored();
    let of = |body: &str| &stored.headers[stored.bodies.iter().position(|other| other == body.as_bytes()).unwrap()];
    let text = |name: &str| logs.path(name).display().to_string();
    assert_eq!(of("two")["path"], text("a.log"));
    assert_eq!((&*of("two")["kind"], &*of("two")["a.b"], &*of("two")["byteoffset"]), ("log", "dotted", "5"));
    assert_eq!((&*of("three")["kind"], &*of("three")["byteoffset"]), ("text", "0"));
    assert_eq!(of("three")["path"], text("b.txt"));
    assert_eq!(of("three").len(), 3);
}

#[tokio::test]
async fn only_whole_names_in_the_groups_directory_match_and_new_files_are_found() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    for name in ["a.log", "a.log.1", "b.txt"] {
        logs.append(name, &format!("{name}\n"));
    }
    std::fs::create_dir(logs.path("dir.log")).unwrap();
    std::fs::create_dir(logs.path("below")).unwrap();
    logs.append("below/c.log", "below\n");
    let running = logs.start(&[], &channel);
    until(&channel, 1).await;
    logs.append("new.log", "new\n");
    until(&channel, 2).await;
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), ["a.log", "new"]);
}

#[test]
fn a_group_without_a_usable_pattern_is_refused_at_its_place() {
    let built = |settings: &[(&str, &str)]| {
        let settings = settings.iter().map(|(key, value)| setting(key, value));
        let (options, _) = Options::parse("a1.sources.r1", SPEC.options, &[], settings).unwrap();
        (SPEC.build)(&options).map(drop).unwrap_err().to_string()
    };
    let missing = built(&[("filegroups", "f g"), ("filegroups.f", "/logs/a")]);
    assert!(missing.starts_with("a1.sources.r1.filegroups.g: missing; expected a directory"), "{missing}");
    for (value, part) in
        [("logs", "expected a directory"), ("/logs/", "expected a directory"), ("/logs/(a", "regular expression")]
    {
        let text = built(&[("filegroups", "f"), ("filegroups.f", value)]);
        assert!(text.starts_with("flume.conf:7: a1.sources.r1.filegroups.f: "), "{text}");
        assert!(text.contains(part) && text.contains(value.rsplit('/').next().unwrap()), "{text}");
    }
    assert!(built(&[("filegroups", " ")]).contains("got none"));
}

#[test]
fn a_relative_directory_is_one_from_where_the_agent_was_started() {
    let settings = [setting("filegroups", "f"), setting("filegroups.f", "logs/sub/.*log")];
    let (options, _) = Options::parse("a1.sources.r1", SPEC.options, &[], settings).unwrap();
    let group = Groups::from_options(&options).unwrap().groups.remove(0);
    assert!(group.has(&std::env::current_dir().unwrap().join("logs/sub/a.log")));
    assert!(!group.has(Path::new("logs/sub/a.log")));
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_refused_by_name() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    let running = logs.start(&[("filegroups.f", "/nowhere/at/all/.*")], &channel);
    let error = running.outcome().await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/at/all is no directory; create it"), "{error}");
}

// === rotation ===

#[tokio::test]
async fn a_file_renamed_to_a_matching_name_is_not_read_again() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\n");
    let running = logs.start(&[("fileHeader", "true")], &channel);
    until(&channel, 1).await;
    logs.rename("a.log", "a.1.log");
    logs.append("a.1.log", "two\n");
    logs.append("a.log", "three\n");
    until(&channel, 3).await;
    running.stop().await.unwrap();
    let mut texts = channel.texts();
    texts.sort();
    assert_eq!(texts, ["one", "three", "two"]);
}

#[tokio::test]
async fn a_file_renamed_to_another_name_is_read_to_its_end_and_let_go() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    channel.fill_up_after(1);
    let lines: String = (0..300).map(|line| format!("{line}\n")).collect();
    logs.append("a.log", &lines);
    let origin = logs.origin("a.log");
    let running = logs.start(&[("idleTimeout", "300")], &channel);
    until(&channel, 100).await;
    let mut writer = OpenOptions::new().append(true).open(logs.path("a.log")).unwrap();
    logs.rename("a.log", "a.log.1");
    logs.append("a.log", "of the next file\n");
    channel.make_room();
    until(&channel, 301).await;
    writer.write_all(b"late\nunfinished").unwrap();
    channel.until(|stored| stored.retired == [origin.clone()]).await;
    running.stop().await.unwrap();
    let texts = channel.texts();
    for text in ["299", "of the next file", "late", "unfinished"] {
        assert_eq!(texts.iter().filter(|other| *other == text).count(), 1, "{text}");
    }
    assert_eq!(texts.len(), 303);
    let text = read_to_string(logs.position_file()).unwrap();
    assert!(text.contains("a.log\"") && !text.contains("a.log.1"), "{text}");
    logs.rename("a.log.1", "back.log");
    logs.append("back.log", "!\n");
    logs.run_until(&[], &channel, 304).await;
    assert_eq!(channel.texts()[303..], ["!"], "what came back is not read again");
}

#[tokio::test]
async fn what_is_written_behind_a_rename_is_read_however_quiet_the_file_was_before() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\n");
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    OpenOptions::new().append(true).open(logs.path("a.log")).unwrap().set_modified(hour_ago).unwrap();
    let running = logs.start(&[("idleTimeout", "600000")], &channel);
    until(&channel, 1).await;
    until_file(&logs.position_file(), |text| text.contains("a.log")).await;
    logs.rename("a.log", "a.log.1");
    until_file(&logs.position_file(), |text| !text.contains("a.log")).await;
    logs.append("a.log.1", "late\n");
    until(&channel, 2).await;
    assert_eq!(channel.texts(), ["one", "late"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_deleted_file_is_read_to_its_end_and_forgotten() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    channel.fill_up_after(1);
    let lines: String = (0..150).map(|line| format!("{line}\n")).collect();
    logs.append("a.log", &lines);
    let origin = logs.origin("a.log");
    let running = logs.start(&[("idleTimeout", "50")], &channel);
    until(&channel, 100).await;
    remove_file(logs.path("a.log")).unwrap();
    channel.make_room();
    channel.until(|stored| stored.retired == [origin.clone()]).await;
    let counted = running.counted(MetricName::EventReadFail);
    running.stop().await.unwrap();
    assert_eq!((channel.texts().len(), counted), (150, 0));
    let record = read_to_string(logs.state.path().join("positions.json.millstream")).unwrap();
    assert!(!record.contains("a.log"), "{record}");
}

#[tokio::test]
async fn a_file_renamed_while_the_source_was_stopped_is_found_in_its_directory() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\n");
    logs.run_until(&[], &channel, 1).await;
    logs.append("a.log", "two\n");
    logs.rename("a.log", "a.log.1");
    logs.append("a.log", "three\n");
    logs.run_until(&[("idleTimeout", "50")], &channel, 3).await;
    let mut texts = channel.texts();
    texts.sort();
    assert_eq!(texts, ["one", "three", "two"]);
}

#[tokio::test]
async fn a_truncated_file_is_read_from_its_start() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\ntwo\n");
    let running = logs.start(&[], &channel);
    until(&channel, 2).await;
    let writer = OpenOptions::new().append(true).open(logs.path("a.log")).unwrap();
    std::fs::copy(logs.path("a.log"), logs.path("a.log.1")).unwrap();
    writer.set_len(0).unwrap();
    logs.append("a.log", "3\n");
    until(&channel, 3).await;
    // Longer than before at once: only the content tells.
    write(logs.path("a.log"), "four\nfive\nsix\nseven\n").unwrap();
    until(&channel, 7).await;
    assert_eq!(running.counted(MetricName::EventReadFail), 0, "everything had been read");
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), ["one", "two", "3", "four", "five", "six", "seven"]);
}

#[tokio::test]
async fn a_writer_that_goes_on_behind_a_truncation_leaves_no_zeros_to_read() {
    for written in [20, 5_000, 3_000_000] {
        let (logs, channel) = (Logs::new(), TestChannel::new());
        let mut writer = std::fs::File::create(logs.path("a.log")).unwrap();
        writer.write_all("x".repeat(written - 1).as_bytes()).unwrap();
        writer.write_all(b"\n").unwrap();
        let running = logs.start(&[], &channel);
        until(&channel, 1).await;
        writer.set_len(0).unwrap();
        writer.write_all(b"two\nthree\n").unwrap();
        until(&channel, 3).await;
        running.stop().await.unwrap();
        logs.run_until(&[], &channel, 3).await;
        assert_eq!(channel.texts()[1..], ["two", "three"], "{written}");
    }
}

#[tokio::test]
async fn what_a_truncation_took_away_unread_is_told_and_counted() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\nunfinished");
    let running = logs.start(&[], &channel);
    until(&channel, 1).await;
    write(logs.path("a.log"), "2\n").unwrap();
    until(&channel, 2).await;
    assert_eq!(running.counted(MetricName::EventReadFail), 1);
    let error = running.status.last_error().unwrap();
    // A look may fall between the two steps of the write.
    let told = |bytes| error.contains(&format!("a.log: it has {bytes} bytes, 4 were read; 10 bytes are lost"));
    assert!(told(2) || told(0), "{error}");
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), ["one", "2"]);
}

#[tokio::test]
async fn a_file_truncated_while_the_source_was_stopped_is_read_from_its_start() {
    for content in ["new\n", "a first line that is long enough to hide it\n"] {
        let (logs, channel) = (Logs::new(), TestChannel::new());
        logs.append("a.log", "one\ntwo\nthree\n");
        logs.run_until(&[], &channel, 3).await;
        let origin = logs.origin("a.log");
        write(logs.path("a.log"), content).unwrap();
        assert_eq!(logs.origin("a.log"), origin);
        logs.run_until(&[("skipToEnd", "true")], &channel, 4).await;
        assert_eq!(channel.texts()[3..], [content.trim_end()]);
        assert_eq!(channel.stored().retired, [origin]);
    }
}

#[tokio::test]
async fn another_file_with_the_same_inode_is_another_file() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\ntwo\n");
    logs.run_until(&[], &channel, 2).await;
    // As if the file system had given its identity to the new file: channel and record know it under that name.
    let old = logs.origin("a.log");
    remove_file(logs.path("a.log")).unwrap();
    logs.append("b.log", "three\nfour\nfive\n");
    let record = logs.state.path().join("positions.json.millstream");
    write(&record, read_to_string(&record).unwrap().replace(&old, &logs.origin("b.log"))).unwrap();
    channel.cover(&logs.origin("b.log"), 8);
    logs.run_until(&[], &channel, 5).await;
    assert_eq!(channel.texts(), ["one", "two", "three", "four", "five"]);
}

// === restarts ===

#[tokio::test]
async fn skip_to_end_passes_over_what_is_there_at_the_start_and_nothing_else() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "old\n");
    let running = logs.start(&[("skipToEnd", "true")], &channel);
    let origin = logs.origin("a.log");
    channel.until(|stored| stored.covered.get(&origin) == Some(&4)).await;
    logs.append("a.log", "new\n");
    logs.append("b.log", "of a new file\n");
    until(&channel, 2).await;
    running.kill().await;
    logs.append("a.log", "after the kill\n");
    logs.run_until(&[("skipToEnd", "true")], &channel, 3).await;
    let mut texts = channel.texts();
    texts.sort();
    assert_eq!(texts, ["after the kill", "new", "of a new file"]);
}

#[test]
fn a_file_that_may_not_be_opened_is_told_once_and_tried_again() {
    let logs = Logs::new();
    let pattern = logs.path(".*").display().to_string();
    let settings = [setting("filegroups", "f"), setting("filegroups.f", &pattern)];
    let (options, _) = Options::parse("a1.sources.r1", SPEC.options, &[], settings).unwrap();
    let TailDir { groups, reading, .. } = TailDir::from_options(&options).unwrap();
    let mut tails = Tails::new(groups, reading, Positions::open(logs.position_file()).unwrap());
    logs.append("a", "one\n");
    assert_eq!(tails.look().fresh.len(), 1);
    // Refused by the system, whoever asks.
    let identity = FileIdentity::of(&std::fs::metadata(logs.path("a")).unwrap());
    let found = || Found { path: logs.path(&"x".repeat(300)), identity, modified: None, group: Some(0) };
    let (mut first, mut second) = (Look::default(), Look::default());
    tails.compare(vec![found()], &mut first);
    tails.compare(vec![found()], &mut second);
    assert_eq!((first.refused.len(), first.fresh.len(), second.refused.len()), (1, 0, 0));
    assert!(tails.look_again);
}

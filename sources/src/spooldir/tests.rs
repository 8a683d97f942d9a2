#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{File, read, write};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::SystemTime;

use millstream_core::{Batch, ComponentStatus, MetricName, Options, Source};
use millstream_testkit::contract::source::Home;
use millstream_testkit::{TestChannel, setting, source_contract, start_source};
use tempfile::TempDir;

use super::following::{Following, Step};
use super::*;
use crate::files::{self, Unopened};

mod formats;
mod hostile;
mod tracked;

/// A spool directory.
struct Spool(TempDir);

impl Home for Spool {
    fn spec(&self) -> &'static SourceSpec {
        &SPEC
    }

    fn offer(&self, events: usize) -> Vec<(&'static str, String)> {
        if events > 0 {
            let lines: Vec<String> = (0..events).map(|line| line.to_string()).collect();
            write(self.0.path().join("offered"), lines.join("\n")).unwrap();
        }
        let fast = [("pollDelay", "5"), ("quietMillis", "20"), ("maxBackoff", "5")];
        let fast = fast.map(|(key, value)| (key, value.to_owned()));
        [("spoolDir", self.0.path().display().to_string())].into_iter().chain(fast).collect()
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

source_contract!(Spool(tempfile::tempdir().unwrap()));

fn options(dir: &Path, settings: &[(&str, &str)]) -> Options {
    let fast = [("spoolDir", dir.to_str().unwrap()), ("pollDelay", "5"), ("quietMillis", "20"), ("maxBackoff", "5")];
    let settings = fast.iter().chain(settings).map(|(key, value)| setting(key, value));
    let (options, unknown) = Options::parse("a1.sources.r1", SPEC.options, &[], settings).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    options
}

fn spooldir(dir: &Path, settings: &[(&str, &str)]) -> Box<dyn Source> {
    (SPEC.build)(&options(dir, settings)).unwrap()
}

/// Runs until as many files left the directory, then stops.
async fn run_until(dir: &Path, settings: &[(&str, &str)], channel: &TestChannel, files: usize) -> Arc<ComponentStatus> {
    let running = start_source(spooldir(dir, settings), channel);
    let status = Arc::clone(&running.status);
    channel.until(|stored| stored.retired.len() >= files).await;
    running.stop().await.unwrap();
    status
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".flumespool");
    names.sort();
    names
}

fn spool() -> (TempDir, TestChannel) {
    (tempfile::tempdir().unwrap(), TestChannel::new())
}

/// Makes a file old, so that it counts as quiet at once and comes in the order of `age` seconds.
fn age(path: &Path, seconds: u64) {
    let at = SystemTime::now() - Duration::from_secs(seconds);
    File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
}

#[tokio::test]
async fn lines_become_events_and_the_file_is_renamed_when_they_are_stored() {
    let (dir, channel) = spool();
    write(dir.path().join("a.log"), "one\r\n\nthree\nlast without newline").unwrap();
    let status = run_until(dir.path(), &[], &channel, 1).await;
    assert_eq!(channel.texts(), ["one\r", "", "three", "last without newline"]);
    assert_eq!(names(dir.path()), ["a.log.COMPLETED"]);
    assert_eq!(status.counters().value(MetricName::EventReceivedCount), 4);
    assert_eq!(status.counters().value(MetricName::EventAcceptedCount), 4);
}

#[tokio::test]
async fn batches_have_at_most_the_configured_size_and_share_a_chunk() {
    let (dir, channel) = spool();
    write(dir.path().join("a"), "x\n".repeat(25)).unwrap();
    run_until(dir.path(), &[("batchSize", "10")], &channel, 1).await;
    assert_eq!(channel.puts(), [10, 10, 5]);
}

#[tokio::test]
async fn an_empty_file_is_completed_without_an_event() {
    let (dir, channel) = spool();
    write(dir.path().join("a"), "").unwrap();
    run_until(dir.path(), &[], &channel, 1).await;
    assert_eq!(channel.texts(), [""; 0]);
    assert_eq!(names(dir.path()), ["a.COMPLETED"]);
}

#[tokio::test]
async fn the_oldest_file_comes_first_or_the_youngest() {
    for (order, wanted) in [("oldest", ["c", "a", "b"]), ("youngest", ["a", "b", "c"])] {
        let (dir, channel) = spool();
        for (name, seconds) in [("a", 10), ("b", 10), ("c", 20)] {
            write(dir.path().join(name), name).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - seconds);
            File::options().append(true).open(dir.path().join(name)).unwrap().set_modified(at).unwrap();
        }
        run_until(dir.path(), &[("consumeOrder", order)], &channel, 3).await;
        assert_eq!(channel.texts(), wanted, "{order}");
    }
}

#[tokio::test]
async fn headers_say_which_file_an_event_is_from() {
    let (dir, channel) = spool();
    let path = dir.path().join("a.log");
    write(&path, "x\n").unwrap();
    run_until(
        dir.path(),
        &[("fileHeader", "true"), ("basenameHeader", "true"), ("basenameHeaderKey", "b")],
        &channel,
        1,
    )
    .await;
    let headers = channel.stored().headers.remove(0);
    assert_eq!(headers["file"], path.to_str().unwrap());
    assert_eq!(headers["b"], "a.log");
}

#[tokio::test]
async fn delete_policy_immediate_removes_the_file() {
    let (dir, channel) = spool();
    write(dir.path().join("a"), "x\n").unwrap();
    run_until(dir.path(), &[("deletePolicy", "immediate")], &channel, 1).await;
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn hidden_completed_rejected_and_ignored_names_are_not_read() {
    let (dir, channel) = spool();
    for name in [".hidden", "old.COMPLETED", "bad.REJECTED", "skip.tmp", "other.txt", "take.log"] {
        write(dir.path().join(name), name).unwrap();
    }
    std::fs::create_dir(dir.path().join("below")).unwrap();
    write(dir.path().join("below/deep.log"), "deep").unwrap();
    let patterns = [("includePattern", r".*\.(log|tmp)"), ("ignorePattern", r"(?!take).*\.tmp")];
    run_until(dir.path(), &patterns, &channel, 1).await;
    assert_eq!(channel.texts(), ["take.log"]);
    let recursive = [patterns[0], patterns[1], ("recursiveDirectorySearch", "true")];
    run_until(dir.path(), &recursive, &channel, 2).await;
    assert_eq!(channel.texts(), ["take.log", "deep"]);
}

#[tokio::test]
async fn a_growing_file_is_followed_and_its_unfinished_line_is_held() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"first\nhal").unwrap();
    let running = start_source(spooldir(dir.path(), &[("quietMillis", "3600000")]), &channel);
    channel.until(|stored| stored.bodies.len() == 1).await;
    file.write_all(b"f\nthird\nend").unwrap();
    channel.until(|stored| stored.bodies.len() == 3).await;
    assert_eq!(channel.texts(), ["first", "half", "third"], "the unfinished line waits");
    age(&path, 7200);
    channel.until(|stored| stored.retired.len() == 1).await;
    assert_eq!(channel.texts(), ["first", "half", "third", "end"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_crash_each_line_comes_once_and_reading_goes_on_where_the_channel_stands() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"one\ntwo\nthr").unwrap();
    let first = start_source(spooldir(dir.path(), &[("quietMillis", "3600000")]), &channel);
    channel.until(|stored| stored.bodies.len() == 2).await;
    first.kill().await;
    file.write_all(b"ee\nfour").unwrap();
    run_until(dir.path(), &[], &channel, 1).await;
    assert_eq!(channel.texts(), ["one", "two", "three", "four"]);
}

#[tokio::test]
async fn a_crash_between_the_last_put_and_the_rename_repeats_nothing() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    write(&path, "one\nlast").unwrap();
    let origin = millstream_io::FileIdentity::of(&std::fs::metadata(&path).unwrap()).to_string();
    channel.cover(&origin, 9);
    run_until(dir.path(), &[], &channel, 1).await;
    assert_eq!(channel.texts(), [""; 0], "the channel had it all");
    assert_eq!(names(dir.path()), ["a.COMPLETED"]);
}

#[tokio::test]
async fn a_file_that_grew_after_its_end_was_stored_loses_no_byte() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    write(&path, "one\nlastXY\nmore\n").unwrap();
    let origin = millstream_io::FileIdentity::of(&std::fs::metadata(&path).unwrap()).to_string();
    // It was "one\nlast" when its end, 8 + 1, was stored.
    channel.cover(&origin, 9);
    run_until(dir.path(), &[], &channel, 1).await;
    assert_eq!(channel.texts(), ["XY", "more"]);
}

#[tokio::test]
async fn refused_and_failed_deliveries_are_repeated_in_order() {
    let (dir, channel) = spool();
    let lines: Vec<String> = (0..500).map(|line| line.to_string()).collect();
    write(dir.path().join("a"), lines.join("\n")).unwrap();
    channel.refuse_reservations(3);
    channel.fail_puts(5);
    run_until(dir.path(), &[("batchSize", "10")], &channel, 1).await;
    assert_eq!(channel.texts(), lines);
}

#[tokio::test]
async fn a_stop_while_the_channel_is_full_ends_the_source_and_keeps_the_file() {
    let (dir, channel) = spool();
    write(dir.path().join("a"), "x\n").unwrap();
    channel.refuse_reservations(u32::MAX);
    let running = start_source(spooldir(dir.path(), &[("maxBackoff", "60000")]), &channel);
    running.stop().await.unwrap();
    assert_eq!(names(dir.path()), ["a"]);
}

async fn rejected(content: &[u8], settings: &[(&str, &str)]) -> (Vec<String>, Vec<String>, String) {
    let (dir, channel) = spool();
    write(dir.path().join("bad"), content).unwrap();
    age(&dir.path().join("bad"), 100);
    write(dir.path().join("good"), "good").unwrap();
    let status = run_until(dir.path(), settings, &channel, 2).await;
    assert!(channel.texts().contains(&"good".to_owned()), "the source lives on");
    (channel.texts(), names(dir.path()), status.last_error().unwrap_or_default())
}

#[tokio::test]
async fn undecodable_bytes_set_the_file_aside_behind_its_good_lines() {
    let (texts, names, error) = rejected(b"fine\nb\xFFd\nnever\n", &[]).await;
    assert_eq!(texts, ["fine", "good"]);
    assert_eq!(names, ["bad.REJECTED", "good.COMPLETED"]);
    for part in ["/bad: ", "byte 0xff at offset 6", "its first 5 bytes were delivered"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
}

#[tokio::test]
async fn undecodable_bytes_are_replaced_or_dropped_when_asked() {
    let (texts, names, _) = rejected(b"fine\nb\xFFd\n", &[("decodeErrorPolicy", "REPLACE")]).await;
    assert_eq!(texts, ["fine", "b\u{FFFD}d", "good"]);
    assert_eq!(names, ["bad.COMPLETED", "good.COMPLETED"]);
    let (texts, _, _) = rejected(b"fine\nb\xFFd\n", &[("decodeErrorPolicy", "IGNORE")]).await;
    assert_eq!(texts, ["fine", "bd", "good"]);
}

#[tokio::test]
async fn a_file_that_shrinks_or_is_rewritten_while_it_is_followed_is_set_aside() {
    type Harm = fn(&File);
    let shrink: Harm = |file| file.set_len(1).unwrap();
    let rewrite: Harm = |file| file.write_all_at(b"ONE\ntwo\nthree\n", 0).unwrap();
    for (harm, reason) in [(shrink, "shrank to 1 bytes"), (rewrite, "was rewritten")] {
        let (dir, channel) = spool();
        let path = dir.path().join("a");
        write(&path, "one\ntwo\n").unwrap();
        let running = start_source(spooldir(dir.path(), &[("quietMillis", "3600000")]), &channel);
        channel.until(|stored| stored.bodies.len() == 2).await;
        harm(&File::options().write(true).open(&path).unwrap());
        channel.until(|stored| stored.retired.len() == 1).await;
        let error = running.status.last_error().unwrap();
        assert!(error.contains(reason), "{error}");
        assert_eq!(running.status.counters().value(MetricName::EventReadFail), 1);
        assert_eq!(names(dir.path()), ["a.REJECTED"]);
        running.stop().await.unwrap();
        assert_eq!(channel.texts(), ["one", "two"], "what was delivered stays");
    }
}

#[tokio::test]
async fn a_file_shorter_than_what_was_read_before_a_restart_is_set_aside() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    write(&path, "one\n").unwrap();
    channel.cover(&millstream_io::FileIdentity::of(&std::fs::metadata(&path).unwrap()).to_string(), 100);
    let status = run_until(dir.path(), &[], &channel, 1).await;
    assert!(status.last_error().unwrap().contains("99 bytes of it were read before, but it has only 4 now"));
    assert_eq!(names(dir.path()), ["a.REJECTED"]);
}

#[tokio::test]
async fn a_name_that_was_completed_before_is_dropped_if_equal_and_set_aside_if_not() {
    let (dir, channel) = spool();
    for (name, content) in [("a", "same\n"), ("a.COMPLETED", "same\n"), ("b", "new\n"), ("b.COMPLETED", "old\n")] {
        write(dir.path().join(name), content).unwrap();
    }
    let status = run_until(dir.path(), &[], &channel, 2).await;
    assert_eq!(names(dir.path()), ["a.COMPLETED", "b.COMPLETED", "b.REJECTED"]);
    assert_eq!(read(dir.path().join("b.COMPLETED")).unwrap(), b"old\n");
    assert!(
        status.last_error().unwrap().contains("b.COMPLETED exists with another content; all its events were delivered")
    );
}

#[tokio::test]
async fn what_is_no_regular_file_is_never_opened_and_a_link_to_one_is_followed() {
    let (dir, channel) = spool();
    let elsewhere = tempfile::tempdir().unwrap();
    write(elsewhere.path().join("real"), "linked\n").unwrap();
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(dir.path().join("fifo")).status().unwrap();
    assert!(fifo.success());
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("device")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("real"), dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
    run_until(dir.path(), &[], &channel, 1).await;
    assert_eq!(channel.texts(), ["linked"]);
    assert_eq!(names(dir.path()), ["dangling", "device", "fifo", "link.COMPLETED", "socket"]);
    assert!(matches!(files::open(&dir.path().join("fifo")), Err(Unopened::Gone)), "not even by a race");
}

#[tokio::test]
async fn a_file_that_may_not_be_opened_is_told_once_and_left() {
    let (dir, channel) = spool();
    let running = start_source(spooldir(dir.path(), &[]), &channel);
    let cx = running.cx.clone();
    let mut told = Told::default();
    let error = Error::io("open", dir.path().join("a"), std::io::ErrorKind::PermissionDenied.into());
    told.refused(&cx, dir.path().join("a"), &error);
    told.refused(&cx, dir.path().join("a"), &error);
    assert_eq!(cx.status.counters().value(MetricName::EventReadFail), 1);
    assert!(cx.status.last_error().unwrap().contains("/a: permission denied"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_missing_directory_names_its_key_and_path() {
    let (dir, channel) = spool();
    let missing = dir.path().join("nowhere");
    let error = start_source(spooldir(&missing, &[]), &channel).outcome().await.expect_err("refused");
    let wanted = format!("flume.conf:7: a1.sources.r1.spoolDir: expected a directory, but {}", missing.display());
    assert!(error.to_string().starts_with(&wanted), "{error}");
    assert!(matches!(error, Error::Config { .. }));
}

#[tokio::test]
async fn a_directory_that_goes_away_and_comes_back_is_read_again() {
    let (outer, channel) = spool();
    let dir = outer.path().join("spool");
    std::fs::create_dir(&dir).unwrap();
    write(dir.join("a"), "a").unwrap();
    let running = start_source(spooldir(&dir, &[]), &channel);
    channel.until(|stored| stored.retired.len() == 1).await;
    std::fs::remove_dir_all(&dir).unwrap();
    running.until_counted(MetricName::EventReadFail, 1).await;
    std::fs::create_dir(&dir).unwrap();
    write(dir.join("b"), "b").unwrap();
    channel.until(|stored| stored.bodies.len() == 2).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_over_long_line_is_cut_into_events_and_counts_on_in_the_same_file() {
    let (dir, channel) = spool();
    let line = "äbcdefghij".repeat(1000);
    write(dir.path().join("a"), format!("{line}\nshort\n")).unwrap();
    run_until(dir.path(), &[], &channel, 1).await;
    let texts = channel.texts();
    let lengths: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
    assert_eq!(lengths, [2048, 2048, 2048, 2048, 1808, 5]);
    assert_eq!(texts[..5].concat(), line);
}

#[test]
fn a_hundred_megabytes_without_a_newline_are_held_a_chunk_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    File::create(&path).unwrap().set_len(100 << 20).unwrap();
    age(&path, 100);
    let component = SpoolDir::from_options(&options(dir.path(), &[])).unwrap();
    let opened = files::open(&path).unwrap();
    let mut following = Following::new(&component.reading, path, opened, "o".into(), None, None).unwrap();
    let (mut events, mut bytes) = (0, 0);
    loop {
        let (batches, ended) = match following.step(&component.reading) {
            Step::Read(batches) => (batches, false),
            Step::Ended(batches) => (batches, true),
            other => panic!("{other:?}"),
        };
        assert!(batches.iter().map(Batch::retained_bytes).sum::<u64>() < 3 << 20);
        assert!(following.held_bytes() < 16 << 10);
        events += batches.iter().map(Batch::len).sum::<usize>();
        bytes += batches.iter().map(Batch::body_bytes).sum::<u64>();
        if ended {
            break;
        }
    }
    assert_eq!((events, bytes), ((100 << 20) / 2048, 100 << 20));
}

#[test]
fn values_that_cannot_work_are_refused_at_their_place() {
    let dir = tempfile::tempdir().unwrap();
    for (key, value, part) in [
        ("includePattern", "(x", "expected a regular expression"),
        ("inputCharset", "UTF-16", "convert the input"),
        ("fileSuffix", "", "expected a suffix"),
    ] {
        let error = SpoolDir::from_options(&options(dir.path(), &[(key, value)])).expect_err("refused").to_string();
        assert!(error.starts_with(&format!("flume.conf:7: a1.sources.r1.{key}: ")) && error.contains(part), "{error}");
    }
}

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use millstream_testkit::contract::source::Home;
use millstream_testkit::{TestChannel, source_contract, start_source};

use super::*;
use crate::testing::{refusal, source, start};

/// `seq`, which counts.
struct Counting;

impl Home for Counting {
    fn spec(&self) -> &'static SourceSpec {
        &SPEC
    }

    fn offer(&self, events: usize) -> Vec<(&'static str, String)> {
        let command = match events.checked_sub(1) {
            Some(last) => format!("seq 0 {last}"),
            None => "true".into(),
        };
        vec![("command", command), ("batchTimeout", "5".into())]
    }

    fn has_positions(&self) -> bool {
        false
    }

    fn counters(&self) -> &'static [MetricName] {
        &[MetricName::EventReceivedCount, MetricName::EventAcceptedCount]
    }
}

source_contract!(Counting);

const SHELL: (&str, &str) = ("shell", "/bin/sh -c");

#[tokio::test]
async fn without_a_shell_the_command_is_cut_at_spaces_and_with_one_it_is_understood() {
    for (settings, wanted) in [
        (vec![("command", "echo 'a  b' | cat")], vec!["'a b' | cat"]),
        (vec![("command", "echo 'a  b' | cat; printf 'c\\rd\\r\\n\\ne'"), SHELL], vec!["a  b", "c", "d", "", "e"]),
    ] {
        let channel = TestChannel::new();
        let running = start(&SPEC, &settings, &channel).await;
        running.until_counted(MetricName::EventAcceptedCount, wanted.len() as u64).await;
        assert!(!running.has_ended(), "it idles when the command has ended");
        running.stop().await.unwrap();
        assert_eq!(channel.texts(), wanted);
    }
}

#[tokio::test]
async fn a_batch_that_is_not_full_is_delivered_after_its_time() {
    let channel = TestChannel::new();
    let settings = [("command", "seq 0 6; exec sleep 600"), SHELL, ("batchSize", "5"), ("batchTimeout", "30")];
    let running = start(&SPEC, &settings, &channel).await;
    running.until_counted(MetricName::EventAcceptedCount, 7).await;
    assert_eq!(channel.puts(), [5, 2]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_the_command_with_all_that_it_started_and_delivers_what_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pids");
    let command = format!("sleep 600 & echo $! $$ > {}; echo ready; trap '' TERM; wait; wait", path.display());
    let channel = TestChannel::new();
    let settings = [("command", &*command), SHELL, ("batchTimeout", "3600000")];
    let running = start(&SPEC, &settings, &channel).await;
    while !std::fs::read_to_string(&path).is_ok_and(|pids| pids.ends_with('\n')) {
        tokio::task::yield_now().await;
    }
    let pids = std::fs::read_to_string(&path).unwrap();
    let is_running = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    };
    assert!(pids.split_whitespace().all(is_running));
    running.stop().await.unwrap();
    while pids.split_whitespace().any(is_running) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_command_that_ended_is_run_again_after_the_throttle() {
    let channel = TestChannel::new();
    let settings = [("command", "echo again"), ("restart", "true"), ("restartThrottle", "5"), ("batchTimeout", "5")];
    let running = start(&SPEC, &settings, &channel).await;
    channel.until(|stored| stored.bodies.len() >= 3).await;
    let status = Arc::clone(&running.status);
    running.stop().await.unwrap();
    assert!(channel.texts().iter().all(|text| text == "again"));
    assert_eq!(status.counters().value(MetricName::EventAcceptedCount), channel.texts().len() as u64);
}

#[tokio::test]
async fn a_command_that_cannot_be_run_is_named_and_with_restart_tried_again() {
    let channel = TestChannel::new();
    let once = start_source(source(&SPEC, &[("command", "no-such-program -x")]), &channel);
    let error = once.outcome().await.unwrap_err().to_string();
    assert!(error.starts_with("flume.conf:7: a1.sources.r1.command: cannot run \"no-such-program\": "), "{error}");
    assert!(error.contains("set shell = /bin/sh -c"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later");
    let command = path.display().to_string();
    let settings = [("command", &*command), ("restart", "true"), ("restartThrottle", "5")];
    let again = start_source(source(&SPEC, &settings), &channel);
    while again.status.last_error().is_none() {
        tokio::task::yield_now().await;
    }
    std::os::unix::fs::symlink("/bin/pwd", &path).unwrap();
    channel.until(|stored| !stored.bodies.is_empty()).await;
    again.stop().await.unwrap();
}

#[tokio::test]
async fn errors_are_read_whether_they_are_logged_or_not_and_never_become_events() {
    for logged in ["true", "false"] {
        let channel = TestChannel::new();
        let command = "head -c 300000 /dev/zero >&2; echo out";
        let running = start(&SPEC, &[("command", command), SHELL, ("logStdErr", logged)], &channel).await;
        channel.until(|stored| stored.bodies.len() == 1).await;
        assert_eq!(channel.texts(), ["out"]);
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn output_in_another_charset_stays_in_it() {
    let channel = TestChannel::new();
    let settings = [("command", "printf 'gr\\374\\337e\\n'"), SHELL, ("charset", "ISO-8859-1")];
    let running = start(&SPEC, &settings, &channel).await;
    channel.until(|stored| stored.bodies.len() == 1).await;
    assert_eq!(channel.stored().bodies, [b"gr\xFC\xDFe"]);
    running.stop().await.unwrap();
}

#[test]
fn what_is_no_command_is_refused_at_its_place() {
    for (settings, key) in [
        (vec![("command", " ")], "command"),
        (vec![("command", "x"), ("shell", " ")], "shell"),
        (vec![("command", "x"), ("charset", "UTF-16")], "charset"),
    ] {
        let text = refusal(&SPEC, &settings);
        assert!(text.starts_with(&format!("flume.conf:7: a1.sources.r1.{key}: expected ")), "{text}");
    }
}

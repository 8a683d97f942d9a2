//! `millstream channel`, on channels of agents that were killed, on damaged ones, and on one in use.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use millstream_tests::{Process, millstream};
use serde_json::Value;

/// Events of one put.
const BATCH: usize = 500;
/// So that there are several segments.
const SEGMENT_BYTES: usize = 200_000;

fn config(dir: &Path, sink: &str) -> PathBuf {
    let (at, file) = (dir.display(), dir.join("agent.properties"));
    let text = format!(
        "a1.sources = r1\na1.channels = c1\n{sink}
         a1.sources.r1.type = seq\na1.sources.r1.channels = c1
         a1.sources.r1.batchSize = {BATCH}\na1.channels.c1.capacity = 100000000
         a1.channels.c1.type = file\na1.channels.c1.checkpointDir = {at}/checkpoint
         a1.channels.c1.dataDirs = {at}/data\na1.channels.c1.maxFileSize = {SEGMENT_BYTES}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn agent(file: &Path) -> Process {
    Process::start(["agent", "-n", "a1", "-f", &file.display().to_string()])
}

fn channel(command: &str, dir: &Path, more: &[&str]) -> Output {
    Command::new(millstream()).args(["channel", command]).arg(dir).args(more).output().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[track_caller]
fn json(command: &str, dir: &Path, code: i32) -> Value {
    let output = channel(command, dir, &["--output", "json"]);
    assert_eq!(output.status.code(), Some(code), "{command}: {}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The numbers that wait, in order.
#[track_caller]
fn exported(dir: &Path, code: i32) -> Vec<usize> {
    let output = channel("export", dir, &["-", "--format", "jsonl"]);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    let body = |line: &str| serde_json::from_str::<Value>(line).unwrap()["body"].as_str().unwrap().parse().unwrap();
    text(&output.stdout).lines().map(body).collect()
}

/// Every file of the store with its bytes.
fn picture(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for part in ["log", "acks"] {
        for entry in std::fs::read_dir(dir.join("millstream").join(part)).unwrap() {
            let path = entry.unwrap().path();
            files.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    files
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let all = picture(dir).into_keys();
    all.filter(|path| path.parent().unwrap().ends_with("log") && path.extension().unwrap() == "log").collect()
}

/// The channel of an agent that was killed by signal 9 while its source went on, with several segments.
fn killed(dir: &Path, sink: &str) -> PathBuf {
    let data = dir.join("data");
    let agent = agent(&config(dir, sink));
    let log = data.join("millstream/log");
    let newest = || std::fs::read_dir(&log).into_iter().flatten().flatten().map(|entry| entry.file_name()).max();
    agent.until_true("a fifth segment", || newest().is_some_and(|name| *name.to_string_lossy() >= *"0000000005"));
    drop(agent);
    data
}

fn flip(file: &Path, offset: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn what_a_killed_agent_left_is_listed_verified_and_exported_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed(dir.path(), "");
    let before = picture(&data);
    let shown = json("inspect", &data, 0);
    let events = shown["in"].as_u64().unwrap() as usize;
    assert!(events > 4 * BATCH && events.is_multiple_of(BATCH), "{events}: whole batches");
    assert_eq!((&shown["waiting"], &shown["out"], &shown["lost"]), (&shown["in"], &0.into(), &0.into()));
    let listed = json("ls", dir.path(), 0);
    assert_eq!(listed["channels"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["channels"][0]["dir"], data.display().to_string());
    assert_eq!(listed["channels"][0]["waiting_events"], events);
    assert_eq!(listed["channels"][0]["newest_waiting"], events - 1);
    let verified = json("verify", &data, 0);
    assert_eq!((&verified["clean"], &verified["waiting"]), (&true.into(), &events.into()));
    assert_eq!(exported(&data, 0), (0..events).collect::<Vec<_>>());
    let avro = dir.path().join("events.avro");
    assert!(channel("export", &data, &[&avro.display().to_string()]).status.success());
    let reader = apache_avro::Reader::new(std::fs::File::open(&avro).unwrap()).unwrap();
    assert_eq!(reader.map(Result::unwrap).count(), events);
    let again = channel("export", &data, &[&avro.display().to_string()]);
    assert_eq!(again.status.code(), Some(78), "{}", text(&again.stderr));
    let first = channel("inspect", &data, &["--events", "2"]);
    assert!(text(&first.stdout).lines().last().unwrap().ends_with(":1 {} 1"), "{}", text(&first.stdout));
    assert_eq!(picture(&data), before, "looking changed something");
}

#[test]
fn what_was_delivered_does_not_wait_and_the_sum_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed(dir.path(), "a1.sinks = k1\na1.sinks.k1.type = null\na1.sinks.k1.channel = c1");
    let verified = json("verify", &data, 0);
    let number = |key: &str| verified[key].as_u64().unwrap() as usize;
    assert!(number("out") > 0, "{verified}");
    assert_eq!(number("in"), number("out") + number("waiting"));
    assert_eq!(exported(&data, 0), (number("out")..number("in")).collect::<Vec<_>>());

    // Old segments of a sound channel go at its next start; that is no damage.
    let again = agent(&dir.path().join("agent.properties"));
    again.until("agent is ready");
    again.stop().expect_code(0);
    assert_eq!(json("verify", &data, 0)["clean"], true);
    let repaired = channel("repair", &data, &[]);
    assert!(repaired.status.success() && text(&repaired.stdout).contains("nothing to repair"), "{repaired:?}");
}

#[test]
fn a_channel_in_use_is_refused_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(&config(dir.path(), ""));
    let data = dir.path().join("data");
    agent.until_true("a segment", || data.join("millstream/log/0000000001.log").exists());
    let owner = format!("process {}", agent.id());
    for (command, more) in [
        ("inspect", &[][..]),
        ("verify", &[]),
        ("export", &["-"]),
        ("repair", &["--yes"]),
        ("drain", &["--to", "127.0.0.1:1"]),
    ] {
        let refused = channel(command, &data, more);
        assert_eq!(refused.status.code(), Some(75), "{command}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(&owner), "{command}: {}", text(&refused.stderr));
    }
    assert_eq!(json("ls", dir.path(), 0)["channels"][0]["in_use_by"], owner);
    agent.stop().expect_code(0);
    let missing = channel("verify", dir.path(), &[]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(text(&missing.stderr).contains("there is one in"), "{}", text(&missing.stderr));
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(channel("ls", nothing.path(), &[]).status.code(), Some(66));
}

#[test]
fn damage_is_named_with_its_place_repaired_once_and_costs_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed(dir.path(), "");
    let events = json("inspect", &data, 0)["in"].as_u64().unwrap() as usize;
    let old = segments(&data).swap_remove(1);
    let place = std::fs::metadata(&old).unwrap().len() / 2;
    flip(&old, place);
    // And a write that did not finish.
    let newest = segments(&data).pop().unwrap();
    let mut torn = std::fs::read(&newest).unwrap();
    torn.extend([7; 100]);
    std::fs::write(&newest, &torn).unwrap();
    let before = picture(&data);

    let verified = json("verify", &data, 65);
    let problems = verified["problems"].as_array().unwrap();
    let damage = problems.iter().find(|problem| problem["file"] == old.display().to_string()).unwrap();
    let (from, length) = (damage["offset"].as_u64().unwrap(), damage["length"].as_u64().unwrap());
    assert!((from..from + length).contains(&place), "{damage}");
    assert!(damage["remedy"].as_str().unwrap().contains("channel repair"), "{damage}");
    assert_eq!((&verified["unreadable"], &verified["waiting"]), (&BATCH.into(), &(events - BATCH).into()));
    assert!(problems.iter().any(|problem| problem["severity"] == "note" && problem["length"] == 100), "{verified}");
    let kept = exported(&data, 65);
    assert_eq!(kept.len(), events - BATCH);
    assert!(kept.is_sorted());

    let told = channel("repair", &data, &[]);
    assert_eq!(told.status.code(), Some(65));
    assert!(text(&told.stdout).contains("nothing was changed; add --yes"), "{}", text(&told.stdout));
    assert!(text(&told.stdout).contains("cut 100 bytes off"), "{}", text(&told.stdout));
    assert_eq!(picture(&data), before, "looking changed something");

    let done = channel("repair", &data, &["--yes"]);
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    let quarantined: Vec<_> = picture(&data).into_keys().filter(|path| path.extension().unwrap() == "bad").collect();
    assert_eq!(quarantined.len(), 1, "{quarantined:?}");
    assert!(text(&done.stdout).contains(&quarantined[0].display().to_string()), "{}", text(&done.stdout));
    assert_eq!(std::fs::read(&quarantined[0]).unwrap().len() as u64, length);
    for _ in 0..2 {
        let again = channel("repair", &data, &["--yes"]);
        assert!(text(&again.stdout).contains("nothing to repair"), "{}", text(&again.stdout));
    }
    let verified = json("verify", &data, 0);
    assert_eq!((&verified["lost"], &verified["unreadable"]), (&BATCH.into(), &0.into()));
    assert_eq!(exported(&data, 0), kept, "a repair loses nothing that can be read");
}

#[test]
fn exit_codes_say_whether_a_directory_is_there_and_holds_what_was_named() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, missing) = (dir.path().to_owned(), dir.path().join("missing"));
    for (command, more, of_empty) in [
        ("channel ls", &[][..], 66),
        ("channel inspect", &[], 78),
        ("channel verify", &[], 78),
        ("channel repair", &[], 78),
        ("channel repair", &["--yes"], 78),
        ("channel export", &["-"], 78),
        ("channel drain", &["--to", "127.0.0.1:1"], 78),
        ("audit", &[], 66),
        ("deadletter ls", &[], 78),
        ("deadletter replay", &["--to", "127.0.0.1:1"], 78),
    ] {
        for (dir, code) in [(&missing, 66), (&empty, of_empty)] {
            let output = Command::new(millstream()).args(command.split(' ')).arg(dir).args(more).output().unwrap();
            let told = format!("{command} {more:?}: {}{}", text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(code), "{told}");
            assert!(!missing.exists() && std::fs::read_dir(&empty).unwrap().next().is_none(), "{told}");
        }
    }
}

#[test]
fn usage_shows_the_alternatives() {
    for (command, wanted) in [
        ("channel drain", "<--to <HOST:PORT>|--to-file <FILE>>"),
        ("deadletter replay", "<--to <HOST:PORT>|--to-file <FILE>>"),
        ("avro-client", "millstream avro-client --rpcProps <FILE>"),
        ("avro-client", "millstream avro-client --host <HOST> --port <PORT>"),
    ] {
        let output = Command::new(millstream()).args(command.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{command}");
        assert!(text(&output.stderr).contains(wanted), "{}", text(&output.stderr));
    }
}

#[test]
fn a_reader_of_an_export_that_leaves_ends_it_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed(dir.path(), "");
    // More than a pipe holds comes after the reader has left: it never reads.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut export = Command::new(millstream());
    export.args(["channel", "export"]).arg(&data).args(["-", "--format", "jsonl"]).stdout(writer);
    let output = export.output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    assert_ne!(exported(&data, 0).len(), 0, "there was something to read");
}

#[test]
fn draining_into_a_file_moves_everything_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed(dir.path(), "");
    let events = exported(&data, 0);
    let file = dir.path().join("events.jsonl");
    std::fs::write(&file, "mine").unwrap();
    let to_file = ["--to-file", &*file.display().to_string(), "--format", "jsonl"].map(str::to_owned);
    let drain = || channel("drain", &data, &to_file.each_ref().map(String::as_str));
    let refused = drain();
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused.stderr));
    assert_eq!(exported(&data, 0), events);
    std::fs::remove_file(&file).unwrap();
    let drained = drain();
    assert!(drained.status.success(), "{}", text(&drained.stderr));
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), events.len());
    let left = json("inspect", &data, 0);
    assert_eq!((&left["waiting"], &left["out"]), (&0.into(), &events.len().into()));
    assert!(exported(&data, 0).is_empty());
}

/// What is not acknowledged when the command is killed goes again, and an avro source of ours knows it.
#[test]
fn draining_to_an_avro_source_over_a_kill_stores_each_event_once() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = killed(from.path(), "");
    let events = exported(&data, 0).len();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let unreachable = channel("drain", &data, &["--to", "127.0.0.1:1"]);
    assert_eq!(unreachable.status.code(), Some(74), "{}", text(&unreachable.stderr));
    assert_eq!(exported(&data, 0).len(), events);

    let file = to.path().join("agent.properties");
    let at = to.path().display();
    let properties = format!(
        "a1.sources = r1\na1.channels = c1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1
         a1.sources.r1.port = {port}\na1.sources.r1.channels = c1\na1.channels.c1.type = file
         a1.channels.c1.checkpointDir = {at}/checkpoint\na1.channels.c1.dataDirs = {at}/data\n"
    );
    std::fs::write(&file, properties).unwrap();
    let receiver = agent(&file);
    receiver.until("avro source listens");
    let arguments =
        ["channel", "drain", &*data.display().to_string(), "--to", &address, "--batch-size", "7"].map(str::to_owned);
    let drain = Process::start(&arguments);
    let stored = to.path().join("data/millstream/log/0000000001.log");
    drain.until_true("something arrived", || std::fs::metadata(&stored).is_ok_and(|file| file.len() > 20_000));
    drop(drain);
    let left = exported(&data, 0).len();
    assert!(left > 0 && left < events, "{left} of {events} left: this run proves nothing");
    Process::start(&arguments).ended().expect_code(0);
    assert!(exported(&data, 0).is_empty());
    receiver.stop().expect_code(0);
    assert_eq!(exported(&to.path().join("data"), 0), (0..events).collect::<Vec<_>>());
}

#[test]
fn without_its_acknowledgements_a_channel_is_looked_into_and_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed(dir.path(), "");
    let events = json("inspect", &data, 0)["in"].as_u64().unwrap() as usize;
    std::fs::remove_dir_all(data.join("millstream/acks")).unwrap();
    let verified = json("verify", &data, 65);
    let what = verified["problems"][0]["what"].as_str().unwrap();
    assert!(what.contains("what was delivered is not noted anywhere"), "{verified}");
    assert_eq!(verified["waiting"], events, "everything would be delivered again");
    assert_eq!(json("ls", &data, 0)["channels"][0]["waiting_events"], events);
    assert_eq!(exported(&data, 0).len(), events);
    let told = channel("repair", &data, &["--output", "json"]);
    assert_eq!(told.status.code(), Some(65));
    assert!(text(&told.stdout).contains("delivered again"), "{}", text(&told.stdout));
    assert!(channel("repair", &data, &["--yes"]).status.success());
    assert_eq!(json("verify", &data, 0)["waiting"], events);
}

#[test]
fn a_segment_that_is_gone_is_lost_in_the_ledger_and_for_good_once_a_repair_noted_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed(dir.path(), "");
    let events = json("inspect", &data, 0)["in"].as_u64().unwrap();
    let gone = segments(&data).swap_remove(1);
    let copy = std::fs::read(&gone).unwrap();
    std::fs::remove_file(&gone).unwrap();
    let verified = json("verify", &data, 65);
    let lost = verified["unreadable"].as_u64().unwrap();
    assert!(lost > 0 && verified["problems"][0]["remedy"].as_str().unwrap().contains("bring it back"), "{verified}");
    let audited = Command::new(millstream()).args(["audit", "--output", "json"]).arg(&data).output().unwrap();
    assert_eq!(audited.status.code(), Some(65));
    let ledger: Value = serde_json::from_slice(&audited.stdout).unwrap();
    let row = &ledger["channels"][0];
    assert_eq!((&row["lost"], &row["waiting"]), (&lost.into(), &(events - lost).into()), "{ledger}");
    // Somebody had a copy.
    std::fs::write(&gone, &copy).unwrap();
    assert_eq!(json("verify", &data, 0)["waiting"], events);
    std::fs::remove_file(&gone).unwrap();
    let told = channel("repair", &data, &[]);
    assert!(text(&told.stdout).contains("bring it back first"), "{}", text(&told.stdout));
    assert!(channel("repair", &data, &["--yes"]).status.success());
    let verified = json("verify", &data, 0);
    assert_eq!((&verified["lost"], &verified["unreadable"]), (&lost.into(), &0.into()), "{verified}");
    assert!(text(&channel("repair", &data, &[]).stdout).contains("nothing to repair"));
}

#[test]
fn an_unfinished_write_alone_is_no_damage_and_a_channel_that_cannot_be_opened_is() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["a", "b"].map(|name| dir.path().join(name));
    [&one, &two].into_iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let data = killed(&one, "");
    let newest = segments(&data).pop().unwrap();
    let mut torn = std::fs::read(&newest).unwrap();
    torn.extend([7; 100]);
    std::fs::write(&newest, &torn).unwrap();
    json("verify", &data, 0);
    let told = channel("repair", &data, &[]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stdout));
    assert!(text(&told.stdout).contains("cut 100 bytes off"), "{}", text(&told.stdout));
    json("ls", &data, 0);
    let other = killed(&two, "");
    let [theirs, ours] = [&other, &data].map(|data| segments(data).swap_remove(1));
    std::fs::copy(theirs, ours).unwrap();
    let listed = json("ls", &data, 65);
    assert!(listed["channels"][0]["error"].as_str().is_some(), "{listed}");
}

#[test]
fn what_was_exported_and_drained_is_counted_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let data = killed(dir.path(), "");
    let events = json("inspect", &data, 0)["in"].as_u64().unwrap();
    let (copy, moved) = (dir.path().join("copy"), dir.path().join("moved"));
    let exported = channel("export", &data, &[copy.to_str().unwrap(), "--output", "json"]);
    let drained = channel("drain", &data, &["--to-file", moved.to_str().unwrap(), "--output", "json"]);
    for said in [exported, drained] {
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(said, serde_json::json!({ "events": events, "unreadable": 0 }));
    }
    let said = channel("export", &data, &["-", "--output", "json"]);
    assert_eq!(
        text(&said.stderr).trim(),
        r#"{"events":0,"unreadable":0}"#,
        "events have standard output to themselves"
    );
}

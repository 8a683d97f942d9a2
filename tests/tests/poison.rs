//! An event that a sink rejects for good: set aside by its channel, over a kill, shown, and replayed once over another one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use apache_avro::Reader;
use apache_avro::types::Value as Datum;
use millstream::{FlumeUtils, StreamingContext};
use millstream_testkit::peer::free_port;
use millstream_tests::{Process, millstream, until_true};
use serde_json::{Value, json};

/// `http → file → file_roll` with `AvroEventSerializer`, and where letters are sent: `avro → file → file_roll`.
struct Path {
    dir: tempfile::TempDir,
    http: u16,
    avro: u16,
}

// === impl Path ===

impl Path {
    fn new() -> Self {
        let path = Self { dir: tempfile::tempdir().unwrap(), http: free_port(), avro: free_port() };
        ["out", "replayed"].iter().for_each(|name| std::fs::create_dir(path.at(name)).unwrap());
        path
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, agent: &str, text: &str, failpoint: &str) -> Process {
        let file = self.at(agent);
        std::fs::write(&file, text.replace("AT", &self.dir.path().display().to_string())).unwrap();
        let mut command = Command::new(millstream());
        command.args(["agent", "-n", "a1", "-f"]).arg(&file).env_remove("RUST_LOG");
        if !failpoint.is_empty() {
            command.env("MILLSTREAM_FAILPOINT", failpoint);
        }
        Process::spawn(command)
    }

    fn agent(&self, failpoint: &str) -> Process {
        let sink =
            "a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = AT/out\na1.sinks.k1.sink.rollInterval = 0
                    a1.sinks.k1.sink.serializer = org.apache.flume.sink.hdfs.AvroEventSerializer$Builder\n";
        self.agent_with(sink, failpoint)
    }

    fn agent_with(&self, sink: &str, failpoint: &str) -> Process {
        let text = format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = http\na1.sources.r1.bind = 127.0.0.1
             a1.sources.r1.port = {}\na1.sources.r1.channels = c1\na1.channels.c1.type = file
             a1.channels.c1.checkpointDir = AT/checkpoint\na1.channels.c1.dataDirs = AT/data
             a1.sinks.k1.channel = c1\n{sink}",
            self.http
        );
        let agent = self.start("agent", &text, failpoint);
        agent.until("http source listens");
        agent
    }

    fn receiver(&self) -> Process {
        let text = format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1
             a1.sources.r1.port = {}\na1.sources.r1.channels = c1\na1.channels.c1.type = file
             a1.channels.c1.checkpointDir = AT/checkpoint2\na1.channels.c1.dataDirs = AT/data2
             a1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1\na1.sinks.k1.sink.directory = AT/replayed
             a1.sinks.k1.sink.rollInterval = 0\n",
            self.avro
        );
        let agent = self.start("receiver", &text, "");
        agent.until("avro source listens");
        agent
    }

    /// Sends events in one request; each is a string of Avro, or has no schema.
    fn post(&self, events: &[Value]) {
        let body = json!(events).to_string();
        let mut connection = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        connection.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// All that file_roll has written in containers, in order.
    fn written(&self) -> Vec<String> {
        self.written_in("out")
    }

    fn written_in(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(dir)).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let contents = files.into_iter().map(|file| std::fs::read(file).unwrap()).filter(|bytes| !bytes.is_empty());
        let text = |datum| match datum {
            Datum::String(text) => text,
            other => panic!("no string: {other:?}"),
        };
        // One that is being written may end anywhere.
        let read =
            |bytes: Vec<u8>| Reader::new(&bytes[..])?.map(|datum| datum.map(text)).collect::<Result<Vec<_>, _>>();
        contents.flat_map(|bytes| read(bytes).unwrap_or_default()).collect()
    }

    /// Lines that the receiver has written.
    fn replayed(&self) -> String {
        let files = std::fs::read_dir(self.at("replayed")).unwrap();
        files.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
    }

    fn run(&self, command: &[&str], more: &[&str]) -> Output {
        Command::new(millstream()).args(command).arg(self.at("data")).args(more).output().unwrap()
    }

    #[track_caller]
    fn letters(&self) -> Vec<Value> {
        let shown = told(&self.run(&["deadletter", "ls"], &["--output", "json"]));
        serde_json::from_str::<Value>(&shown).unwrap()["dead_letters"].as_array().unwrap().clone()
    }
}

/// A string of Avro, with its schema.
fn good(text: &str) -> Value {
    let length = char::from_u32(2 * text.len() as u32).unwrap();
    json!({ "headers": { "flume.avro.schema.literal": "\"string\"" }, "body": format!("{length}{text}") })
}

/// An event that names no schema.
fn poison(text: &str) -> Value {
    json!({ "headers": { "from": "there" }, "body": text })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_poison_event_is_set_aside_over_a_kill_and_the_rest_arrives_in_order_and_once() {
    let path = Path::new();
    assert_eq!(path.run(&["deadletter", "ls"], &[]).status.code(), Some(66), "there is nothing yet");
    // Killed when the letter is on the disk and the event not yet out of the channel.
    let killed = path.agent("channel.letter-kept=abort");
    // The first event of a file says its schema.
    path.post(&[poison("pill"), good("one"), good("two"), good("three")]);
    let line = killed.until("event set aside as a dead letter");
    for part in ["a1.sinks.k1", "neither flume.avro.schema.url nor", "millstream deadletter ls", "/data"] {
        assert!(line.contains(part), "{line} lacks {part}");
    }
    killed.ended();
    assert_eq!(path.letters().len(), 1);

    let agent = path.agent("");
    path.post(&[good("four")]);
    agent.until_true("the rest arrives", || path.written().len() == 4);
    assert_eq!(path.written(), ["one", "two", "three", "four"]);
    agent.until("kept as a dead letter already");

    // While the agent runs.
    let letters = path.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let of = |key: &str| letters[0][key].clone();
    assert_eq!([of("number"), of("replayed"), of("body")], [json!(1), json!(0), json!("pill")]);
    assert_eq!((of("sink"), of("headers")), (json!("a1.sinks.k1"), json!({ "from": "there" })));
    assert!(of("reason").as_str().unwrap().contains("neither flume.avro.schema.url nor"), "{letters:?}");
    assert!(of("name").as_str().unwrap().ends_with(":0"), "{letters:?}");
    let shown = told(&path.run(&["deadletter", "ls"], &[]));
    assert!(shown.contains("number 1 by a1.sinks.k1, ") && shown.contains("{from=there} pill"), "{shown}");
    agent.stop().expect_code(0);

    let audited = told(&path.run(&["audit"], &["--output", "json"]));
    let ledger: Value = serde_json::from_str(&audited).unwrap();
    let row = ["in", "out", "dead_lettered", "waiting", "lost"].map(|key| ledger["channels"][0][key].as_u64().unwrap());
    assert_eq!(row, [5, 5, 1, 0, 0], "{ledger}");
    let sum = "in 5 = out 5 (1 of them a dead letter) + waiting 0 + lost 0";
    for command in [&["audit"][..], &["channel", "inspect"]] {
        let shown = told(&path.run(command, &[]));
        assert!(shown.contains(sum), "{shown}");
    }
}

#[test]
fn poison_amid_a_take_goes_and_what_stands_before_and_behind_it_is_in_the_files_once() {
    let path = Path::new();
    let sink = "a1.sinks.k1.type = hdfs\na1.sinks.k1.hdfs.path = file://AT/out/%{to}
                a1.sinks.k1.hdfs.fileType = DataStream\na1.sinks.k1.hdfs.rollInterval = 0
                a1.sinks.k1.serializer = org.apache.flume.sink.hdfs.AvroEventSerializer$Builder\n";
    let agent = path.agent_with(sink, "");
    let to = |mut event: Value, file: &str| {
        event["headers"]["to"] = file.into();
        event
    };
    let events = [(good("a"), "x"), (good("b"), "x"), (poison("pill"), "y"), (good("c"), "x"), (good("d"), "y")];
    path.post(&events.map(|(event, file)| to(event, file)));
    agent.until("event set aside as a dead letter");
    // In the second file what comes behind the poison is the last to be written.
    until_true("all is written", || path.written_in("out/y").len() == 1);
    agent.stop().expect_code(0);
    assert_eq!(
        (path.written_in("out/x"), path.written_in("out/y")),
        (["a", "b", "c"].map(str::to_owned).into(), vec!["d".to_owned()])
    );
    let letters = path.letters();
    assert_eq!(letters.iter().map(|letter| &letter["body"]).collect::<Vec<_>>(), ["pill"]);
}

#[test]
fn letters_of_a_channel_are_replayed_once_over_a_kill_and_asked_for_by_number() {
    let path = Path::new();
    let agent = path.agent("");
    path.post(&[poison("a"), poison("b"), good("one")]);
    until_true("both are set aside", || path.letters().len() == 2);
    agent.until_true("the good one arrives", || path.written() == ["one"]);
    let receiver = path.receiver();
    let source = format!("127.0.0.1:{}", path.avro);
    let replay = |more: &[&str]| path.run(&["deadletter", "replay"], &[&["--to", &*source], more].concat());

    let by_batch = replay(&["--batch", "1"]);
    assert_eq!(by_batch.status.code(), Some(78));
    assert!(text(&by_batch.stderr).contains("name one by --number"), "{}", text(&by_batch.stderr));
    // Killed when the peer has it and nobody has noted it.
    let mut killed = Command::new(millstream());
    killed.args(["deadletter", "replay"]).arg(path.at("data")).args(["--to", &source, "--number", "2"]);
    killed.env("MILLSTREAM_FAILPOINT", "channel.before-mark=abort");
    assert!(!killed.output().unwrap().status.success());
    receiver.until_true("it is stored", || path.replayed() == "b\n");
    assert_eq!(path.letters()[1]["replayed"], 0);
    assert_eq!(told(&replay(&["--number", "2"])), "replayed 1\n");
    assert_eq!(told(&replay(&[])), "replayed 1; 1 were before, and come with --again\n");
    receiver.until_true("the other one is stored, and none twice", || path.replayed() == "b\na\n");
    assert_eq!(
        path.letters().iter().map(|letter| letter["replayed"].clone()).collect::<Vec<_>>(),
        [json!(1), json!(1)]
    );
    assert_eq!(told(&replay(&["--again", "--number", "1"])), "replayed 1\n");
    receiver.until_true("it is stored again", || path.replayed() == "b\na\na\n");

    let file = path.at("again.txt");
    let to_file = ["--to-file", &*file.display().to_string(), "--again"];
    assert_eq!(told(&path.run(&["deadletter", "replay"], &to_file)), "replayed 2\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\nb\n");
    agent.stop().expect_code(0);
    receiver.stop().expect_code(0);
}

#[test]
fn what_a_sink_rejected_is_not_lost_in_the_ledger_of_the_job_behind_its_channel() {
    let path = Path::new();
    let agent = path.agent("");
    path.post(&[poison("pill")]);
    agent.until("event set aside as a dead letter");
    agent.stop().expect_code(0);

    let mut ssc = StreamingContext::new("ledger", Duration::from_millis(20));
    ssc.checkpoint(path.at("job"));
    let lines = FlumeUtils::create_stream(&ssc, "127.0.0.1", path.avro);
    lines.map(|event| (event.text().into_owned(), 1_i64)).for_each_batch(|_, _| Ok(()));
    let job = ssc.start().unwrap();
    let sink = format!("a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {}\n", path.avro);
    let agent = path.agent_with(&sink, "");
    path.post(&[good("one"), poison("is no poison here")]);
    until_true("both are committed", || job.committed(&[]).counted.values().sum::<u64>() == 2 && job.is_idle());
    agent.stop().expect_code(0);
    job.stop().unwrap();
    drop(job);

    let audited =
        Command::new(millstream()).arg("audit").arg(path.dir.path()).args(["--output", "json"]).output().unwrap();
    let ledger: Value = serde_json::from_str(&told(&audited)).unwrap();
    let keys = ["in", "counted", "dead_lettered", "waiting", "lost"];
    let row = keys.map(|key| ledger["jobs"][0][key].as_u64().unwrap());
    assert_eq!(row, [3, 2, 1, 0, 0], "{ledger}");
}

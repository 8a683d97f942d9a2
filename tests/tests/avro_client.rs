//! `millstream avro-client`, and a program that logs through the client crate, at the other end of our agent.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use millstream_tests::{Process, example, millstream};
use tempfile::TempDir;

/// An agent with an avro source, whose events end in files.
struct Agent {
    dir: TempDir,
    process: Process,
    port: String,
}

// === impl Agent ===

impl Agent {
    /// Lines of its files are made by `serializer`.
    fn start(serializer: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        let config = format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\n\
             a1.sources.r1.port = 0\na1.sources.r1.channels = c1\na1.channels.c1.type = memory\na1.sinks.k1.type = file_roll\n\
             a1.sinks.k1.sink.directory = {}\na1.sinks.k1.sink.serializer = {serializer}\na1.sinks.k1.channel = c1\n",
            dir.path().join("out").display()
        );
        let file = dir.path().join("flume.conf");
        fs::write(&file, config).unwrap();
        let process = Process::start(["agent", "-n", "a1", "-f", file.to_str().unwrap()]);
        let port = process.until("avro source listens").rsplit(':').next().unwrap().trim().to_owned();
        Self { dir, process, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Everything that arrived.
    fn arrived(&self) -> String {
        let mut files: Vec<_> = fs::read_dir(self.path("out")).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()).collect()
    }

    #[track_caller]
    fn until_arrived(&self, wanted: &str) {
        self.process.until_true("everything arrived", || self.arrived().len() >= wanted.len());
        assert_eq!(self.arrived(), wanted);
    }

    fn client(&self) -> Command {
        let mut command = client();
        command.args(["-H", "127.0.0.1", "-p", &self.port]);
        command
    }
}

fn client() -> Command {
    let mut command = Command::new(millstream());
    command.arg("avro-client").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

#[track_caller]
fn failed(output: &Output, code: i32, told: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(told), "{stderr}");
}

fn typing(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn lines_of_a_file_arrive_with_the_headers_whatever_ends_them() {
    let agent = Agent::start("header_and_text");
    fs::write(agent.path("lines"), "one\ntwo\rthree\r\n\nfünf").unwrap();
    fs::write(agent.path("headers"), "kind = test\n").unwrap();
    let mut command = agent.client();
    command.arg("-F").arg(agent.path("lines")).arg("-R").arg(agent.path("headers"));
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let wanted = ["one", "two", "three", "", "fünf"].map(|line| format!("{{kind=test}} {line}\n")).concat();
    agent.until_arrived(&wanted);
    agent.process.stop().expect_code(0);
}

#[test]
fn lines_that_are_typed_arrive_at_once_and_the_end_of_input_is_the_end() {
    let agent = Agent::start("text");
    let mut child = typing(agent.client());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"first\n").unwrap();
    agent.until_arrived("first\n");
    stdin.write_all(b"second\nlast").unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    agent.until_arrived("first\nsecond\nlast\n");
}

#[test]
fn a_directory_is_sent_oldest_first_and_its_files_are_completed() {
    let agent = Agent::start("text");
    let spool = agent.path("spool");
    fs::create_dir(&spool).unwrap();
    for (name, seconds, text) in
        [("b", 1, "old\n"), ("a", 2, "new\n"), (".hidden", 1, "x\n"), ("c.COMPLETED", 1, "x\n")]
    {
        fs::write(spool.join(name), text).unwrap();
        let file = fs::File::options().write(true).open(spool.join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    }
    let properties = agent.path("client.properties");
    let hosts = format!("hosts = a b\nhosts.a = 127.0.0.1:1\nhosts.b = 127.0.0.1:{}\n", agent.port);
    fs::write(&properties, format!("client.type = default_failover\n{hosts}")).unwrap();
    let mut command = client();
    command.arg("--rpcProps").arg(properties).arg("--dirname").arg(&spool);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    agent.until_arrived("old\nnew\n");
    let mut names: Vec<_> = fs::read_dir(&spool).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".hidden", "a.COMPLETED", "b.COMPLETED", "c.COMPLETED"]);
    // A name that is taken is not written over.
    fs::write(spool.join("a"), "again\n").unwrap();
    let mut command = agent.client();
    failed(&command.arg("--dirname").arg(&spool).output().unwrap(), 78, "a.COMPLETED: it is there already");
    agent.until_arrived("old\nnew\n");
}

#[test]
fn what_cannot_be_sent_is_told_with_the_line_to_go_on_from_and_an_exit_code() {
    let agent = Agent::start("text");
    // Passes the first calls on, and then hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (link, target) = (listener.local_addr().unwrap().port(), agent.port.parse::<u16>().unwrap());
    std::thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect(("127.0.0.1", target)).unwrap();
        let (mut answers, mut back) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
        let mut chunk = [0; 1 << 16];
        loop {
            let len = near.read(&mut chunk).unwrap();
            if chunk[..len].windows(4).any(|window| window == b"stop") {
                return near.shutdown(std::net::Shutdown::Both).unwrap();
            }
            far.write_all(&chunk[..len]).unwrap();
        }
    });
    let mut command = client();
    command.args(["-H", "127.0.0.1", "-p", &link.to_string()]);
    let mut child = typing(command);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\n").unwrap();
    agent.until_arrived("one\ntwo\n");
    stdin.write_all(b"stop\n").unwrap();
    // Standard input stays open: it ends all the same.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    failed(&output, 74, "next_line=3");
}

#[test]
fn wrong_arguments_and_agents_that_are_not_there_have_exit_codes() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    failed(&client().args(["-H", "127.0.0.1", "-p", &port]).output().unwrap(), 74, "connect 127.0.0.1:");
    failed(&client().args(["-H", "127.0.0.1"]).output().unwrap(), 64, "--port");
    let both = ["-H", "h", "-p", "1", "-F", "f", "--dirname", "d"];
    failed(&client().args(both).output().unwrap(), 64, "--dirname");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("client.properties");
    fs::write(&file, "hosts = h1\nhosts.h1 = localhost\n").unwrap();
    let output = client().arg("-P").arg(&file).output().unwrap();
    failed(&output, 78, "client.properties:2: hosts.h1: expected host:port");
    let help = client().arg("-h").output().unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--headerFile"));
}

#[test]
fn a_program_that_logs_through_the_layer_reaches_the_agent() {
    let agent = Agent::start("text");
    let ran = Command::new(example("tracing_to_agent")).args(["127.0.0.1", &agent.port]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let wanted =
        "received order=1\nreceived order=2\nreceived order=3\ncannot be delivered order=2 reason=\"no stock\"\n";
    agent.until_arrived(wanted);
}

//! Java programs of our own, each one file of `testkit/peers/java/`, compiled against the class path that it is run with
//! into `classes/<class path>/<driver>/`, again when its source or the class path changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::classpath::{self, ClassPath};
use super::process::Peer;
use super::{jdk, peers_dir};

/// How a Java program is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jvm {
    /// Ready in half the time, and slow afterwards: for tests.
    QuickStart,
    /// As its makers run it, with a heap of 1 GiB: for measurements.
    Steady,
}

/// Allows Spark what JDK 17 forbids.
const OPENED: &str = "--add-opens=java.base/java.lang=ALL-UNNAMED";

// === impl Jvm ===

impl Jvm {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::QuickStart => &["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", OPENED],
            Self::Steady => &["-Xmx1g", OPENED],
        }
    }
}

/// A Java program, with its temporary files in `dir`.
pub(super) fn java(jvm: Jvm, dir: &Path, class_path: &str, main: &str) -> Command {
    let tmp = dir.join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    let mut command = Command::new(jdk::java());
    command.args(jvm.flags()).arg(format!("-Djava.io.tmpdir={}", tmp.display()));
    command.args(["-Dorg.slf4j.simpleLogger.showDateTime=true", "-cp", class_path, main]);
    // Options of the user's own Java programs, and a word about them in the log.
    command.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS").env_remove("JDK_JAVA_OPTIONS");
    command
}

/// Compiles the driver if need be; gives the class path that begins with it.
#[track_caller]
pub(super) fn compiled(driver: &str, class_path: ClassPath) -> String {
    let jars = class_path.jars();
    let _lock = classpath::lock();
    let source = classpath::sources("java").join(format!("{driver}.java"));
    let made_of = format!("{jars}\n{}", fs::read_to_string(&source).unwrap());
    let dir = peers_dir().join("classes").join(class_path.name()).join(driver);
    let stamp = dir.join("made-of");
    if !fs::read_to_string(&stamp).is_ok_and(|text| text == made_of) {
        // A class of an older source must not stay.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let mut javac = Command::new(jdk::javac());
        javac.args(["-nowarn", "-proc:none", "-encoding", "UTF-8", "-cp", &jars, "-d"]).arg(&dir).arg(&source);
        let output = javac.output().unwrap();
        assert!(output.status.success(), "javac {driver}: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(&stamp, made_of).unwrap();
    }
    format!("{}:{jars}", dir.display())
}

/// Runs a driver in `dir`.
#[track_caller]
pub fn driver(driver: &str, class_path: ClassPath, dir: &Path, arguments: &[String]) -> Peer {
    driver_in(Jvm::QuickStart, driver, class_path, dir, arguments)
}

/// The same, in such a JVM.
#[track_caller]
pub fn driver_in(jvm: Jvm, driver: &str, class_path: ClassPath, dir: &Path, arguments: &[String]) -> Peer {
    let mut command = java(jvm, dir, &compiled(driver, class_path), driver);
    // Before the arguments of the command line: what Flume's clients say about each connection helps nobody.
    command.env("JDK_JAVA_OPTIONS", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn").args(arguments);
    Peer::start(driver, dir, &command)
}

/// Runs one of the peer's own programs, by its class.
#[track_caller]
pub fn program(main: &str, class_path: ClassPath, dir: &Path, arguments: &[&str]) -> Peer {
    let mut command = java(Jvm::QuickStart, dir, &class_path.jars(), main);
    // Before Java 18 files are in the characters of the terminal.
    command.env("JDK_JAVA_OPTIONS", "-Dfile.encoding=UTF-8").args(arguments);
    Peer::start("program", dir, &command)
}

/// Flume's own client, sending numbered events: `RpcLoad.java`.
#[derive(Debug)]
pub struct RpcLoad {
    peer: Peer,
    acknowledged: PathBuf,
}

/// A server of Flume's protocol that answers as it is told: `AvroReceiver.java`.
#[derive(Debug)]
pub struct AvroReceiver {
    /// The process.
    pub peer: Peer,
    received: PathBuf,
}

/// A client of a Spark sink that answers as it is told: `SparkSinkClient.java`.
#[derive(Debug)]
pub struct SparkSinkClient {
    /// The process.
    pub peer: Peer,
    received: PathBuf,
}

/// What a [`SparkSinkClient`] got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// Of its batch.
    pub sequence_number: String,
    /// What the client answered for the batch.
    pub answer: String,
    /// How many headers came along.
    pub headers: usize,
    /// As text.
    pub body: String,
}

// === impl RpcLoad ===

impl RpcLoad {
    /// Starts it in `dir` with the client's `properties`; it takes these steps, each like `count=1000,batch=100`.
    #[track_caller]
    pub fn start(class_path: ClassPath, dir: &Path, properties: &str, steps: &[&str]) -> Self {
        let (client, acknowledged) = (dir.join("client.properties"), dir.join("acknowledged"));
        fs::write(&client, properties).unwrap();
        let mut arguments = vec![client.display().to_string(), acknowledged.display().to_string()];
        arguments.extend(steps.iter().map(|&step| step.to_owned()));
        Self { peer: driver("RpcLoad", class_path, dir, &arguments), acknowledged }
    }

    /// The ids that were acknowledged so far.
    pub fn acknowledged(&self) -> Vec<String> {
        whole_lines(&self.acknowledged)
    }

    /// The messages of each failure so far.
    pub fn refused(&self) -> Vec<String> {
        whole_lines(&self.acknowledged.with_extension("refused"))
    }

    /// Waits until so many events are acknowledged.
    #[track_caller]
    pub fn until_acknowledged(&mut self, count: usize) {
        let file = self.acknowledged.clone();
        self.peer.until(&format!("{count} acknowledged"), || whole_lines(&file).len() >= count);
    }

    /// Waits until so many batches failed.
    #[track_caller]
    pub fn until_refused(&mut self, count: usize) {
        let file = self.acknowledged.with_extension("refused");
        self.peer.until(&format!("{count} refused"), || whole_lines(&file).len() >= count);
    }

    /// Waits until everything is acknowledged; gives the ids.
    #[track_caller]
    pub fn finish(self) -> Vec<String> {
        self.peer.succeeds();
        whole_lines(&self.acknowledged)
    }

    /// Waits until it gives up; gives the failures.
    #[track_caller]
    pub fn gives_up(self) -> Vec<String> {
        self.peer.ends_with(3);
        whole_lines(&self.acknowledged.with_extension("refused"))
    }
}

// === impl AvroReceiver ===

impl AvroReceiver {
    /// Starts it in `dir` on `port`: each call is answered after `delay_ms`, the first `failures` with FAILED.
    #[track_caller]
    pub fn start(class_path: ClassPath, dir: &Path, port: u16, delay_ms: u64, failures: u32) -> Self {
        let received = dir.join("received");
        let arguments = [port.to_string(), received.display().to_string(), delay_ms.to_string(), failures.to_string()];
        let mut peer = driver("AvroReceiver", class_path, dir, &arguments);
        peer.until_log("listening");
        Self { peer, received }
    }

    /// What was answered with OK so far: `append|batch <number of headers> <body>`.
    pub fn received(&self) -> Vec<String> {
        whole_lines(&self.received)
    }

    /// Waits until so many events were answered with OK.
    #[track_caller]
    pub fn until_received(&mut self, count: usize) {
        let file = self.received.clone();
        self.peer.until(&format!("{count} received"), || whole_lines(&file).len() >= count);
    }
}

// === impl SparkSinkClient ===

impl SparkSinkClient {
    /// Starts it in `dir`: asks the sink on `port` for at most `n` events and answers, once for each word of `answers`.
    #[track_caller]
    pub fn start(dir: &Path, port: u16, n: usize, answers: &str) -> Self {
        let received = dir.join("received");
        let arguments = [port.to_string(), received.display().to_string(), n.to_string(), answers.to_owned()];
        Self { peer: driver("SparkSinkClient", ClassPath::SparkSink, dir, &arguments), received }
    }

    /// What it got so far.
    pub fn received(&self) -> Vec<Got> {
        got(&self.received)
    }

    /// Waits until it got so many events.
    #[track_caller]
    pub fn until_received(&mut self, count: usize) {
        let file = self.received.clone();
        self.peer.until(&format!("{count} received"), || got(&file).len() >= count);
    }

    /// Waits until it has answered for everything; gives what it got.
    #[track_caller]
    pub fn finish(self) -> Vec<Got> {
        self.peer.succeeds();
        got(&self.received)
    }
}

/// The lines of a file that another process writes, without one that it has not finished.
pub(super) fn whole_lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    text[..end].lines().map(str::to_owned).collect()
}

#[track_caller]
fn got(file: &Path) -> Vec<Got> {
    let event = |line: String| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("the sink answered with an error: {line}")).to_owned();
        let (sequence_number, answer, headers, body) = (word(), word(), word(), word());
        Got { sequence_number, answer, headers: headers.parse().unwrap(), body }
    };
    whole_lines(file).into_iter().map(event).collect()
}

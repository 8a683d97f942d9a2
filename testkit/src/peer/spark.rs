//! Spark Streaming, counting words that come from Flume: `SparkWordCount.java`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use super::classpath::ClassPath;
use super::driver::{Jvm, compiled, java, whole_lines};
use super::place::Place;
use super::process::Peer;

/// How the events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `createPollingStream`: it asks the Spark sinks on these ports.
    Poll,
    /// `createStream`: it listens on one port.
    Push,
    /// The same, decompressing.
    PushDeflate,
}

/// A word count with a checkpoint and the receiver's log, so that it goes on after it was killed. Its directory stays as
/// long as this value, whether it runs or not.
#[derive(Debug)]
pub struct SparkWordCount {
    mode: Mode,
    ports: String,
    place: Place,
    peer: Option<Peer>,
}

// === impl SparkWordCount ===

impl SparkWordCount {
    /// Starts it, and waits until it runs and, when it is pushed to, listens.
    #[track_caller]
    pub fn start(mode: Mode, ports: &[u16]) -> Self {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut spark = Self { mode, ports: ports.join(","), place: Place::default(), peer: None };
        spark.start_again();
        spark
    }

    /// Starts it over what it left.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.peer.is_none(), "it runs");
        let begun = Instant::now();
        let mut command =
            java(Jvm::QuickStart, self.place.dir(), &compiled("SparkWordCount", ClassPath::Spark), "SparkWordCount");
        command.arg(match self.mode {
            Mode::Poll => "poll",
            Mode::Push => "push",
            Mode::PushDeflate => "push-deflate",
        });
        command.arg(&self.ports).arg(self.place.dir()).env("SPARK_LOCAL_IP", "127.0.0.1");
        let mut peer = Peer::start("spark", self.place.dir(), &command);
        peer.until_log("word count runs");
        if self.mode != Mode::Poll {
            let port = self.ports.parse().unwrap();
            peer.listens(port).unwrap_or_else(|why| panic!("spark does not listen: {why}\n{}", peer.log_tail()));
        }
        println!("spark {:?} ready after {:?}", self.mode, begun.elapsed());
        self.peer = Some(peer);
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        self.peer.take().expect("it runs").kill();
    }

    /// The process.
    pub fn peer(&mut self) -> &mut Peer {
        self.peer.as_mut().expect("it runs")
    }

    /// Words, and how often they were counted in all batches so far. A batch that Spark ran again counts once.
    pub fn totals(&self) -> BTreeMap<String, u64> {
        totals(self.place.path("counts"))
    }

    /// Waits until the totals are as wanted.
    #[track_caller]
    pub fn until_totals(&mut self, what: &str, mut wanted: impl FnMut(&BTreeMap<String, u64>) -> bool) {
        let folder = self.place.path("counts");
        self.peer().until(what, || wanted(&totals(folder.clone())));
    }
}

fn totals(folder: PathBuf) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for batch in fs::read_dir(folder).into_iter().flatten() {
        let path = batch.unwrap().path();
        // One that is being written.
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        for line in whole_lines(&path) {
            let (word, count) = line.split_once('\t').unwrap();
            *totals.entry(word.to_owned()).or_default() += count.parse::<u64>().unwrap();
        }
    }
    totals
}

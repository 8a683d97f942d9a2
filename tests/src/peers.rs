//! Our own ends of a path to real peers: an agent as a process, and a job in the test.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use millstream::outputs::{BatchId, ColumnKind, LogId, Output, Sqlite, Staged};
use millstream::receiver::Receiver;
use millstream::{BatchStamp, Error, Event, Rows, StreamingContext};
use millstream_testkit::peer::Place;
use nix::sys::signal::Signal;

use crate::demo::{Counts, find_table};
use crate::waiting::PATIENCE;
use crate::{Ended, Process, until_true};

/// An agent `a1` of ours. Its directory stays as long as this value, whether it runs or not.
#[derive(Debug)]
pub struct OurAgent {
    place: Place,
    arguments: &'static [&'static str],
    process: Option<Process>,
}

/// A job that counts words in `counts.sqlite`, its totals kept over all its lives.
pub struct WordCount {
    dir: tempfile::TempDir,
    words: fn(Event) -> Vec<String>,
    gate: Gate,
    job: Option<millstream::Job>,
}

/// Whether a job may commit what it has computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Commits {
    /// It may.
    #[default]
    Allowed,
    /// It must wait.
    Held,
    /// It must not, and ends: what it was given was for nothing.
    Refused,
}

/// An output that holds or refuses batches before they are committed, and writes nothing.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<Commits>, Condvar)>);

// === impl OurAgent ===

impl OurAgent {
    /// Starts one with these properties, which name directories and ports of its [`Place`], and waits until it runs.
    #[track_caller]
    pub fn start(properties: impl Fn(&mut Place) -> String) -> Self {
        Self::start_with(&[], properties)
    }

    /// The same with more arguments.
    #[track_caller]
    pub fn start_with(arguments: &'static [&'static str], properties: impl Fn(&mut Place) -> String) -> Self {
        let mut place = Place::default();
        let text = properties(&mut place);
        std::fs::write(place.path("flume.properties"), text).unwrap();
        let mut agent = Self { place, arguments, process: None };
        agent.start_again();
        agent
    }

    /// Starts it over what it left.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let file = self.place.path("flume.properties").display().to_string();
        let process = Process::start(["agent", "-n", "a1", "-f", &file].iter().chain(self.arguments));
        process.until("agent runs");
        self.process = Some(process);
    }

    /// Where it lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The port that its properties asked for under this name.
    pub fn port(&self, name: &str) -> u16 {
        self.place.chosen_port(name)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        process.signal(Signal::SIGKILL);
        process.ended();
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> Ended {
        self.process.take().expect("it runs").ended()
    }

    /// Asks it to end; it must do so well.
    #[track_caller]
    pub fn stop(&mut self) {
        self.process.take().expect("it runs").stop().expect_code(0);
    }
}

impl Drop for OurAgent {
    fn drop(&mut self) {
        if let (true, Some(process)) = (std::thread::panicking(), &self.process) {
            eprintln!("--- our agent\n{}\n---", process.lines_with("").join("\n"));
        }
    }
}

// === impl WordCount ===

impl WordCount {
    /// Counts the words of what `receiver` brings.
    pub fn start(receiver: impl Receiver + Clone + 'static) -> Self {
        Self::start_over(|event| event.words().map(String::from).collect(), receiver)
    }

    /// Counts how often a line like `e17 100 bytes 3 headers` describes what `receiver` brings: how the body begins, up
    /// to a dot, how long it is, and how many headers there are that a [`millstream_testkit::peer::RpcLoad`] makes.
    pub fn start_describing(receiver: impl Receiver + Clone + 'static) -> Self {
        Self::start_over(|event| vec![description(&event)], receiver)
    }

    /// Counts what `words` makes of each event that `receiver` brings.
    pub fn start_over(words: fn(Event) -> Vec<String>, receiver: impl Receiver + Clone + 'static) -> Self {
        let mut count = Self { dir: tempfile::tempdir().unwrap(), words, gate: Gate::default(), job: None };
        count.start_again(receiver);
        count
    }

    /// As [`Self::start`], the first batch being held or refused until [`Self::gate`] says otherwise.
    pub fn start_gated(commits: Commits, receiver: impl Receiver + Clone + 'static) -> Self {
        let words = |event: Event| event.words().map(String::from).collect();
        let mut count = Self { dir: tempfile::tempdir().unwrap(), words, gate: Gate::default(), job: None };
        count.gate.set(commits);
        count.start_again(receiver);
        count
    }

    /// What its batches pass before they are committed.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Starts it over what it left.
    pub fn start_again(&mut self, receiver: impl Receiver + Clone + 'static) {
        // A program that another test starts just now has the lock of a job that has ended, until it is that program.
        until_true("nobody else has its directory", || match self.try_start(receiver.clone()) {
            Ok(job) => {
                self.job = Some(job);
                true
            }
            Err(Error::InUse { .. }) => false,
            Err(error) => panic!("{error}"),
        });
    }

    fn try_start(&self, receiver: impl Receiver + 'static) -> millstream::Result<millstream::Job> {
        let mut ssc = StreamingContext::new("peers", Duration::from_millis(100));
        ssc.checkpoint(self.dir.path());
        let counts = ssc
            .receiver_stream("flume", receiver)
            .flat_map(self.words)
            .map(|word| (word, 1_i64))
            .reduce_by_key(|a, b| a + b);
        counts.save("gate", self.gate.clone());
        let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
        let table = Sqlite::upsert(self.database(), "word_counts");
        totals.save("counts", table.key("word", ColumnKind::Text).value("count", ColumnKind::I64));
        ssc.start()
    }

    /// What is counted so far, by the `sqlite3` shell.
    pub fn totals(&self) -> Counts {
        find_table(&self.database()).unwrap_or_default()
    }

    /// Waits until the totals are as wanted.
    #[track_caller]
    pub fn until_totals(&self, what: &str, mut wanted: impl FnMut(&Counts) -> bool) {
        until_true(what, || wanted(&self.totals()));
    }

    /// Stops the job; gives what it counted.
    pub fn stop(&mut self) -> Counts {
        self.job.take().expect("it runs").stop().unwrap();
        self.totals()
    }

    /// Waits until the job has ended by itself, and forgets it; gives why it did.
    #[track_caller]
    pub fn ended(&mut self) -> Error {
        let job = self.job.take().expect("it runs");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, job.ended()).await });
        ended.expect("it ends in time").unwrap_err()
    }

    fn database(&self) -> PathBuf {
        self.dir.path().join("counts.sqlite")
    }
}

// === impl Gate ===

impl Gate {
    /// From now on.
    pub fn set(&self, commits: Commits) {
        *self.0.0.lock().unwrap() = commits;
        self.0.1.notify_all();
    }
}

impl Output for Gate {
    fn stage(&self, _: BatchStamp, _: &Rows) -> millstream::Result<Staged> {
        let commits = self.0.1.wait_while(self.0.0.lock().unwrap(), |commits| *commits == Commits::Held).unwrap();
        match *commits {
            Commits::Refused => Err(Error::Stopped { what: "the gate".into() }),
            _ => Ok(Staged { bytes: Vec::new().into() }),
        }
    }

    fn apply(&self, _: BatchStamp, _: &Staged) -> millstream::Result<()> {
        Ok(())
    }

    fn last_applied(&self) -> millstream::Result<Option<(LogId, BatchId)>> {
        Ok(None)
    }

    fn remembers(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "gate".to_owned()
    }
}

fn description(event: &Event) -> String {
    let name = event.body().split(|&byte| byte == b'.').next().unwrap_or_default();
    let of_load = |&(key, value): &(&[u8], &[u8])| {
        let number = key.strip_prefix(b"h").map(String::from_utf8_lossy);
        number.is_some_and(|number| value == format!("value of {number}").as_bytes())
    };
    let (bytes, headers) = (event.body().len(), event.as_ref().headers().filter(of_load).count());
    described(&String::from_utf8_lossy(name), bytes, headers)
}

/// How [`WordCount::start_describing`] counts an event.
pub fn described(name: &str, body_bytes: usize, headers: usize) -> String {
    format!("{name} {body_bytes} bytes {headers} headers")
}

/// Each of these words once.
pub fn once_each<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Counts {
    words.into_iter().map(|word| (word.into(), 1)).collect()
}

/// Checks that every word of `wanted` was counted, none but these, and at most `most_repeated` of them again.
#[track_caller]
pub fn assert_at_least_once(wanted: &Counts, counts: &Counts, most_repeated: u64) {
    let missing: Vec<&String> = wanted.keys().filter(|word| !counts.contains_key(*word)).take(5).collect();
    let strange: Vec<&String> = counts.keys().filter(|word| !wanted.contains_key(*word)).take(5).collect();
    assert!(missing.is_empty() && strange.is_empty(), "missing {missing:?}, strange {strange:?}");
    let repeated: u64 = counts.values().map(|count| count - 1).sum();
    println!("{} words, {repeated} counted again", counts.len());
    assert!(repeated <= most_repeated, "{repeated} counted again, more than {most_repeated}");
}

//! A file of properties that changes under a running agent, beside the real one's: what restarts, what becomes of what is
//! broken, of channels that get smaller and other types.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::beside::said;
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;
use nix::sys::signal::Signal;

/// Both agents; each reads its file when it changes.
struct Both {
    ours: OurAgent,
    theirs: Flume,
    /// How often Flume has read its file.
    read: usize,
}

const PUT_IN: [&str; 4] = ["CHANNEL.c1", "CHANNEL.c2", "SOURCE.r1", "SOURCE.r2"];

/// `http → memory → file`, and `http → c2`, from where nobody takes what comes; `c2` has these keys.
fn agent(place: &Place, ports: [u16; 2], c2: &str) -> String {
    let at = |name: &str| {
        fs::create_dir_all(place.path(name)).unwrap();
        place.path(name).display().to_string()
    };
    let c2: String = c2.lines().map(|key| format!("a1.channels.c2.{key}\n")).collect();
    let c2 = c2.replace("DIR", &at("c2"));
    format!(
        "a1.sources = r1 r2\na1.channels = c1 c2\na1.sinks = k1\n\
         a1.sources.r1.type = http\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {}\na1.sources.r1.channels = c1\n\
         a1.sources.r2.type = http\na1.sources.r2.bind = 127.0.0.1\na1.sources.r2.port = {}\na1.sources.r2.channels = c2\n\
         a1.channels.c1.type = memory\n{c2}a1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.sink.directory = {}\na1.sinks.k1.sink.rollInterval = 0\n",
        ports[0],
        ports[1],
        at("out")
    )
}

const FOUR: &str = "type = memory\ncapacity = 4\ntransactionCapacity = 4\nkeep-alive = 0\n";

// === impl Both ===

impl Both {
    fn start() -> Self {
        let properties = |place: &mut Place| {
            let ports = [place.port("r1"), place.port("r2")];
            agent(place, ports, FOUR)
        };
        let mut theirs = Flume::reloading_agent(Version::V1_11, properties);
        let ours = OurAgent::start_with(&MONITORED, properties);
        ours.process().until("agent is ready");
        theirs.peer().until_log("Starting new configuration:");
        Self { ours, theirs, read: 1 }
    }

    fn places(&self) -> [&Place; 2] {
        [self.ours.place(), self.theirs.place()]
    }

    /// Writes another file for both, made of the one with these keys of `c2`.
    fn write(&self, c2: &str, change: impl Fn(String) -> String) {
        for place in self.places() {
            let text = change(agent(place, ["r1", "r2"].map(|name| place.chosen_port(name)), c2));
            let file = place.path("flume.properties");
            let before = fs::metadata(&file).unwrap().modified().unwrap();
            fs::write(&file, text).unwrap();
            // Two changes may come within the clock of the file system.
            let now = fs::metadata(&file).unwrap().modified().unwrap().max(before + Duration::from_millis(10));
            fs::File::options().write(true).open(&file).unwrap().set_modified(now).unwrap();
        }
        // Ours looks every half a minute.
        self.ours.process().signal(Signal::SIGHUP);
    }

    /// Waits until Flume has read its file once more, and runs what it says.
    fn until_flume_has_read(&mut self) {
        self.read += 1;
        let wanted = self.read;
        until_true("Flume has read its file", || started(&mut self.theirs) == wanted);
        let port = self.theirs.port("monitoring");
        self.theirs.peer().listens(port).unwrap();
    }

    /// Of each component its time of start, ours first.
    fn starts(&self) -> [Vec<u64>; 2] {
        let starts = |agent: &dyn Monitored| PUT_IN.map(|name| agent.counter(name, "StartTime")).to_vec();
        [starts(&self.ours), starts(&self.theirs)]
    }

    /// A counter of both.
    fn counters(&self, component: &str, attribute: &str) -> [u64; 2] {
        [self.ours.counter(component, attribute), self.theirs.counter(component, attribute)]
    }
}

/// How often Flume has started what its file says.
fn started(theirs: &mut Flume) -> usize {
    theirs.peer().log().matches("Starting new configuration:").count()
}

/// Gives an http source an event: the status of its answer.
fn post(port: u16, body: &str) -> String {
    let json = format!("[{{\"body\":\"{body}\"}}]");
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", json.len());
    said(port, format!("{head}{json}").as_bytes()).split(' ').nth(1).unwrap_or_default().to_owned()
}

fn written(place: &Place) -> String {
    let mut files: Vec<_> = fs::read_dir(place.path("out")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn a_changed_file_restarts_all_of_the_real_one_and_what_changed_here() {
    let mut both = Both::start();
    let before = both.starts();
    both.write(FOUR, |text| text + "# a comment\n");
    both.until_flume_has_read();
    both.ours.process().until("configuration read again, nothing changed");
    let restarted = |both: &Both| {
        let after = both.starts();
        [0, 1].map(|index| before[index].iter().zip(&after[index]).map(|(before, after)| after > before).collect())
    };
    // One component after the other.
    until_true("Flume has started all", || restarted(&both)[1] == vec![true; 4]);
    let restarted: [Vec<bool>; 2] = restarted(&both);
    assert_eq!(restarted, [[false; 4], [true; 4]]);
    let [ours, theirs] = restarted;
    differs("reload-restarts", ours, theirs);

    // Four events wait in the channel when it is made smaller.
    for number in 0..4 {
        for place in both.places() {
            assert_eq!(post(place.chosen_port("r2"), &number.to_string()), "200");
        }
    }
    both.write(&FOUR.replace("= 4", "= 2"), |text| text);
    both.until_flume_has_read();
    both.ours.process().until("resized=\"a1.channels.c2\"");
    both.theirs.peer().until_log("Couldn't acquire permits to downsize the queue, resizing has been aborted");
    assert_eq!(both.counters("CHANNEL.c2", "ChannelSize"), [4, 4]);
    let [ours, theirs] = both.counters("CHANNEL.c2", "ChannelCapacity");
    assert_eq!([ours, theirs], [2, 4]);
    differs("memory-shrinks", ours, theirs);

    // And becomes another.
    both.write("type = file\ncheckpointDir = DIR/checkpoint\ndataDirs = DIR/data\n", |text| text);
    both.until_flume_has_read();
    until_true("ours has another channel", || both.ours.component("CHANNEL.c2")["ChannelCapacity"] == "1000000");
    let [ours, theirs] = both.counters("CHANNEL.c2", "ChannelSize");
    assert_eq!([ours, theirs], [4, 0]);
    differs("channel-taken-out", ours, theirs);
}

#[test]
fn a_broken_file_costs_the_real_one_what_is_broken_and_changes_nothing_here() {
    let mut both = Both::start();
    let answers = |both: &Both, body: &str| {
        both.places().map(|place| match TcpStream::connect(("127.0.0.1", place.chosen_port("r1"))) {
            Ok(_) => post(place.chosen_port("r1"), body),
            Err(_) => "nobody listens".to_owned(),
        })
    };
    both.write(FOUR, |text| text.replace("k1.sink.directory", "k1.sink.dir"));
    both.until_flume_has_read();
    both.ours.process().until("configuration not taken over");
    both.ours.process().until("a1.sinks.k1.sink.directory: missing");
    let port = both.theirs.port("r1");
    both.theirs.peer().listens(port).unwrap();
    assert_eq!(answers(&both, "one"), ["200", "200"]);
    until_true("ours has written", || written(both.ours.place()) == "one\n");
    both.theirs.peer().until_log("Sink k1 has been removed due to an error during configuration");
    let log = both.theirs.peer().log();
    let now = log.lines().rfind(|line| line.contains("Starting new configuration:")).unwrap();
    until_true("ours delivers", || both.ours.counter("SINK.k1", "EventDrainSuccessCount") == 1);
    let [ours, theirs] = [true, !now.contains("sinkRunners:{}")];
    assert_eq!([ours, theirs], [true, false]);
    differs("reload-of-broken-file", ours, theirs);

    // Without its lists there is no agent.
    both.write(FOUR, |text| text.replace("a1.", "b1."));
    both.until_flume_has_read();
    both.theirs.peer().until_log("Starting new configuration:{ sourceRunners:{} sinkRunners:{} channels:{} }");
    both.ours.process().until("no agent named \"a1\"");
    let [ours, theirs] = answers(&both, "two");
    assert_eq!([&*ours, &*theirs], ["200", "nobody listens"]);
    differs("reload-of-broken-file", ours, theirs);
    until_true("ours has written", || written(both.ours.place()) == "one\ntwo\n");
    assert_eq!(written(both.theirs.place()), "");
}

#[test]
fn a_file_that_was_put_back_is_read_here_and_by_the_real_one_only_if_it_is_later() {
    let mut both = Both::start();
    let looks = |both: &mut Both| both.theirs.peer().log().matches("Checking file").count();
    for place in both.places() {
        let file = place.path("flume.properties");
        let text = fs::read_to_string(&file).unwrap().replace("c2.capacity = 4", "c2.capacity = 8");
        fs::write(place.path("older"), text).unwrap();
        let older = fs::File::options().write(true).open(place.path("older")).unwrap();
        older.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
        #[allow(clippy::disallowed_methods, reason = "as whoever puts back a file does it")]
        fs::rename(place.path("older"), &file).unwrap();
    }
    both.ours.process().until("configuration taken over");
    let looked = looks(&mut both);
    until_true("Flume has looked twice", || looks(&mut both) >= looked + 2);
    let [ours, theirs] = both.counters("CHANNEL.c2", "ChannelCapacity");
    assert_eq!([ours, theirs], [8, 4]);
    differs("reload-when-changed", ours, theirs);

    // Whom SIGHUP tells to look, and whom to go.
    both.theirs.ends_by(Signal::SIGHUP, 129);
    both.ours.process().signal(Signal::SIGHUP);
    both.ours.process().until("configuration read again, nothing changed");
    both.ours.stop();
}

//! The real Flume and ours side by side, of one text of properties, while nobody takes what comes: their sinks find no
//! collector before the test starts one.

use std::fs;

use millstream_testkit::peer::{Flume, Place, Version};

use crate::beside::{Both, choose_udp, exact_agent, told};
use crate::monitoring::{MONITORED, Monitored};
use crate::peers::OurAgent;
use crate::written::avro_events;
use crate::{comes_true, until_true};

/// Both agents, and what collects from them.
#[derive(Debug)]
pub struct Held {
    /// The agents; both show their counters.
    pub both: Both,
    collector: Option<OurAgent>,
}

/// An agent in which each of these sources has a channel of its own, with these properties, whose sink finds nobody yet.
/// `NAME` in the channel's properties stands for a path that is the source's alone.
pub fn held_agent(place: &Place, channel: &str, sources: &[(&str, String)]) -> String {
    let all = |letter| sources.iter().map(|(name, _)| format!("{letter}{name}")).collect::<Vec<_>>().join(" ");
    let mut text = format!("a1.sources = {}\na1.channels = {}\na1.sinks = {}\n", all('r'), all('c'), all('k'));
    for (name, properties) in sources {
        let of = |part: &str, lines: &str| -> String {
            lines.lines().map(|line| format!("a1.{part}{name}.{}\n", line.trim())).collect()
        };
        let port = choose_udp(place, &sink(name));
        text.push_str(&of("sources.r", &format!("{properties}channels = c{name}")));
        text.push_str(&of("channels.c", &channel.replace("NAME", &place.path(name).display().to_string())));
        let sink = format!("type = avro\nchannel = c{name}\nhostname = 127.0.0.1\nport = {port}\nbatch-size = 2");
        text.push_str(&of("sinks.k", &sink));
    }
    text
}

fn sink(name: &str) -> String {
    format!("sink-{name}")
}

// === impl Held ===

impl Held {
    /// Starts both.
    #[track_caller]
    pub fn start(properties: impl Fn(&mut Place) -> String) -> Self {
        let theirs = Flume::monitored_agent(Version::V1_11, &properties);
        let both = Both { theirs, ours: OurAgent::start_with(&MONITORED, &properties) };
        both.ours.process().until("agent is ready");
        Self { both, collector: None }
    }

    /// Waits until Flume has offered so many events of a source to its channel.
    #[track_caller]
    pub fn until_offered(&mut self, name: &str, count: u64) {
        let (channel, counter) = (format!("CHANNEL.c{name}"), "EventPutAttemptCount");
        let offered = comes_true(|| self.both.theirs.counter(&channel, counter) >= count);
        let counted = self.both.theirs.component(&channel);
        assert!(offered, "{name}: {count} offered wanted: {counted:#}\n{}", self.both.theirs.log_tail());
    }

    /// Waits until so many events of a source are in the channels of both.
    #[track_caller]
    pub fn until_held(&self, name: &str, count: u64) {
        let channel = format!("CHANNEL.c{name}");
        until_true(&format!("both hold {count} events of {name}"), || {
            let agents: [&dyn Monitored; 2] = [&self.both.ours, &self.both.theirs];
            agents.iter().all(|agent| agent.counter(&channel, "ChannelSize") == count)
        });
    }

    /// Kills both with -9.
    pub fn kill(&mut self) {
        self.both.ours.kill();
        self.both.theirs.kill();
    }

    /// Starts both over what they left.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.both.theirs.start();
        self.both.ours.start_again();
    }

    /// Lets both deliver what they hold of these sources, and what comes.
    #[track_caller]
    pub fn release(&mut self, names: &[&str]) {
        let places = [("ours", self.both.ours.place()), ("theirs", self.both.theirs.place())];
        let of_both = places.iter().flat_map(|(whose, place)| {
            names.iter().map(move |name| {
                let port = fs::read_to_string(place.path(&format!("{}.port", sink(name)))).unwrap();
                (format!("{name}{whose}"), format!("type = avro\nbind = 127.0.0.1\nport = {port}\n"))
            })
        });
        let sources: Vec<(String, String)> = of_both.collect();
        self.collector = Some(OurAgent::start(|place| {
            let sources: Vec<_> =
                sources.iter().map(|(name, properties)| (name.as_str(), properties.clone())).collect();
            exact_agent(place, &sources)
        }));
    }

    /// Waits until ours has delivered as many events of a source as wanted, and theirs; both must be these, in order,
    /// written as [`told`] does.
    #[track_caller]
    pub fn brings(&self, name: &str, ours: &[&str], theirs: &[&str]) -> [Vec<String>; 2] {
        let place = self.collector.as_ref().expect("it is released").place();
        let brought = [("ours", ours.len()), ("theirs", theirs.len())].map(|(whose, count)| {
            let dir = place.path(&format!("{name}{whose}"));
            comes_true(|| avro_events(&dir).len() >= count);
            avro_events(&dir).iter().map(told).collect::<Vec<String>>()
        });
        let log = self.both.theirs.log_tail();
        assert_eq!(brought, [ours, theirs], "{name}: left is brought, ours first; right is wanted\n{log}");
        brought
    }
}

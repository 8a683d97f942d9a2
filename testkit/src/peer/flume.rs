//! An agent of Apache Flume.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::classpath::ClassPath;
use super::driver::{Jvm, java};
use super::place::Place;
use super::process::Peer;

/// Which Flume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.11.0.
    V1_11,
    /// 1.11.0 with its HDFS sink.
    V1_11WithHdfsSink,
    /// 1.9.0.
    V1_9,
    /// 1.9.0 with the Spark sink 1.6.1, as in the tutorial's time.
    V1_9WithOldSparkSink,
}

/// A running agent, named `a1`. Its directory stays as long as this value, whether it runs or not.
#[derive(Debug)]
pub struct Flume {
    version: Version,
    launch: Launch,
    place: Place,
    peer: Option<Peer>,
}

/// How it is started.
#[derive(Debug, Clone, Copy)]
struct Launch {
    jvm: Jvm,
    /// Its metrics are on the port `monitoring`.
    monitored: bool,
    /// It looks every second whether its properties have changed.
    reloads: bool,
    /// More options of its JVM.
    options: &'static str,
}

const IN_USE: &str = "Address already in use";
const ATTEMPTS: usize = 3;

// === impl Version ===

impl Version {
    fn class_path(self) -> ClassPath {
        match self {
            Self::V1_11 => ClassPath::Flume111WithSparkSink,
            Self::V1_11WithHdfsSink => ClassPath::Flume111WithHdfsSink,
            Self::V1_9 => ClassPath::Flume19WithSparkSink,
            Self::V1_9WithOldSparkSink => ClassPath::Flume19WithOldSparkSink,
        }
    }

    /// Flume's client of this version.
    pub fn client(self) -> ClassPath {
        match self {
            Self::V1_11 | Self::V1_11WithHdfsSink => ClassPath::Flume111,
            Self::V1_9 | Self::V1_9WithOldSparkSink => ClassPath::Flume19,
        }
    }
}

// === impl Launch ===

impl Launch {
    const PLAIN: Self = Self { jvm: Jvm::QuickStart, monitored: false, reloads: false, options: "" };
}

// === impl Flume ===

impl Flume {
    /// Starts an agent with these properties of `a1`, which name directories and ports of its [`Place`], and waits until it
    /// listens on all of these ports. With other ports once more if somebody else took one.
    #[track_caller]
    pub fn agent(version: Version, properties: impl Fn(&mut Place) -> String) -> Self {
        Self::with(version, Launch::PLAIN, properties)
    }

    /// The same with its metrics on the port `monitoring`.
    #[track_caller]
    pub fn monitored_agent(version: Version, properties: impl Fn(&mut Place) -> String) -> Self {
        Self::with(version, Launch { monitored: true, ..Launch::PLAIN }, properties)
    }

    /// The same as fast as it can be, with its metrics on the port `monitoring`.
    #[track_caller]
    pub fn measured_agent(version: Version, properties: impl Fn(&mut Place) -> String) -> Self {
        Self::with(version, Launch { jvm: Jvm::Steady, monitored: true, ..Launch::PLAIN }, properties)
    }

    /// As [`Self::monitored_agent`]; it looks every second whether its properties have changed, and logs that it looks.
    #[track_caller]
    pub fn reloading_agent(version: Version, properties: impl Fn(&mut Place) -> String) -> Self {
        Self::with(version, Launch { monitored: true, reloads: true, ..Launch::PLAIN }, properties)
    }

    /// As [`Self::agent`], in a JVM with these options.
    #[track_caller]
    pub fn agent_with_options(
        version: Version,
        options: &'static str,
        properties: impl Fn(&mut Place) -> String,
    ) -> Self {
        Self::with(version, Launch { options, ..Launch::PLAIN }, properties)
    }

    #[track_caller]
    fn with(version: Version, launch: Launch, properties: impl Fn(&mut Place) -> String) -> Self {
        let mut flume = Self { version, launch, place: Place::default(), peer: None };
        let mut attempts = 1..ATTEMPTS;
        loop {
            let text = properties(&mut flume.place);
            fs::write(flume.place.path("flume.properties"), text).unwrap();
            if launch.monitored {
                flume.place.port("monitoring");
            }
            match flume.launch() {
                Ok(()) => return flume,
                Err(log) if log.contains(IN_USE) && attempts.next().is_some() => flume.place.forget_ports(),
                Err(log) => panic!("{log}"),
            }
        }
    }

    /// Starts it again, over what it left.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.peer.is_none(), "it runs");
        self.launch().unwrap_or_else(|log| panic!("{log}"));
    }

    /// Its log if it does not come up.
    fn launch(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let Launch { jvm, monitored, reloads, options } = self.launch;
        let mut command =
            java(jvm, self.place.dir(), &self.version.class_path().jars(), "org.apache.flume.node.Application");
        let mut options = options.to_owned();
        if monitored {
            let port = self.place.chosen_port("monitoring");
            options.push_str(&format!(" -Dflume.monitoring.type=http -Dflume.monitoring.port={port}"));
        }
        if reloads {
            options.push_str(" -Dorg.slf4j.simpleLogger.log.org.apache.flume.node.FileConfigurationSource=debug");
        }
        if !options.is_empty() {
            // Where Java looks for what belongs before the class.
            command.env("JDK_JAVA_OPTIONS", options);
        }
        command.args(["--name", "a1", "--conf-file"]).arg(self.place.path("flume.properties"));
        match reloads {
            true => command.args(["--poll-interval", "1"]),
            false => command.arg("--no-reload-conf"),
        };
        let mut peer = Peer::start("flume", self.place.dir(), &command);
        for port in self.place.all_ports() {
            peer.listens(port).map_err(|why| format!("nobody listens on {port}: {why}\n{}", peer.log_tail()))?;
        }
        // Somebody else may listen there.
        if peer.log().contains(IN_USE) {
            return Err(peer.log_tail());
        }
        println!("flume {:?} ready after {:?}", self.version, begun.elapsed());
        self.peer = Some(peer);
        Ok(())
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
    pub fn peer(&mut self) -> &mut Peer {
        self.peer.as_mut().expect("it runs")
    }

    /// The end of what it has logged.
    pub fn log_tail(&self) -> String {
        self.peer.as_ref().map(Peer::log_tail).unwrap_or_default()
    }

    /// Sends it this signal, by which it must end, with this exit code.
    #[track_caller]
    pub fn ends_by(&mut self, signal: Signal, code: i32) {
        let peer = self.peer.take().expect("it runs");
        peer.signal(signal);
        peer.ends_with(code);
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        self.peer.take().expect("it runs").kill();
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        self.peer.take().expect("it runs").stop();
    }
}

//! Properties of agents, for the real Flume and for ours alike.

use millstream_testkit::peer::{ClassPath, Keys, Place};

/// Most events of one call of an avro sink.
pub const BATCH: u64 = 1000;
/// Of an avro source and of who sends to it.
pub const DEFLATE: &str = "compression-type = deflate\n";

/// Components of an agent `a1`, put together.
#[derive(Debug, Default)]
pub struct Config {
    sources: Vec<String>,
    channels: Vec<String>,
    sinks: Vec<String>,
    lines: String,
}

// === impl Config ===

impl Config {
    /// An avro source into the channel `c1`, with `more` of its keys.
    pub fn avro(self, name: &str, port: u16, more: &str) -> Self {
        self.source(name, &format!("type = avro\nbind = 127.0.0.1\nport = {port}\nchannels = c1\n{more}"))
    }

    /// A source that spools `spool` of the place, which is made, into these channels.
    pub fn spool(self, place: &Place, channels: &str) -> Self {
        let dir = place.path("spool");
        std::fs::create_dir_all(&dir).unwrap();
        let keys = format!("type = spooldir\nspoolDir = {}\npollDelay = 20\nchannels = {channels}", dir.display());
        self.source("r1", &keys)
    }

    /// A source with these keys.
    pub fn source(mut self, name: &str, keys: &str) -> Self {
        self.sources.push(name.to_owned());
        self.lines += &lines("sources", name, keys);
        self
    }

    /// A memory channel, with `more` of its keys.
    pub fn memory_channel(self, name: &str, more: &str) -> Self {
        self.channel(name, &format!("type = memory\n{more}"))
    }

    /// A file channel in a directory of its own.
    pub fn file_channel(self, name: &str, place: &Place) -> Self {
        let dir = place.path(name).display().to_string();
        self.channel(
            name,
            &format!("type = file\ncheckpointDir = {dir}/checkpoint\ndataDirs = {dir}/data\nkeep-alive = 1"),
        )
    }

    /// A channel with these keys.
    pub fn channel(mut self, name: &str, keys: &str) -> Self {
        self.channels.push(name.to_owned());
        self.lines += &lines("channels", name, keys);
        self
    }

    /// A Spark sink at `channel`; what a peer holds for 2 s goes to another.
    pub fn spark_sink(self, name: &str, channel: &str, port: u16) -> Self {
        self.spark_sink_with(name, channel, port, 2)
    }

    /// The same with a time of so many seconds.
    pub fn spark_sink_with(self, name: &str, channel: &str, port: u16, timeout_s: u32) -> Self {
        let spark = "type = org.apache.spark.streaming.flume.sink.SparkSink\nhostname = 127.0.0.1";
        self.sink(name, &format!("{spark}\nport = {port}\nchannel = {channel}\ntimeout = {timeout_s}"))
    }

    /// An avro sink at `channel`, with `more` of its keys.
    pub fn avro_sink(self, name: &str, channel: &str, port: u16, more: &str) -> Self {
        let keys = format!("type = avro\nhostname = 127.0.0.1\nport = {port}\nchannel = {channel}");
        self.sink(name, &format!("{keys}\nbatch-size = {BATCH}\n{more}"))
    }

    /// A sink with these keys.
    pub fn sink(mut self, name: &str, keys: &str) -> Self {
        self.sinks.push(name.to_owned());
        self.lines += &lines("sinks", name, keys);
        self
    }

    /// The sinks so far in a group whose processor has these keys.
    pub fn group(mut self, processor: &str) -> Self {
        self.lines += &format!("a1.sinkgroups = g1\na1.sinkgroups.g1.sinks = {}\n", self.sinks.join(" "));
        self.lines += &lines("sinkgroups", "g1", processor);
        self
    }

    /// The properties.
    pub fn text(self) -> String {
        let Self { sources, channels, sinks, lines } = self;
        let list = |group: &str, names: &[String]| format!("a1.{group} = {}\n", names.join(" "));
        [list("sources", &sources), list("channels", &channels), list("sinks", &sinks), lines].concat()
    }
}

/// From an avro source through a file channel to the avro source of the next agent.
pub fn hop(place: &mut Place, next: u16) -> String {
    let avro = place.port("avro");
    Config::default().avro("r1", avro, "").file_channel("c1", place).avro_sink("k1", "c1", next, "").text()
}

/// From an avro source through a file channel to whom asks its Spark sink.
pub fn last_hop(place: &mut Place) -> String {
    let (avro, spark) = (place.port("avro"), place.port("spark"));
    Config::default().avro("r1", avro, "").file_channel("c1", place).spark_sink("k1", "c1", spark).text()
}

/// Keys of a source's TLS, and of a client's of this version.
pub fn tls(keys: &Keys, class_path: ClassPath) -> (String, String) {
    let password = Keys::PASSWORD;
    // Netty 3 cannot read what TLS 1.3 sends after the handshake; it is on since Java 11.
    let protocols = if class_path == ClassPath::Flume19 { "exclude-protocols = SSLv3 TLSv1.3\n" } else { "" };
    (
        format!("ssl = true\nkeystore = {}\nkeystore-password = {password}\n{protocols}", keys.keystore.display()),
        format!(
            "ssl = true\ntruststore = {}\ntruststore-password = {password}\ntruststore-type = PKCS12\n{protocols}",
            keys.truststore.display()
        ),
    )
}

fn lines(group: &str, name: &str, keys: &str) -> String {
    keys.lines().map(|key| format!("a1.{group}.{name}.{key}\n")).collect()
}

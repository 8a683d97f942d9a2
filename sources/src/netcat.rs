//! Turns each line received on a TCP port into one event.
//!
//! A line ends with `\n`; a `\r` before it stays in the body. What comes behind the last newline of a connection is no
//! line and is left out, as in Flume. Each event is answered `OK`, unless `ack-every-event` is false; a line that is too
//! long ends the connection.
//!
//! # Delivery
//! `OK` is answered once every required channel has the event, `FAILED:` and the reason when one refused it: the peer has
//! to send it again. Lines that came together are stored together, and one by one when that is refused.
//!
//! # Source
//! `org.apache.flume.source.NetcatSource` (Flume 1.11).

use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;
use millstream_core::{
    Batch, Error, Fut, Kind, MetricName, OptionSpec, Options, Result, SlabBuilder, Source, SourceContext, SourceSpec,
    optional, required,
};
use millstream_io::{Memory, listen};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::charset::{Decoder, Policy};
use crate::line::units;
use crate::socket::{self, Inbox, MEMORY_BYTES, stored};
use crate::window::together;

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "netcat",
    aliases: &["org.apache.flume.source.NetcatSource"],
    summary: "Turns each line received on a TCP port into one event.",
    options: OPTIONS,
    build: |options| Ok(Box::new(Netcat::from_options(options)?)),
};

const OPTIONS: &[OptionSpec] = &[
    required("bind", Kind::Host, "Address to listen on."),
    required("port", Kind::Int(0, 65535), "Port to listen on; 0 for any free one, which the log names."),
    optional("ack-every-event", Kind::Bool, "true", "Answers OK for every event."),
    optional(
        "max-line-length",
        Kind::Int(1, 16 << 20),
        "512",
        "Longest line in characters, its newline included; a longer one ends the connection.",
    ),
    optional(
        "encoding",
        Kind::Text,
        "utf-8",
        "UTF-8, US-ASCII, ISO-8859-1 or another charset that contains ASCII; bodies are UTF-8.",
    ),
];

/// Most events stored together.
const MOST_EVENTS: usize = 1000;

/// Listens.
#[derive(Debug)]
struct Netcat {
    bind: String,
    port: u16,
    talk: Talk,
}

/// How it talks with each peer.
#[derive(Debug, Clone, Copy)]
struct Talk {
    acks: bool,
    most_units: usize,
    decoder: Decoder,
}

/// What a peer said so far came to.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// Whole lines: their bodies, and the bytes up to the last newline.
    Lines(Vec<Range<usize>>, usize),
    /// A line that is too long comes first.
    TooLong,
    /// Less than a line.
    Unfinished,
}

// === impl Netcat ===

impl Netcat {
    fn from_options(options: &Options) -> Result<Self> {
        let decoder = Decoder::new(options.text("encoding")?, Policy::Keep);
        let talk = Talk {
            acks: options.bool("ack-every-event")?,
            most_units: options.int("max-line-length")?,
            decoder: decoder.map_err(|problem| options.refuse("encoding", problem))?,
        };
        Ok(Self { bind: options.text("bind")?.to_owned(), port: options.int("port")?, talk })
    }

    async fn listen(self, cx: SourceContext) -> Result<()> {
        let listener = listen::listen(&self.bind, self.port).await?;
        let address = listener.local_addr().map_err(|error| Error::net("listen", &self.bind, error))?;
        tracing::info!(%address, "netcat source listens");
        cx.status.ready();
        let memory = Memory::new(MEMORY_BYTES);
        let talk = self.talk;
        socket::serve(listener, &cx, |stream, peer| talk.with(stream, peer, cx.clone(), memory.clone())).await;
        Ok(())
    }
}

impl Source for Netcat {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.listen(cx))
    }
}

// === impl Talk ===

impl Talk {
    async fn with(self, mut stream: TcpStream, peer: SocketAddr, cx: SourceContext, memory: Memory) -> Result<()> {
        let failed = |action| move |error| Error::net(action, peer, error);
        let mut stop = cx.stop.clone();
        let mut inbox = Inbox::new(&memory, None);
        let most_events = together(&cx, MOST_EVENTS);
        // No newline is before here.
        let mut searched = 0;
        loop {
            match self.heard(&inbox.bytes, searched, most_events) {
                Said::Lines(lines, end) => {
                    searched = 0;
                    let bytes = inbox.take(end).freeze();
                    let answers = self.store(&cx, self.batch(&bytes, &lines)).await;
                    stream.write_all(answers.as_bytes()).await.map_err(failed("answer"))?;
                }
                Said::TooLong => {
                    let limit = self.most_units;
                    let text = format!("Event exceeds the maximum length ({limit} chars, including newline)");
                    stream.write_all(format!("FAILED: {text}\n").as_bytes()).await.map_err(failed("answer"))?;
                    cx.status.count(MetricName::EventReadFail, 1);
                    let problem = format!("expected a line of at most {limit} characters; raise max-line-length");
                    return Err(Error::corrupt(peer, problem));
                }
                Said::Unfinished => {
                    searched = inbox.bytes.len();
                    let read = tokio::select! {
                        biased;
                        () = stop.stopped() => return Ok(()),
                        read = inbox.fill(&mut stream) => read.map_err(failed("read"))?,
                    };
                    if read == 0 {
                        self.ended(&cx, peer, &inbox);
                        return Ok(());
                    }
                }
            }
        }
    }

    fn ended(&self, cx: &SourceContext, peer: SocketAddr, inbox: &Inbox) {
        if !inbox.bytes.is_empty() {
            tracing::warn!(%peer, bytes = inbox.bytes.len(), "left out what no newline ends");
            cx.status.count(MetricName::EventReadFail, 1);
        }
    }

    fn heard(&self, bytes: &[u8], searched: usize, most_events: usize) -> Said {
        if bytes.len() < self.most_units && memchr::memchr(b'\n', &bytes[searched..]).is_none() {
            return Said::Unfinished;
        }
        let mut lines = Vec::new();
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', bytes).take(most_events) {
            if self.length(&bytes[start..newline]) >= self.most_units {
                break;
            }
            lines.push(start..newline);
            start = newline + 1;
        }
        if !lines.is_empty() {
            return Said::Lines(lines, start);
        }
        let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
        if self.length(&bytes[..end]) >= self.most_units { Said::TooLong } else { Said::Unfinished }
    }

    /// Characters of a line, as Java counts them.
    fn length(&self, line: &[u8]) -> usize {
        // One has at least a byte, most have just one: the exact count matters near the limit only.
        if line.len() < self.most_units { line.len() } else { self.exact_length(line) }
    }

    fn exact_length(&self, line: &[u8]) -> usize {
        let mut decoded = Vec::new();
        match self.decoder.passes(line) || self.decoder.decode(line, &mut decoded).is_err() {
            true => units(line),
            false => units(&decoded),
        }
    }

    fn batch(&self, bytes: &Bytes, lines: &[Range<usize>]) -> Batch {
        if self.decoder.passes(bytes) {
            let mut builder = SlabBuilder::with_capacity(bytes.clone(), lines.len());
            lines.iter().cloned().for_each(|line| builder.row(line));
            return builder.finish();
        }
        let bodies = lines.iter().map(|line| {
            let mut body = Vec::new();
            // Nothing is undecodable, as it is replaced.
            let _ = self.decoder.decode(&bytes[line.clone()], &mut body);
            body
        });
        Batch::from_bodies(bodies)
    }

    /// Stores the events, together where that can be; gives the answers.
    async fn store(&self, cx: &SourceContext, batch: Batch) -> String {
        let mut answers = String::new();
        let outcome = stored(cx, &batch).await;
        if outcome.is_ok() || batch.len() == 1 {
            self.answer(&mut answers, batch.len(), &outcome);
            return answers;
        }
        for index in 0..batch.len() {
            let one = batch.slice(index..index + 1).compact();
            self.answer(&mut answers, 1, &stored(cx, &one).await);
        }
        answers
    }

    fn answer(&self, answers: &mut String, events: usize, outcome: &Result<()>) {
        match outcome {
            Ok(()) if self.acks => answers.push_str(&"OK\n".repeat(events)),
            Ok(()) => {}
            Err(error) => answers.push_str(&format!("FAILED: {error}\n")),
        }
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::Duration;

    use super::*;
    use crate::testing::{Served, declared, refusal, serve};
    use millstream_testkit::{TestChannel, spec_contract};

    spec_contract!(declared(&SPEC, [("bind", "127.0.0.1"), ("port", "0")]));

    async fn netcat(settings: &[(&str, &str)], channel: &TestChannel) -> Served {
        serve(&SPEC, "bind", settings, channel).await
    }

    #[tokio::test]
    async fn each_line_is_an_event_and_is_answered_ok() {
        let channel = TestChannel::new();
        let served = netcat(&[], &channel).await;
        let mut peer = served.peer().await;
        peer.send("one\r\n\ngrüße 😀\nunfin").await;
        for _ in 0..3 {
            assert_eq!(peer.line().await, "OK\n");
        }
        peer.send("ished\nleft out").await;
        assert_eq!(peer.line().await, "OK\n");
        assert_eq!(served.running.counted(MetricName::OpenConnectionCount), 1);
        peer.finish().await;
        assert_eq!(peer.rest().await, "");
        served.running.until_counted(MetricName::EventReadFail, 1).await;
        assert_eq!(channel.texts(), ["one\r", "", "grüße 😀", "unfinished"]);
        assert_eq!(served.running.counted(MetricName::EventReceivedCount), 4);
        assert_eq!(served.running.counted(MetricName::EventAcceptedCount), 4);
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn without_acks_only_failures_are_answered() {
        let channel = TestChannel::new();
        let served = netcat(&[("ack-every-event", "false")], &channel).await;
        let mut peer = served.peer().await;
        peer.send("one\n").await;
        channel.until(|stored| stored.bodies.len() == 1).await;
        channel.refuse_reservations(1);
        peer.send("two\n").await;
        assert!(peer.line().await.starts_with("FAILED: channel c1 is full"));
        peer.send("three\n").await;
        peer.finish().await;
        assert_eq!(peer.rest().await, "");
        assert_eq!(channel.texts(), ["one", "three"]);
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn of_lines_that_came_together_each_gets_its_own_answer() {
        let channel = TestChannel::new();
        let served = netcat(&[], &channel).await;
        let mut peer = served.peer().await;
        // The four together, then the first of them alone.
        channel.refuse_reservations(2);
        peer.send("one\ntwo\nthree\nfour\n").await;
        assert!(peer.line().await.starts_with("FAILED: "));
        for _ in 0..3 {
            assert_eq!(peer.line().await, "OK\n");
        }
        assert_eq!(channel.texts(), ["two", "three", "four"]);
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_answered_before_it_is_stored_and_a_stop_waits_for_the_answer() {
        let channel = TestChannel::new();
        let served = netcat(&[], &channel).await;
        let mut peer = served.peer().await;
        channel.hold();
        peer.send("one\n").await;
        channel.until(|stored| stored.bodies.len() == 1).await;
        let waited = tokio::time::timeout(Duration::from_millis(50), peer.line()).await;
        assert!(waited.is_err(), "{waited:?}");
        served.running.ask_to_stop();
        channel.tell();
        assert_eq!(peer.rest().await, "OK\n");
        served.running.outcome().await.unwrap();
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_told_and_ends_the_connection_but_no_other() {
        let channel = TestChannel::new();
        let served = netcat(&[("max-line-length", "5")], &channel).await;
        let mut other = served.peer().await;
        for (text, stored) in [("1234\n12345\nno\n", "1234"), ("12345", ""), ("äöü€\n😀😀\n😀😀x\n", "äöü€")]
        {
            let mut peer = served.peer().await;
            peer.send(text).await;
            let answers = peer.rest().await;
            let last = "FAILED: Event exceeds the maximum length (5 chars, including newline)\n";
            assert_eq!(answers.trim_start_matches("OK\n"), last, "{text}");
            assert!(stored.is_empty() || channel.texts().contains(&stored.to_owned()), "{text}");
        }
        assert!(channel.texts().contains(&"😀😀".to_owned()), "four units and a newline");
        assert_eq!(served.running.counted(MetricName::EventReadFail), 3);
        other.send("1234\n").await;
        assert_eq!(other.line().await, "OK\n");
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_without_end_is_cut_off_early() {
        let channel = TestChannel::new();
        let served = netcat(&[("max-line-length", "100000")], &channel).await;
        let mut stream = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
        let mut sent = 0;
        while stream.write_all(&[b'x'; 8192]).await.is_ok() {
            sent += 8192;
            assert!(sent < 64 << 20, "nobody stops it");
        }
        served.running.until_counted(MetricName::GenericProcessingFail, 1).await;
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn hundreds_of_peers_that_do_not_finish_a_line_hold_up_no_other() {
        let channel = TestChannel::new();
        let served = netcat(&[], &channel).await;
        let mut slow = Vec::new();
        for _ in 0..400 {
            let mut peer = served.peer().await;
            peer.send("half a li").await;
            slow.push(peer);
        }
        served.running.until_counted(MetricName::OpenConnectionCount, 400).await;
        let mut peer = served.peer().await;
        peer.send("good\n").await;
        assert_eq!(peer.line().await, "OK\n");
        let first = slow.first_mut().unwrap();
        first.send("ne\n").await;
        assert_eq!(first.line().await, "OK\n");
        assert_eq!(channel.texts(), ["good", "half a line"]);
        drop(slow);
        while served.running.counted(MetricName::OpenConnectionCount) > 1 {
            tokio::task::yield_now().await;
        }
        served.running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn other_encodings_become_utf_8_and_what_is_no_utf_8_stays_as_it_is() {
        for (encoding, bytes, body) in
            [("ISO-8859-1", &b"gr\xFC\xDFe\n"[..], "grüße".as_bytes()), ("utf-8", b"a\xFFb\n", b"a\xFFb")]
        {
            let channel = TestChannel::new();
            let served = netcat(&[("encoding", encoding)], &channel).await;
            let mut peer = served.peer().await;
            peer.send(bytes).await;
            assert_eq!(peer.line().await, "OK\n");
            assert_eq!(channel.stored().bodies, [body]);
            served.running.stop().await.unwrap();
        }
        let text = refusal(&SPEC, &[("bind", "h"), ("port", "1"), ("encoding", "UTF-16")]);
        assert!(text.starts_with("flume.conf:7: a1.sources.r1.encoding: expected UTF-8"), "{text}");
    }

    #[tokio::test]
    async fn idle_peers_do_not_hold_up_a_stop_and_a_port_that_is_taken_is_named() {
        let channel = TestChannel::new();
        let served = netcat(&[], &channel).await;
        let mut peer = served.peer().await;
        peer.send("half a li").await;
        let port = served.port.to_string();
        let second = crate::testing::source(&SPEC, &[("bind", "127.0.0.1"), ("port", &port)]);
        let error = millstream_testkit::start_source(second, &channel).outcome().await.unwrap_err().to_string();
        assert!(error.contains(&format!("bind 127.0.0.1:{port}: Address already in use by process")), "{error}");
        served.running.stop().await.unwrap();
        assert_eq!(peer.rest().await, "");
    }
}

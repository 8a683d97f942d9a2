//! Writes every event to the log, for a look at what comes through.
//!
//! # Layout
//! `Event: { headers:{k=v} body: 68 65 6C 6C 6F 0D <blanks> hello. }`: sixteen bytes in hexadecimal, then as text with a
//! dot for whatever is not printable ASCII. Longer previews go on in further lines, each with its offset.
//!
//! # Delivery
//! An event is delivered once its line was given to the log; lines that the log's level hides count as well.
//!
//! # Source
//! `org.apache.flume.sink.LoggerSink`, `org.apache.flume.event.EventHelper` (Flume 1.11), `HexDump` of Commons IO. There,
//! `maxBytesToLog` in a properties file has no effect; here it has.

use std::fmt::Write;
use std::sync::Arc;

use millstream_core::{Batch, BuiltSink, EventRef, Fut, Kind, Options, Result, Sink, SinkSpec, optional};

/// The declaration.
pub static SPEC: SinkSpec = SinkSpec {
    name: "logger",
    aliases: &["org.apache.flume.sink.LoggerSink"],
    summary: "Writes every event to the log, at level info.",
    options: &[optional("maxBytesToLog", Kind::Int(0, u32::MAX as i64), "16", "Most bytes of a body to show.")],
    build: |options| {
        Ok(BuiltSink::Push { sink: Box::new(LoggerSink::from_options(options)?), batch_size: BATCH_EVENTS })
    },
};

/// Logs.
#[derive(Debug)]
struct LoggerSink {
    max_bytes: usize,
}

// === impl LoggerSink ===

impl LoggerSink {
    fn from_options(options: &Options) -> Result<Self> {
        Ok(Self { max_bytes: options.int("maxBytesToLog")? })
    }
}

impl Sink for LoggerSink {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        for event in batches.iter().flat_map(Batch::iter) {
            // The line is this sink's product, in Flume's form, hence no constant message.
            tracing::info!("{}", line(event, self.max_bytes));
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

// === helpers ===

fn line(event: EventRef<'_>, max_bytes: usize) -> String {
    let mut out = String::from("Event: { headers:{");
    for (index, (key, value)) in event.headers().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(out, "{comma}{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value));
    }
    out.push_str("} body:");
    let body = event.body();
    dump(&mut out, &body[..body.len().min(max_bytes)]);
    out.push_str(" }");
    out
}

/// The hex dump without its first offset and without its last line end.
fn dump(out: &mut String, bytes: &[u8]) {
    for (row, chunk) in bytes.chunks(ROW_BYTES).enumerate() {
        if row > 0 {
            let _ = write!(out, "\n{:08X}", row * ROW_BYTES);
        }
        out.push(' ');
        for column in 0..ROW_BYTES {
            match chunk.get(column) {
                Some(byte) => drop(write!(out, "{byte:02X} ")),
                None => out.push_str("   "),
            }
        }
        out.extend(chunk.iter().map(|&byte| if (b' '..0x7F).contains(&byte) { char::from(byte) } else { '.' }));
    }
}

/// Most events per transaction; Flume's one per transaction only costs time.
const BATCH_EVENTS: usize = 100;
const ROW_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use millstream_core::CommonHeader;
    use millstream_testkit::contract::sink::Home;
    use millstream_testkit::sink_contract;
    use parking_lot::Mutex;
    use tracing::subscriber::DefaultGuard;

    use super::*;

    /// The log of one thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    struct Logged {
        log: Log,
        _here: DefaultGuard,
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Logged {
        fn new() -> Self {
            let log = Log::default();
            let written = log.clone();
            let here = tracing_subscriber::fmt().with_writer(move || written.clone()).finish();
            Self { log, _here: tracing::subscriber::set_default(here) }
        }
    }

    impl Home for Logged {
        fn spec(&self) -> &'static SinkSpec {
            &SPEC
        }

        fn settings(&self) -> Vec<(&'static str, String)> {
            Vec::new()
        }

        fn delivered(&self) -> Option<Vec<String>> {
            let log = self.log.0.lock().clone();
            let log = String::from_utf8(log).expect("text");
            let bodies = log.lines().filter_map(|line| line.split_once(" body:")?.1.strip_suffix(" }"));
            // The text follows the columns of the hexadecimal digits.
            Some(bodies.map(|dump| dump.get(1 + 3 * ROW_BYTES..).unwrap_or_default().to_owned()).collect())
        }
    }

    sink_contract!(Logged::new());

    fn logged(body: &[u8], max_bytes: usize) -> String {
        line(Batch::from_bodies([body]).event(0), max_bytes)
    }

    #[test]
    fn a_line_is_the_one_that_flume_writes() {
        let header = CommonHeader { key: "k".into(), value: "v".into(), keep_existing: false };
        let batch = Batch::from_bodies([b"hello\r"]).with_common_header(header);
        let wanted = "Event: { headers:{k=v} body: 68 65 6C 6C 6F 0D                               hello. }";
        assert_eq!(line(batch.event(0), 16), wanted);
        assert_eq!(logged(b"", 16), "Event: { headers:{} body: }");
    }

    #[test]
    fn a_longer_preview_goes_on_with_an_offset_and_ends_at_the_limit() {
        let text = logged(b"0123456789abcdefXYZ", 17);
        let second = "00000010 58                                              X }";
        assert_eq!(text.lines().nth(1), Some(second));
        assert!(!text.contains('Y'));
        assert_eq!(logged(b"0123456789abcdefXYZ", 16).lines().count(), 1);
    }
}

//! Counts words in what Flume agents send: Spark's FlumeEventCount, with words.
//!
//! `push_word_count [host] [port] [directory]`, beside an agent with `examples/avrosink.properties`. Totals are kept in
//! `<directory>/counts.sqlite`; run it again and it goes on where it stopped.

use std::time::Duration;

use millstream::outputs::{ColumnKind, Sqlite};
use millstream::{FlumeUtils, StreamingContext};

fn main() -> millstream::Result<()> {
    let arg = |n, default: &str| std::env::args().nth(n).unwrap_or_else(|| default.to_owned());
    let (host, port, dir) = (arg(1, "localhost"), arg(2, "41415"), arg(3, "word-count"));
    let port = port.parse().map_err(|_| millstream::Error::config("port", format!("expected a port, got {port:?}")))?;

    let mut ssc = StreamingContext::new("FlumeWordCount", Duration::from_millis(500));
    ssc.checkpoint(&dir);
    let lines = FlumeUtils::create_stream(&ssc, &host, port);
    let words = lines.flat_map(|event| event.words());
    let counts = words.map(|word| (word, 1_i64)).reduce_by_key(|a, b| a + b);
    counts.print();

    let totals = counts.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
    let table = Sqlite::upsert(format!("{dir}/counts.sqlite"), "word_counts");
    totals.save("counts", table.key("word", ColumnKind::Text).value("count", ColumnKind::I64));

    ssc.start()?.await_termination()
}

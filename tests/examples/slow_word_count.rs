//! An agent and a job in one process, as in the demo, but a job that takes 20 µs for every event: for the test of memory.
//!
//! `slow_word_count DIR PORT`: spool and all state below DIR. Says on standard error, once a second, how much waits.
#![allow(clippy::unwrap_used, reason = "for tests only")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use millstream::{Agent, FlumeUtils, StreamingContext};

/// What the job may hold.
const STREAM_MEMORY_BYTES: u64 = 32 << 20;
const PER_EVENT: Duration = Duration::from_micros(20);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap());
    let port: u16 = arguments.next().unwrap().parse().unwrap();
    let at = dir.display();
    let config = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1
         a1.sources.r1.type = spooldir\na1.sources.r1.spoolDir = {at}/spool\na1.sources.r1.batchSize = 1000
         a1.sources.r1.channels = c1\na1.sources.r1.pollDelay = 40\na1.sources.r1.deletePolicy = immediate
         a1.channels.c1.type = file\na1.channels.c1.checkpointDir = {at}/checkpoint\na1.channels.c1.dataDirs = {at}/data
         a1.sinks.k1.type = org.apache.spark.streaming.flume.sink.SparkSink\na1.sinks.k1.channel = c1
         a1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n"
    );
    let agent = Agent::builder().name("a1").config_text(config).start().await.unwrap();
    let channel = agent.channel("c1").unwrap();
    let job = tokio::task::spawn_blocking(move || {
        let mut ssc = StreamingContext::new("slow", Duration::from_millis(100));
        ssc.checkpoint(dir.join("job")).memory_bytes(STREAM_MEMORY_BYTES);
        let lines = FlumeUtils::create_polling_stream(&ssc, "127.0.0.1", port);
        let slowed = lines.map(|event| {
            let begun = Instant::now();
            while begun.elapsed() < PER_EVENT {
                std::hint::spin_loop();
            }
            event
        });
        let words = slowed.flat_map(|event| event.words()).map(|word| (word, 1_i64)).reduce_by_key(|a, b| a + b);
        let totals = words.update_state_by_key("totals", |new, old: Option<i64>| Some(old.unwrap_or(0) + new[0]));
        totals.for_each_batch(|_, _| Ok(()));
        ssc.start().unwrap()
    });
    let job = job.await.unwrap();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await; // sleeps: says something once a second
        let totals = channel.totals();
        eprintln!("waiting {} taken {} batch {}", totals.waiting_events(), totals.taken_events, job.last_batch());
    }
}

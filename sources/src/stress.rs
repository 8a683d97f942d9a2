//! Makes events as fast as channels take them, or at a steady rate: for measurements.
//!
//! # Delivery
//! An event that a channel refused is offered again.
//!
//! # Source
//! `org.apache.flume.source.StressSource` (Flume 1.11).

use std::time::Duration;

use millstream_core::{Batch, Fut, Kind, OptionSpec, Options, Result, Source, SourceContext, SourceSpec, optional};
use tokio::time::Instant;

use crate::window::{BACKOFF_SLEEP_INCREMENT, MAX_BACKOFF_SLEEP, Progress, Window, pause};

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "stress",
    aliases: &["org.apache.flume.source.StressSource"],
    summary: "Makes events as fast as channels take them, or at a steady rate.",
    options: OPTIONS,
    build: |options| Ok(Box::new(Stress::from_options(options)?)),
};

const OPTIONS: &[OptionSpec] = &[
    optional("size", Kind::Int(0, 64 << 20), "500", "Bytes of each body, all of them 0x7F."),
    optional("maxTotalEvents", Kind::Int(-1, i64::MAX), "-1", "After so many events it only idles; -1 for no end."),
    optional(
        "maxSuccessfulEvents",
        Kind::Int(-1, i64::MAX),
        "-1",
        "The same, but the last batch is whole: an event that is refused is offered again.",
    ),
    optional("batchSize", Kind::Int(1, 1 << 20), "1", "Events of one batch."),
    optional(
        "maxEventsPerSecond",
        Kind::Int(0, i64::MAX),
        "0",
        "Most events in a second; 0 for as many as channels take.",
    ),
    MAX_BACKOFF_SLEEP,
    BACKOFF_SLEEP_INCREMENT,
];

/// Makes events.
#[derive(Debug)]
struct Stress {
    body_bytes: usize,
    /// `None` for no end; a limit of what is accepted is here as whole batches.
    total_events: Option<u64>,
    batch_events: u64,
    /// `None` for as many as channels take.
    events_per_second: Option<u64>,
    max_backoff: Duration,
}

// === impl Stress ===

impl Stress {
    fn from_options(options: &Options) -> Result<Self> {
        let limit = |key| Ok::<_, millstream_core::Error>(u64::try_from(options.int::<i64>(key)?).ok());
        let batch_events: u64 = options.int("batchSize")?;
        let whole_batches = |events: u64| events.div_ceil(batch_events).saturating_mul(batch_events);
        let limits = [limit("maxTotalEvents")?, limit("maxSuccessfulEvents")?.map(whole_batches)];
        let stress = Self {
            body_bytes: options.int("size")?,
            total_events: limits.into_iter().flatten().min(),
            batch_events,
            events_per_second: Some(options.int("maxEventsPerSecond")?).filter(|rate| *rate > 0),
            max_backoff: options.millis("maxBackoffSleep")?,
        };
        if stress.body_bytes as u64 * stress.batch_events > MOST_BATCH_BYTES {
            let problem =
                format!("a batch of so many bodies exceeds {MOST_BATCH_BYTES} bytes; lower size or batchSize");
            return Err(options.refuse("size", problem));
        }
        Ok(stress)
    }

    async fn make(self, cx: SourceContext) -> Result<()> {
        cx.status.ready();
        let mut window = Window::of_events(self.max_backoff);
        let body = vec![0x7F; self.body_bytes];
        // One buffer for all batches.
        let batch = Batch::from_bodies((0..self.batch_events).map(|_| &body));
        let (started, mut made) = (Instant::now(), 0);
        while !cx.stop.is_stopped() {
            let left = self.total_events.map_or(u64::MAX, |total| total - made);
            let events = left.min(self.batch_events);
            if events == 0 {
                break;
            }
            if self.keep_rate(&cx, started, made).await == Progress::Stopped
                || window.deliver(&cx, batch.slice(0..events as usize)).await? == Progress::Stopped
            {
                break;
            }
            made += events;
            // A channel with room never makes the source wait; others want the thread too.
            tokio::task::yield_now().await;
        }
        window.settle(&cx).await?;
        cx.stop.clone().stopped().await;
        Ok(())
    }

    /// Waits until the next batch is due.
    async fn keep_rate(&self, cx: &SourceContext, started: Instant, made: u64) -> Progress {
        let Some(rate) = self.events_per_second else { return Progress::Done };
        let due = started + Duration::from_secs_f64(made as f64 / rate as f64);
        match due.checked_duration_since(Instant::now()) {
            Some(wait) => pause(cx, wait).await,
            None => Progress::Done,
        }
    }
}

impl Source for Stress {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.make(cx))
    }
}

/// What one batch may have, beyond any channel's.
const MOST_BATCH_BYTES: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::{declared, refusal, source, start};
    use millstream_core::MetricName;
    use millstream_testkit::{TestChannel, spec_contract, start_source};

    spec_contract!(declared(&SPEC, []));

    #[tokio::test]
    async fn it_makes_as_many_events_as_either_limit_allows_and_then_idles() {
        for (limit, events) in [("maxTotalEvents", 25), ("maxSuccessfulEvents", 30)] {
            let channel = TestChannel::new();
            channel.refuse_reservations(1);
            channel.fail_puts(1);
            let running = start(&SPEC, &[(limit, "25"), ("batchSize", "10"), ("size", "3")], &channel).await;
            running.until_counted(MetricName::EventAcceptedCount, events).await;
            running.stop().await.unwrap();
            assert_eq!(channel.texts(), vec!["\x7F\x7F\x7F"; events as usize], "{limit}");
        }
    }

    #[tokio::test]
    async fn without_a_limit_it_goes_on_until_it_is_stopped() {
        let channel = TestChannel::new();
        channel.fill_up_after(5);
        let running = start(&SPEC, &[("batchSize", "2")], &channel).await;
        channel.until(|stored| stored.waiting_for_room == 1).await;
        running.stop().await.unwrap();
        assert_eq!(channel.puts(), [2; 5]);
        assert!(channel.stored().bodies.iter().all(|body| *body == [0x7F; 500]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let channel = TestChannel::new();
        let settings = [("maxEventsPerSecond", "100"), ("batchSize", "10"), ("maxTotalEvents", "200")];
        let started = Instant::now();
        let running = start_source(source(&SPEC, &settings), &channel);
        channel.until(|stored| stored.bodies.len() == 200).await;
        let took = started.elapsed();
        assert!((1890..=2000).contains(&took.as_millis()), "the last of 20 batches is due after 1.9 s, not {took:?}");
        running.stop().await.unwrap();
    }

    #[test]
    fn a_batch_beyond_any_channel_is_refused() {
        let text = refusal(&SPEC, &[("size", "1000000"), ("batchSize", "1000")]);
        assert!(text.starts_with("flume.conf:7: a1.sources.r1.size: ") && text.contains("lower size"), "{text}");
    }
}

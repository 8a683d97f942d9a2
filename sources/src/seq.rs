//! Counts: the bodies are 0, 1, 2 … as decimal text.
//!
//! # Delivery
//! A number that a channel refused is offered again, so none is missing; after a restart it begins at 0.
//!
//! # Source
//! `org.apache.flume.source.SequenceGeneratorSource` (Flume 1.11).

use std::time::Duration;

use millstream_core::{Batch, Fut, Kind, Options, Result, Source, SourceContext, SourceSpec, optional};

use crate::window::{BACKOFF_SLEEP_INCREMENT, MAX_BACKOFF_SLEEP, Progress, Window};

/// The declaration.
pub static SPEC: SourceSpec = SourceSpec {
    name: "seq",
    aliases: &["org.apache.flume.source.SequenceGeneratorSource"],
    summary: "Makes events whose bodies count up from 0.",
    options: &[
        optional("batchSize", Kind::Int(1, u32::MAX as i64), "1", "Events of one batch."),
        optional("totalEvents", Kind::Int(0, i64::MAX), "9223372036854775807", "After so many events it only idles."),
        MAX_BACKOFF_SLEEP,
        BACKOFF_SLEEP_INCREMENT,
    ],
    build: |options| Ok(Box::new(Seq::from_options(options)?)),
};

/// Counts.
#[derive(Debug)]
struct Seq {
    batch_events: u64,
    total_events: u64,
    max_backoff: Duration,
}

// === impl Seq ===

impl Seq {
    fn from_options(options: &Options) -> Result<Self> {
        Ok(Self {
            batch_events: options.int("batchSize")?,
            total_events: options.int("totalEvents")?,
            max_backoff: options.millis("maxBackoffSleep")?,
        })
    }

    async fn count(self, cx: SourceContext) -> Result<()> {
        cx.status.ready();
        let mut window = Window::new(self.max_backoff);
        let mut next = 0;
        while next < self.total_events && !cx.stop.is_stopped() {
            let end = self.total_events.min(next.saturating_add(self.batch_events));
            let batch = Batch::from_bodies((next..end).map(|number| number.to_string()));
            if window.deliver(&cx, batch).await? == Progress::Stopped {
                break;
            }
            next = end;
            // A channel with room never makes the source wait; others want the thread too.
            tokio::task::yield_now().await;
        }
        window.settle(&cx).await?;
        cx.stop.clone().stopped().await;
        Ok(())
    }
}

impl Source for Seq {
    fn run(self: Box<Self>, cx: SourceContext) -> Fut<'static, Result<()>> {
        Box::pin(self.count(cx))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_core::MetricName;
    use millstream_testkit::contract::source::Home;
    use millstream_testkit::{TestChannel, setting, source_contract, start_source};

    struct Numbers;

    impl Home for Numbers {
        fn spec(&self) -> &'static SourceSpec {
            &SPEC
        }

        fn offer(&self, events: usize) -> Vec<(&'static str, String)> {
            vec![("totalEvents", events.to_string()), ("maxBackoffSleep", "5".into())]
        }

        fn has_positions(&self) -> bool {
            false
        }

        fn counters(&self) -> &'static [MetricName] {
            &[MetricName::EventAcceptedCount, MetricName::AppendBatchAcceptedCount]
        }
    }

    source_contract!(Numbers);

    fn seq(settings: &[(&str, &str)]) -> Box<dyn Source> {
        let settings = settings.iter().map(|(key, value)| setting(key, value));
        let (options, unknown) = Options::parse("a1.sources.r1", SPEC.options, &[], settings).unwrap();
        assert!(unknown.is_empty());
        (SPEC.build)(&options).unwrap()
    }

    #[tokio::test]
    async fn it_counts_from_zero_to_the_total_in_batches_and_then_idles() {
        let channel = TestChannel::new();
        let running = start_source(seq(&[("batchSize", "4"), ("totalEvents", "10")]), &channel);
        channel.until(|stored| stored.bodies.len() == 10).await;
        running.stop().await.unwrap();
        assert_eq!(channel.texts(), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(channel.puts(), [4, 4, 2]);
    }
}

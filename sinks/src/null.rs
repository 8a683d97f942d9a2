//! Discards what it takes.
//!
//! # Delivery
//! Every event counts as delivered.
//!
//! # Source
//! `org.apache.flume.sink.NullSink` (Flume 1.11).

use std::sync::Arc;

use millstream_core::{Batch, BuiltSink, Fut, Kind, Options, Result, Sink, SinkSpec, optional};

/// The declaration.
pub static SPEC: SinkSpec = SinkSpec {
    name: "null",
    aliases: &["org.apache.flume.sink.NullSink"],
    summary: "Discards every event.",
    options: &[
        optional("batchSize", Kind::Int(1, u32::MAX as i64), "100", "Most events of one transaction."),
        optional("logEveryNEvents", Kind::Int(1, i64::MAX), "10000", "Events between two lines in the log."),
    ],
    build: |options| {
        let batch_size = options.int("batchSize")?;
        Ok(BuiltSink::Push { sink: Box::new(NullSink::from_options(options)?), batch_size })
    },
};

/// Discards and counts.
#[derive(Debug)]
struct NullSink {
    log_every_events: u64,
    discarded_events: u64,
}

// === impl NullSink ===

impl NullSink {
    fn from_options(options: &Options) -> Result<Self> {
        Ok(Self { log_every_events: options.int("logEveryNEvents")?, discarded_events: 0 })
    }

    /// Counts `events` more; whether a multiple of the interval was passed.
    fn pass(&mut self, events: u64) -> bool {
        let lines_before = self.discarded_events / self.log_every_events;
        self.discarded_events += events;
        self.discarded_events / self.log_every_events > lines_before
    }
}

impl Sink for NullSink {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let events = batches.iter().map(|batch| batch.len() as u64).sum();
        if self.pass(events) {
            tracing::info!(events = self.discarded_events, "null sink discarded events");
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use millstream_testkit::contract::sink::Home;
    use millstream_testkit::sink_contract;

    use super::*;

    struct Nowhere;

    impl Home for Nowhere {
        fn spec(&self) -> &'static SinkSpec {
            &SPEC
        }

        fn settings(&self) -> Vec<(&'static str, String)> {
            vec![("logEveryNEvents", "10".into())]
        }

        fn delivered(&self) -> Option<Vec<String>> {
            None
        }
    }

    sink_contract!(Nowhere);

    #[test]
    fn a_line_is_due_whenever_the_interval_is_passed() {
        let mut sink = NullSink { log_every_events: 10, discarded_events: 0 };
        assert!(!sink.pass(9));
        assert!(sink.pass(1));
        assert!(!sink.pass(9));
        assert!(sink.pass(25));
        assert_eq!(sink.discarded_events, 44);
    }

    #[test]
    fn the_defaults_are_those_of_flume() {
        let (options, _) = Options::parse("a1.sinks.k1", SPEC.options, &[], []).expect("nothing is required");
        let BuiltSink::Push { batch_size, .. } = (SPEC.build)(&options).expect("built") else { panic!("pulls") };
        assert_eq!(batch_size, 100);
        assert!(SPEC.is_called("org.apache.flume.sink.NullSink"));
    }
}

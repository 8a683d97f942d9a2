//! Counters under Flume's names.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metric_names {
    ($($name:ident),* $(,)?) => {
        /// Every counter; the variant is Flume's name, verbatim.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are Flume's; docs/glossary.md explains them")]
        pub enum MetricName { $($name),* }

        impl MetricName {
            /// All of them, in the order of the variants.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Flume's name.
            pub fn flume_name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

metric_names!(
    EventReceivedCount,
    EventAcceptedCount,
    AppendReceivedCount,
    AppendAcceptedCount,
    AppendBatchReceivedCount,
    AppendBatchAcceptedCount,
    OpenConnectionCount,
    GenericProcessingFail,
    EventReadFail,
    ChannelWriteFail,
    EventPutAttemptCount,
    EventPutSuccessCount,
    EventTakeAttemptCount,
    EventTakeSuccessCount,
    EventPutErrorCount,
    EventTakeErrorCount,
    EventLostCount,
    QuarantineCount,
    EventDeadLetterCount,
    ConnectionCreatedCount,
    ConnectionClosedCount,
    ConnectionFailedCount,
    BatchEmptyCount,
    BatchUnderflowCount,
    BatchCompleteCount,
    EventDrainAttemptCount,
    EventDrainSuccessCount,
    EventWriteFail,
    ChannelReadFail,
);

/// One component's counters, since its start.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; MetricName::ALL.len()]);

impl Counters {
    /// Adds to a counter: once per batch, never per event.
    pub fn add(&self, name: MetricName, by: u64) {
        self.0[name as usize].fetch_add(by, Ordering::Relaxed);
    }

    /// Takes from a counter that says how many there are now, such as `OpenConnectionCount`.
    pub fn lower(&self, name: MetricName, by: u64) {
        self.0[name as usize].fetch_sub(by, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self, name: MetricName) -> u64 {
        self.0[name as usize].load(Ordering::Relaxed)
    }

    /// Every counter that is not zero.
    pub fn nonzero(&self) -> impl Iterator<Item = (MetricName, u64)> + '_ {
        MetricName::ALL.iter().map(|&name| (name, self.value(name))).filter(|(_, value)| *value > 0)
    }
}

//! What every sink does that is delivered to.
//!
//! A sink's tests call [`sink_contract!`](crate::sink_contract) with a [`Home`], and
//! [`failing_sink_contract!`](crate::failing_sink_contract) with a [`FailingHome`] if its deliveries can fail. The
//! counters and the back-off are those of the agent's runner and are tested there.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests; the names of the cases are their claims")]

use std::sync::Arc;

use millstream_core::{Batch, BuiltSink, MetricName, Options, Reaction, Result, Sink, SinkContext, SinkSpec};

use super::interceptor::batches;
use super::spec::Declared;
use crate::{Running, TestChannel, setting, start_sink};

/// The world outside of one sink.
pub trait Home {
    /// The declaration.
    fn spec(&self) -> &'static SinkSpec;
    /// Keys and values under which it is tested, the required ones among them.
    fn settings(&self) -> Vec<(&'static str, String)>;
    /// The bodies that arrived, in order; `None` where nobody can know.
    fn delivered(&self) -> Option<Vec<String>>;
}

/// The world outside of a sink to which not everything can be delivered.
pub trait FailingHome: Home {
    /// The next `count` deliveries fail, in a way that may pass.
    fn fail(&self, count: usize);
}

/// Tests a sink: `sink_contract!(home)`, where `home` is an expression that makes a [`Home`].
#[macro_export]
macro_rules! sink_contract {
    ($home:expr) => {
        mod contract {
            use super::*;
            $crate::spec_contract!($crate::contract::sink::declared(&$home));
            $crate::sink_contract!(@ $home;
                every_event_is_delivered_once_in_order_and_committed
                a_take_has_no_more_events_than_the_batch_size
                what_a_batch_does_not_show_is_not_delivered
                a_delivery_of_nothing_succeeds
                nothing_of_a_delivery_is_kept_in_memory
                it_ends_when_asked_while_nothing_comes
                one_that_is_built_anew_goes_on
            );
        }
    };
    (@ $home:expr; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::contract::sink::$case(&$home).await;
            }
        )*
    };
}

/// Tests what a sink owes whose deliveries can fail; beside [`sink_contract!`].
#[macro_export]
macro_rules! failing_sink_contract {
    ($home:expr) => {
        mod failing_contract {
            use super::*;
            $crate::sink_contract!(@ $home;
                a_delivery_that_fails_says_so_and_may_be_repeated
                what_was_not_delivered_is_not_committed_and_comes_again
            );
        }
    };
}

/// For the cases about declarations.
pub fn declared<H: Home>(home: &H) -> Declared<impl Fn(&Options) -> Result<()>> {
    let spec = home.spec();
    Declared::new(spec, home.settings(), |options| (spec.build)(options).map(drop))
}

fn built(home: &impl Home, more: &[(&str, &str)]) -> BuiltSink {
    let own = home.settings();
    let own = own.iter().map(|(key, value)| (*key, value.as_str()));
    let settings = own.chain(more.iter().copied()).map(|(key, value)| setting(key, value));
    let (options, unknown) = Options::parse("a1.sinks.k1", home.spec().options, &[], settings).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    (home.spec().build)(&options).unwrap()
}

fn pushed(home: &impl Home) -> Box<dyn Sink> {
    match built(home, &[]) {
        BuiltSink::Push { sink, .. } => sink,
        BuiltSink::Pull(_) => panic!("a sink whose peers take has a contract of its own"),
    }
}

fn start(home: &impl Home, channel: &TestChannel) -> Running<SinkContext> {
    start_sink(built(home, &[]), channel)
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn bodies(batches: &[Batch]) -> Vec<String> {
    let events = batches.iter().flat_map(Batch::iter);
    events.map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
}

fn assert_delivered(home: &impl Home, expected: &[String]) {
    if let Some(delivered) = home.delivered() {
        assert_eq!(delivered, expected);
    }
}

pub async fn every_event_is_delivered_once_in_order_and_committed(home: &impl Home) {
    let channel = TestChannel::with_transaction_capacity(1000);
    channel.fill(0..150);
    let running = start(home, &channel);
    channel.until_committed(150).await;
    channel.fill(150..333);
    channel.until_committed(333).await;
    running.stop().await.unwrap();
    assert_delivered(home, &numbers(0..333));
    assert_eq!(channel.committed(), numbers(0..333));
}

pub async fn a_take_has_no_more_events_than_the_batch_size(home: &impl Home) {
    let keys = ["batchSize", "batch-size", "sink.batchSize", "hdfs.batchSize"];
    let key = home.spec().options.iter().map(|option| option.key).find(|key| keys.contains(key));
    let settings = key.map(|key| (key, "7"));
    let BuiltSink::Push { batch_size, .. } = built(home, settings.as_slice()) else { panic!("pulls") };
    assert!(batch_size > 0);
    assert!(key.is_none() || batch_size == 7, "{key:?} has no effect: {batch_size}");
}

pub async fn what_a_batch_does_not_show_is_not_delivered(home: &impl Home) {
    let (mut sink, batches) = (pushed(home), batches());
    let shown = bodies(&batches);
    sink.deliver(batches.into()).await.unwrap();
    assert_delivered(home, &shown);
}

pub async fn a_delivery_of_nothing_succeeds(home: &impl Home) {
    let mut sink = pushed(home);
    sink.deliver(Arc::from([])).await.unwrap();
    sink.deliver(Arc::from([Batch::empty()])).await.unwrap();
    assert_delivered(home, &[]);
}

pub async fn nothing_of_a_delivery_is_kept_in_memory(home: &impl Home) {
    let mut sink = pushed(home);
    let given: Arc<[Batch]> = batches().into();
    sink.deliver(Arc::clone(&given)).await.unwrap();
    assert_eq!(Arc::strong_count(&given), 1);
}

pub async fn it_ends_when_asked_while_nothing_comes(home: &impl Home) {
    let channel = TestChannel::new();
    let running = start(home, &channel);
    running.until_ready().await;
    channel.until_asked(1).await;
    running.stop().await.unwrap();
    channel.until_asked(0).await;
    assert_delivered(home, &[]);
}

pub async fn one_that_is_built_anew_goes_on(home: &impl Home) {
    let channel = TestChannel::new();
    channel.fill(0..120);
    let first = start(home, &channel);
    channel.until_committed(120).await;
    first.kill().await;
    channel.fill(120..200);
    let second = start(home, &channel);
    channel.until_committed(200).await;
    second.stop().await.unwrap();
    assert_delivered(home, &numbers(0..200));
}

pub async fn a_delivery_that_fails_says_so_and_may_be_repeated(home: &impl FailingHome) {
    let mut sink = pushed(home);
    let given: Arc<[Batch]> = Arc::from([Batch::from_bodies(["a", "b"])]);
    home.fail(1);
    let error = sink.deliver(Arc::clone(&given)).await.unwrap_err();
    assert!(matches!(error.reaction(), Reaction::Retry { .. }), "{error}");
    sink.deliver(given).await.unwrap();
    let delivered = home.delivered().expect("whoever can fail can be looked at");
    assert!(delivered.ends_with(&["a".to_owned(), "b".to_owned()]), "{delivered:?}");
}

pub async fn what_was_not_delivered_is_not_committed_and_comes_again(home: &impl FailingHome) {
    let channel = TestChannel::new();
    home.fail(3);
    channel.fill(0..500);
    let running = start(home, &channel);
    channel.until_committed(500).await;
    assert!(running.status.last_error().is_some(), "no delivery failed");
    assert_eq!(running.counted(MetricName::EventDrainSuccessCount), 0, "the agent counts, not the sink");
    running.stop().await.unwrap();
    let delivered = home.delivered().expect("whoever can fail can be looked at");
    let missing: Vec<String> = numbers(0..500).into_iter().filter(|number| !delivered.contains(number)).collect();
    assert_eq!(missing, [""; 0]);
    assert_eq!(channel.committed(), numbers(0..500));
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use millstream_core::{Error, Fut, Kind, optional};
    use parking_lot::Mutex;

    use super::*;

    /// Where a [`Collector`] delivers.
    #[derive(Default)]
    struct Place {
        arrived: Mutex<Vec<String>>,
        failures: Mutex<usize>,
    }

    thread_local! {
        /// Declarations build from options alone, so a sink finds its place by its thread.
        static PLACE: RefCell<Arc<Place>> = RefCell::default();
    }

    struct Collector(Arc<Place>);

    impl Sink for Collector {
        fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
            let place = Arc::clone(&self.0);
            Box::pin(async move {
                let mut failures = place.failures.lock();
                if *failures > 0 {
                    *failures -= 1;
                    return Err(Error::io("write", "/test", std::io::Error::other("the peer went away")));
                }
                place.arrived.lock().extend(bodies(&batches));
                Ok(())
            })
        }
    }

    static COLLECTOR: SinkSpec = SinkSpec {
        name: "collector",
        aliases: &["org.apache.Collector"],
        summary: "Collects.",
        options: &[optional("batchSize", Kind::Int(1, 1000), "100", "Most events of one transaction.")],
        build: |options| {
            let sink = Box::new(Collector(PLACE.with_borrow(Arc::clone)));
            Ok(BuiltSink::Push { sink, batch_size: options.int("batchSize")? })
        },
    };

    struct Thread {
        place: Arc<Place>,
        /// Its place is this thread's.
        _here: Rc<()>,
    }

    impl Thread {
        fn new() -> Self {
            let place = Arc::<Place>::default();
            PLACE.set(Arc::clone(&place));
            Self { place, _here: Rc::default() }
        }
    }

    impl Home for Thread {
        fn spec(&self) -> &'static SinkSpec {
            &COLLECTOR
        }

        fn settings(&self) -> Vec<(&'static str, String)> {
            Vec::new()
        }

        fn delivered(&self) -> Option<Vec<String>> {
            Some(self.place.arrived.lock().clone())
        }
    }

    impl FailingHome for Thread {
        fn fail(&self, count: usize) {
            *self.place.failures.lock() = count;
        }
    }

    crate::sink_contract!(Thread::new());
    crate::failing_sink_contract!(Thread::new());
}

//! What every source does.
//!
//! A source's tests call [`source_contract!`](crate::source_contract) with a [`Home`].
#![allow(clippy::unwrap_used, missing_docs, reason = "tests; the names of the cases are their claims")]

use std::collections::BTreeSet;
use std::sync::Arc;

use millstream_core::{MetricName, Options, Result, Source, SourceContext, SourceSpec};

use super::spec::Declared;
use crate::{Running, TestChannel, setting, start_source};

/// The world outside of one source.
pub trait Home {
    /// The declaration.
    fn spec(&self) -> &'static SourceSpec;
    /// Has so many events ready, their bodies the numbers from 0 as decimal text, and gives the settings under which the
    /// source brings them in. The cases add `batchSize`.
    fn offer(&self, events: usize) -> Vec<(&'static str, String)>;
    /// Whether it goes on where its channel stands; otherwise it begins anew with every start.
    fn has_positions(&self) -> bool;
    /// The counters that Flume has for it: those of events count each, those of batches each put.
    fn counters(&self) -> &'static [MetricName];
}

/// Tests a source: `source_contract!(home)`, where `home` is an expression that makes a [`Home`].
#[macro_export]
macro_rules! source_contract {
    ($home:expr) => {
        mod contract {
            use super::*;
            $crate::spec_contract!($crate::contract::source::declared(&$home));
            $crate::source_contract!(@ $home;
                it_is_ready_with_nothing_to_do_and_ends_when_asked
                every_event_comes_once_in_order_and_is_counted_under_flumes_names
                a_channel_that_refuses_gets_everything_later
                a_full_channel_holds_it_up_until_there_is_room
                it_ends_when_asked_while_it_waits_for_room
                it_ends_when_asked_while_its_channel_refuses
                what_a_channel_lost_is_delivered_again
                nothing_counts_as_accepted_before_it_is_stored
                what_is_stored_counts_as_accepted_while_the_channel_is_full
                a_stop_waits_for_what_is_under_way
                a_start_after_a_stop_goes_on_where_the_channel_stands_or_begins_anew
                a_start_after_a_kill_goes_on_where_the_channel_stands_or_begins_anew
                a_channel_that_forgot_gets_everything_again
            );
        }
    };
    (@ $home:expr; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::contract::source::$case(&$home).await;
            }
        )*
    };
}

/// Most events of one put.
const BATCH: usize = 10;
/// Events on offer: many more batches than a source has under way at once, and half a one.
const EVENTS: usize = 995;

/// A source that can be started over and over.
struct Offered<'a> {
    spec: &'static SourceSpec,
    settings: Vec<(&'a str, String)>,
}

impl<'a> Offered<'a> {
    fn new(home: &'a impl Home, events: usize) -> Self {
        let mut settings = home.offer(events);
        settings.push(("batchSize", BATCH.to_string()));
        Self { spec: home.spec(), settings }
    }

    fn start(&self, channel: &TestChannel) -> Running<SourceContext> {
        let settings = self.settings.iter().map(|(key, value)| setting(key, value));
        let (options, unknown) = Options::parse("a1.sources.r1", self.spec.options, &[], settings).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let source: Box<dyn Source> = (self.spec.build)(&options).unwrap();
        start_source(source, channel)
    }
}

/// For the cases about declarations.
pub fn declared(home: &impl Home) -> Declared<impl Fn(&Options) -> Result<()>> {
    let spec = home.spec();
    Declared::new(spec, home.offer(0), |options| (spec.build)(options).map(drop))
}

fn numbers() -> Vec<String> {
    (0..EVENTS).map(|number| number.to_string()).collect()
}

async fn until_stored(channel: &TestChannel, events: usize) {
    channel.until(|stored| stored.bodies.len() >= events).await;
}

/// Runs until the channel has three batches and is full.
async fn until_full(channel: &TestChannel) {
    channel.until(|stored| stored.puts.len() == 3 && stored.waiting_for_room > 0).await;
    assert_eq!(channel.texts(), numbers()[..3 * BATCH]);
}

pub async fn it_is_ready_with_nothing_to_do_and_ends_when_asked(home: &impl Home) {
    let channel = TestChannel::new();
    let running = Offered::new(home, 0).start(&channel);
    running.until_ready().await;
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), [""; 0]);
}

pub async fn every_event_comes_once_in_order_and_is_counted_under_flumes_names(home: &impl Home) {
    let channel = TestChannel::new();
    let running = Offered::new(home, EVENTS).start(&channel);
    let status = Arc::clone(&running.status);
    until_stored(&channel, EVENTS).await;
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), numbers());
    assert!(channel.puts().iter().all(|events| (1..=BATCH).contains(events)), "{:?}", channel.puts());
    for &counter in home.counters() {
        let batches = matches!(counter, MetricName::AppendBatchReceivedCount | MetricName::AppendBatchAcceptedCount);
        let wanted = if batches { channel.puts().len() } else { EVENTS };
        assert_eq!(status.counters().value(counter), wanted as u64, "{counter:?}");
    }
    assert!(home.counters().contains(&MetricName::EventAcceptedCount), "every source of Flume's counts it");
    assert_eq!(status.counters().value(MetricName::ChannelWriteFail), 0);
}

pub async fn a_channel_that_refuses_gets_everything_later(home: &impl Home) {
    let channel = TestChannel::new();
    channel.refuse_reservations(5);
    let running = Offered::new(home, EVENTS).start(&channel);
    until_stored(&channel, EVENTS).await;
    assert_eq!(channel.texts(), numbers());
    assert_eq!(running.counted(MetricName::ChannelWriteFail), 5);
    assert!(running.status.last_error().unwrap().contains("channel c1 is full"));
    running.stop().await.unwrap();
}

pub async fn a_full_channel_holds_it_up_until_there_is_room(home: &impl Home) {
    let channel = TestChannel::new();
    channel.fill_up_after(3);
    let running = Offered::new(home, EVENTS).start(&channel);
    until_full(&channel).await;
    channel.make_room();
    until_stored(&channel, EVENTS).await;
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), numbers());
}

pub async fn it_ends_when_asked_while_it_waits_for_room(home: &impl Home) {
    let channel = TestChannel::new();
    channel.fill_up_after(3);
    let running = Offered::new(home, EVENTS).start(&channel);
    until_full(&channel).await;
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), numbers()[..3 * BATCH]);
    assert_eq!(channel.stored().waiting_for_room, 0);
}

pub async fn it_ends_when_asked_while_its_channel_refuses(home: &impl Home) {
    let channel = TestChannel::new();
    channel.refuse_reservations(u32::MAX);
    let running = Offered::new(home, EVENTS).start(&channel);
    channel.until(|stored| stored.refused > 0).await;
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), [""; 0]);
}

pub async fn what_a_channel_lost_is_delivered_again(home: &impl Home) {
    let channel = TestChannel::new();
    channel.fail_puts(5);
    let running = Offered::new(home, EVENTS).start(&channel);
    until_stored(&channel, EVENTS).await;
    assert!(running.status.last_error().unwrap().contains("the disk went away"));
    let status = Arc::clone(&running.status);
    running.stop().await.unwrap();
    assert_eq!(status.counters().value(MetricName::EventAcceptedCount), EVENTS as u64, "each once");
    let texts = channel.texts();
    if home.has_positions() {
        assert_eq!(texts, numbers(), "in order, and none twice");
    }
    assert_eq!(BTreeSet::from_iter(texts), BTreeSet::from_iter(numbers()));
}

pub async fn nothing_counts_as_accepted_before_it_is_stored(home: &impl Home) {
    let channel = TestChannel::new();
    channel.hold();
    let running = Offered::new(home, EVENTS).start(&channel);
    until_stored(&channel, BATCH).await;
    assert_eq!(running.counted(MetricName::EventAcceptedCount), 0);
    channel.tell();
    until_stored(&channel, EVENTS).await;
    let status = Arc::clone(&running.status);
    running.stop().await.unwrap();
    assert_eq!(status.counters().value(MetricName::EventAcceptedCount), EVENTS as u64);
}

pub async fn what_is_stored_counts_as_accepted_while_the_channel_is_full(home: &impl Home) {
    let channel = TestChannel::new();
    channel.hold();
    channel.fill_up_after(3);
    let running = Offered::new(home, EVENTS).start(&channel);
    until_full(&channel).await;
    assert_eq!(running.counted(MetricName::EventAcceptedCount), 0);
    channel.tell();
    running.until_counted(MetricName::EventAcceptedCount, 3 * BATCH as u64).await;
    assert_eq!(channel.stored().waiting_for_room, 1, "it waits still");
    channel.make_room();
    until_stored(&channel, EVENTS).await;
    running.until_counted(MetricName::EventAcceptedCount, EVENTS as u64).await;
    let status = Arc::clone(&running.status);
    running.stop().await.unwrap();
    assert_eq!(status.counters().value(MetricName::EventAcceptedCount), EVENTS as u64);
}

pub async fn a_stop_waits_for_what_is_under_way(home: &impl Home) {
    let channel = TestChannel::new();
    channel.hold();
    channel.fill_up_after(3);
    let running = Offered::new(home, EVENTS).start(&channel);
    until_full(&channel).await;
    running.ask_to_stop();
    channel.until(|stored| stored.waiting_for_room == 0).await;
    assert!(!running.has_ended(), "three puts are not told yet");
    channel.tell();
    let status = Arc::clone(&running.status);
    running.outcome().await.unwrap();
    assert_eq!(status.counters().value(MetricName::EventAcceptedCount), 3 * BATCH as u64);
}

pub async fn a_start_after_a_stop_goes_on_where_the_channel_stands_or_begins_anew(home: &impl Home) {
    let (offered, channel) = (Offered::new(home, EVENTS), TestChannel::new());
    channel.fill_up_after(3);
    let first = offered.start(&channel);
    until_full(&channel).await;
    first.stop().await.unwrap();
    goes_on_or_begins_anew(home, &offered, &channel).await;
}

pub async fn a_start_after_a_kill_goes_on_where_the_channel_stands_or_begins_anew(home: &impl Home) {
    let (offered, channel) = (Offered::new(home, EVENTS), TestChannel::new());
    channel.fill_up_after(3);
    let first = offered.start(&channel);
    until_full(&channel).await;
    first.kill().await;
    goes_on_or_begins_anew(home, &offered, &channel).await;
}

async fn goes_on_or_begins_anew(home: &impl Home, offered: &Offered<'_>, channel: &TestChannel) {
    channel.make_room();
    let again = if home.has_positions() { 3 * BATCH } else { 0 };
    let expected = [&numbers()[..3 * BATCH], &numbers()[again..]].concat();
    let second = offered.start(channel);
    until_stored(channel, expected.len()).await;
    let status = Arc::clone(&second.status);
    second.stop().await.unwrap();
    assert_eq!(channel.texts(), expected);
    let received = status.counters().value(MetricName::EventReceivedCount);
    assert_eq!(received, (EVENTS - again) as u64, "what the channel has is not even read again");
}

pub async fn a_channel_that_forgot_gets_everything_again(home: &impl Home) {
    let (offered, channel) = (Offered::new(home, EVENTS), TestChannel::new());
    channel.fill_up_after(3);
    let first = offered.start(&channel);
    until_full(&channel).await;
    first.kill().await;
    let empty = TestChannel::new();
    let second = offered.start(&empty);
    until_stored(&empty, EVENTS).await;
    second.stop().await.unwrap();
    assert_eq!(empty.texts(), numbers());
}

//! Sends each event to the channels that the value of a header is mapped to.
//!
//! A value that is mapped to no channel, an empty one, and an event without the header take the channels of `default`.
//! Values are compared exactly. Beside them, an event goes to the channels that `optional.<value>` adds for its value.
//!
//! The header should say something of the event itself. After a crash, events that were not stored everywhere are read
//! and routed again; one that then has another value, a time or a random number, may take another way.
//!
//! # Delivery
//! The source waits for the channels of mapping and default. A failed put into an optional one is counted and logged, and
//! is lost there. Events for which no channel is left are dropped under the rule `no channel`, which is told at the 1st,
//! 2nd, 4th, … event.
//!
//! # Source
//! `org.apache.flume.channel.MultiplexingChannelSelector` (Flume 1.11).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_core::{
    Batch, Error, EventRef, Kind, Options, Result, Route, Routes, Selector, SelectorSpec, Setting, family, optional,
};

use crate::channel_set::ChannelSet;

/// The declaration.
pub static SPEC: SelectorSpec = SelectorSpec {
    name: "multiplexing",
    aliases: &["org.apache.flume.channel.MultiplexingChannelSelector"],
    summary: "Sends each event to the channels that the value of a header is mapped to.",
    options: &[
        optional("header", Kind::Text, "flume.selector.header", "Header whose value decides."),
        family("mapping.*", Kind::List, "Channels for a value, the value behind the dot."),
        optional("default", Kind::List, "", "Channels for every other value."),
        family("optional.*", Kind::List, "Channels for a value whose failure is counted and not returned."),
    ],
    build: |options, channels| Ok(Box::new(Multiplexing::from_options(options, channels)?)),
};

/// Looks up values.
#[derive(Debug)]
struct Multiplexing {
    header: String,
    channels: usize,
    mapping: BTreeMap<Vec<u8>, ChannelSet>,
    default: ChannelSet,
    /// Without those that are required for the same value.
    optional: BTreeMap<Vec<u8>, ChannelSet>,
    /// Events for no channel so far.
    unrouted: AtomicU64,
}

// === impl Multiplexing ===

impl Multiplexing {
    fn from_options(options: &Options, names: &[Arc<str>]) -> Result<Self> {
        let listed = |prefix| -> Result<BTreeMap<Vec<u8>, ChannelSet>> {
            let family = options.under(prefix);
            family
                .map(|Setting { key, value, place }| {
                    let set = ChannelSet::parse(&value, names, |problem| Error::config(&place, problem))?;
                    match set.is_empty() {
                        true => Err(Error::config(&place, "expected channels of this source, got none")),
                        false => Ok((key.into_bytes(), set)),
                    }
                })
                .collect()
        };
        let (mapping, optional) = (listed("mapping.")?, listed("optional.")?);
        let default = options.text("default")?;
        let default = ChannelSet::parse(default, names, |problem| options.refuse("default", problem))?;
        let required = |value: &[u8]| mapping.get(value).unwrap_or(&default);
        let without_required = |(value, set): (Vec<u8>, ChannelSet)| {
            let set = set.without(required(&value));
            (value, set)
        };
        let optional = optional.into_iter().map(without_required).collect();
        let header = options.text("header")?.to_owned();
        Ok(Self { header, channels: names.len(), mapping, default, optional, unrouted: AtomicU64::new(0) })
    }

    /// Required and optional channels of one event.
    fn of(&self, event: EventRef<'_>) -> (&ChannelSet, Option<&ChannelSet>) {
        let value = event.header(&self.header);
        // What Java trims.
        let blank = |value: &[u8]| value.iter().all(|&byte| byte <= b' ');
        let required = value.filter(|value| !blank(value)).and_then(|value| self.mapping.get(value));
        (required.unwrap_or(&self.default), value.and_then(|value| self.optional.get(value)))
    }

    fn tell_unrouted(&self, batch: &Batch, events: u64) {
        let before = self.unrouted.fetch_add(events, Ordering::Relaxed);
        // Whether a power of two was reached or passed.
        if (before + events).checked_ilog2() > before.checked_ilog2() {
            let last = batch.iter().filter(|&event| is_unrouted(self.of(event))).last();
            let value = last.and_then(|event| event.header(&self.header)).map(String::from_utf8_lossy);
            let (header, events) = (&self.header, before + events);
            tracing::warn!(
                header,
                ?value,
                events,
                "events dropped, their value has no channel; set mapping or default"
            );
        }
    }
}

impl Selector for Multiplexing {
    fn select(&self, batch: &Batch) -> Routes {
        let mut parts = vec![Part::default(); self.channels];
        let mut unrouted = 0;
        for (index, event) in (0_u32..).zip(batch.iter()) {
            let (required, optional) = self.of(event);
            for &channel in required.iter() {
                parts[channel].rows.push(index);
                parts[channel].required = true;
            }
            optional.into_iter().flat_map(ChannelSet::iter).for_each(|&channel| parts[channel].rows.push(index));
            unrouted += u64::from(is_unrouted((required, optional)));
        }
        self.tell_unrouted(batch, unrouted);
        Routes { channels: parts.into_iter().map(|part| part.route(batch.len())).collect() }
    }
}

/// What one channel gets of a batch.
#[derive(Debug, Clone, Default)]
struct Part {
    rows: Vec<u32>,
    /// It is required for one of them. The others are waited for as well then: one channel takes one part of a batch, all
    /// or nothing.
    required: bool,
}

// === impl Part ===

impl Part {
    fn route(self, events: usize) -> Route {
        match (self.rows.len(), self.required) {
            (0, _) => Route::None,
            (len, true) if len == events => Route::Required,
            (len, false) if len == events => Route::Optional,
            (_, true) => Route::RequiredSome(self.rows),
            (_, false) => Route::OptionalSome(self.rows),
        }
    }
}

fn is_unrouted((required, optional): (&ChannelSet, Option<&ChannelSet>)) -> bool {
    required.is_empty() && optional.is_none_or(|set| set.is_empty())
}

#[cfg(test)]
mod tests {
    use millstream_core::{ChannelProcessor, ComponentStatus, Coverage, SlabBuilder, SourceContext, stop_token};
    use millstream_testkit::contract::selector::Subject;
    use millstream_testkit::{TestChannel, selector_contract, setting};

    use super::*;

    selector_contract!(Subject {
        spec: &SPEC,
        settings: &[("header", "k"), ("mapping.v", "c1 c3"), ("default", "c2"), ("optional.v", "c2")],
    });

    fn selector(settings: &[(&str, &str)]) -> Result<Box<dyn Selector>> {
        let settings = settings.iter().map(|(key, value)| setting(key, value));
        let (options, unknown) = Options::parse("a1.sources.r1.selector", SPEC.options, &[], settings)?;
        assert_eq!(unknown, [""; 0]);
        (SPEC.build)(&options, &["c1", "c2", "c3"].map(Arc::from))
    }

    /// One event per value of the header `state`; none where the value is `-`.
    fn states(values: &[&str]) -> Batch {
        let mut buffer = b"state".to_vec();
        let spans: Vec<_> = values
            .iter()
            .map(|value| {
                buffer.extend_from_slice(value.as_bytes());
                buffer.len() - value.len()..buffer.len()
            })
            .collect();
        let mut builder = SlabBuilder::new(buffer.into());
        for (number, span) in spans.into_iter().enumerate() {
            if values[number] != "-" {
                builder.header(0..5, span.clone());
            }
            builder.row_ending_at(span, 10 * (number as u64 + 1));
        }
        builder.finish()
    }

    fn routed(settings: &[(&str, &str)], values: &[&str]) -> Vec<Route> {
        selector(settings).expect("built").select(&states(values)).channels
    }

    const STATES: &[(&str, &str)] = &[
        ("header", "state"),
        ("mapping.CZ", "c1"),
        ("mapping.US.CA", "c1 c2"),
        ("default", "c3"),
        ("optional.CZ", "c1 c2"),
        ("optional.other", "c2"),
    ];

    #[test]
    fn values_are_compared_exactly_and_all_others_take_the_default() {
        use Route::{None, OptionalSome, Required, RequiredSome};
        assert_eq!(routed(STATES, &["US.CA"]), [Required, Required, None]);
        let values = ["CZ", "cz", "", "-", " ", "US.CA"];
        assert_eq!(
            routed(STATES, &values),
            [RequiredSome(vec![0, 5]), RequiredSome(vec![0, 5]), RequiredSome(vec![1, 2, 3, 4])]
        );
        assert_eq!(routed(STATES, &["other", "CZ"]), [RequiredSome(vec![1]), Route::Optional, RequiredSome(vec![0])]);
        let few = &STATES[..2];
        assert_eq!(routed(few, &["x", "CZ"]), [RequiredSome(vec![1]), None, None]);
        assert_eq!(
            routed(&[("header", "state"), ("optional.a", "c2")], &["a", "b"]),
            [None, OptionalSome(vec![0]), None]
        );
    }

    #[test]
    fn a_channel_that_the_source_does_not_have_is_refused_at_its_place() {
        for (key, value) in [("mapping.a.b", "c1 c22"), ("default", "c22"), ("optional.x", "c22")] {
            let Err(error) = selector(&[(key, value)]) else { panic!("{key} is accepted") };
            let wanted = format!(
                "flume.conf:7: a1.sources.r1.{key}: expected channels of this source (c1 c2 c3), got \"c22\"; did you mean c2?"
            );
            assert_eq!(error.to_string(), wanted);
        }
    }

    #[tokio::test]
    async fn what_goes_elsewhere_or_nowhere_is_covered_in_every_channel() {
        let channels = ["c1", "c2", "c3"].map(|_| TestChannel::new());
        let shared = channels.iter().map(TestChannel::shared).collect();
        let processor = ChannelProcessor::new(vec![], selector(&STATES[..2]).expect("built"), shared);
        let status = ComponentStatus::new("source", "r1".into(), "test".into());
        let cx = SourceContext { name: "r1".into(), processor: Arc::new(processor), status, stop: stop_token().1 };
        let batch = states(&["CZ", "nobody's"]).with_coverage(Coverage::new("o".into(), 0, 21));
        cx.deliver(batch).await.expect("room").stored().await.expect("stored");
        assert_eq!(channels[0].texts(), ["CZ"]);
        assert!(channels[1].texts().is_empty() && channels[2].texts().is_empty());
        assert_eq!(cx.resume("o"), Some(21), "nothing is read again");
    }
}

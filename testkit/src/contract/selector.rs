//! What every selector does.
//!
//! A selector's tests call [`selector_contract!`](crate::selector_contract) with a [`Subject`].
#![allow(clippy::unwrap_used, missing_docs, reason = "tests; the names of the cases are their claims")]

use std::sync::Arc;

use millstream_core::{
    Batch, ChannelProcessor, ComponentStatus, Options, Result, Route, Selector, SelectorSpec, SourceContext, stop_token,
};

use super::interceptor::batches;
use super::spec::Declared;
use crate::{TestChannel, setting};

/// A selector under test.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The declaration.
    pub spec: &'static SelectorSpec,
    /// Keys and values under which it is tested, the required ones among them; the channels are c1, c2 and c3.
    pub settings: &'static [(&'static str, &'static str)],
}

/// Tests a selector: `selector_contract!(subject)`, where `subject` is an expression that makes a [`Subject`].
#[macro_export]
macro_rules! selector_contract {
    ($subject:expr) => {
        mod contract {
            use super::*;
            $crate::spec_contract!($crate::contract::selector::declared($subject));
            $crate::selector_contract!(@
                #[test] $subject;
                every_channel_has_one_route
                chosen_events_are_ascending_and_in_the_batch
                an_empty_batch_is_routed
            );
            $crate::selector_contract!(@
                #[tokio::test] $subject;
                each_channel_gets_what_was_chosen_for_it_in_order
            );
        }
    };
    (@ #[test] $subject:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::contract::selector::$case(&*$subject.built());
            }
        )*
    };
    (@ #[tokio::test] $subject:expr; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::contract::selector::$case($subject).await;
            }
        )*
    };
}

const CHANNELS: [&str; 3] = ["c1", "c2", "c3"];

impl Subject {
    /// A fresh one.
    pub fn built(&self) -> Box<dyn Selector> {
        let settings = self.settings.iter().map(|(key, value)| setting(key, value));
        let (options, unknown) = Options::parse("a1.sources.r1", self.spec.options, &[], settings).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        (self.spec.build)(&options, &CHANNELS.map(Arc::from)).unwrap()
    }
}

/// For the cases about declarations.
pub fn declared(subject: Subject) -> Declared<impl Fn(&Options) -> Result<()>> {
    let given = subject.settings.iter().map(|(key, value)| (*key, (*value).to_owned()));
    Declared::new(subject.spec, given, move |options| (subject.spec.build)(options, &CHANNELS.map(Arc::from)).map(drop))
}

/// The events that a route means, by index.
fn chosen(route: &Route, batch: &Batch) -> Vec<u32> {
    match route {
        Route::None => Vec::new(),
        Route::Required | Route::Optional => (0..batch.len() as u32).collect(),
        Route::RequiredSome(rows) | Route::OptionalSome(rows) => rows.clone(),
    }
}

pub fn every_channel_has_one_route(selector: &dyn Selector) {
    for batch in batches() {
        assert_eq!(selector.select(&batch).channels.len(), CHANNELS.len());
    }
}

pub fn chosen_events_are_ascending_and_in_the_batch(selector: &dyn Selector) {
    for batch in batches() {
        for route in selector.select(&batch).channels {
            let rows = chosen(&route, &batch);
            assert!(rows.is_sorted_by(|one, next| one < next), "{route:?}");
            assert!(rows.last().is_none_or(|&last| (last as usize) < batch.len()), "{route:?} of {}", batch.len());
        }
    }
}

pub fn an_empty_batch_is_routed(selector: &dyn Selector) {
    let routes = selector.select(&Batch::empty()).channels;
    assert_eq!(routes.len(), CHANNELS.len());
    assert!(routes.iter().all(|route| chosen(route, &Batch::empty()).is_empty()), "{routes:?}");
}

pub async fn each_channel_gets_what_was_chosen_for_it_in_order(subject: Subject) {
    for batch in batches() {
        let channels = CHANNELS.map(|_| TestChannel::new());
        let shared = channels.iter().map(TestChannel::shared).collect();
        let processor = Arc::new(ChannelProcessor::new(vec![], subject.built(), shared));
        let status = ComponentStatus::new("source", "r1".into(), "test".into());
        let cx = SourceContext { name: "r1".into(), processor, status, stop: stop_token().1 };
        cx.deliver(batch.clone()).await.unwrap().stored().await.unwrap();
        for (channel, route) in channels.iter().zip(subject.built().select(&batch).channels) {
            let body = |&row: &u32| String::from_utf8_lossy(batch.event(row as usize).body()).into_owned();
            assert_eq!(channel.texts(), chosen(&route, &batch).iter().map(body).collect::<Vec<_>>(), "{route:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::{Kind, Routes, optional};

    /// Gives every event to one channel, in turn.
    struct InTurn;

    impl Selector for InTurn {
        fn select(&self, batch: &Batch) -> Routes {
            let rows = |channel| (0..batch.len() as u32).filter(|row| row % 3 == channel).collect();
            Routes { channels: vec![Route::RequiredSome(rows(0)), Route::OptionalSome(rows(1)), Route::None] }
        }
    }

    static IN_TURN: SelectorSpec = SelectorSpec {
        name: "in_turn",
        aliases: &["org.apache.InTurn"],
        summary: "Gives every event to one channel, in turn.",
        options: &[optional("unused", Kind::Bool, "true", "No effect.")],
        build: |_, _| Ok(Box::new(InTurn)),
    };

    crate::selector_contract!(Subject { spec: &IN_TURN, settings: &[] });

    struct Wrong(fn(&Batch) -> Vec<Route>);

    impl Selector for Wrong {
        fn select(&self, batch: &Batch) -> Routes {
            Routes { channels: (self.0)(batch) }
        }
    }

    #[test]
    #[should_panic(expected = "left == right")]
    fn a_missing_route_is_found() {
        every_channel_has_one_route(&Wrong(|_| vec![Route::Required; 2]));
    }

    #[test]
    #[should_panic(expected = "RequiredSome([0, 8])")]
    fn an_index_outside_is_found() {
        chosen_events_are_ascending_and_in_the_batch(&Wrong(|_| vec![Route::RequiredSome(vec![0, 8])]));
    }
}

//! What every interceptor does.
//!
//! An interceptor's tests call [`interceptor_contract!`](crate::interceptor_contract) with a [`Subject`].
#![allow(clippy::unwrap_used, missing_docs, reason = "tests; the names of the cases are their claims")]

use std::sync::Arc;

use millstream_core::{
    Batch, CommonHeader, Coverage, EventRef, Intercepted, Interceptor, InterceptorSpec, Name, NameRun, Options, Result,
    SlabBuilder,
};

use super::spec::Declared;
use crate::setting;

/// An interceptor under test.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The declaration.
    pub spec: &'static InterceptorSpec,
    /// Keys and values under which it is tested, the required ones among them.
    pub settings: &'static [(&'static str, &'static str)],
}

/// Tests an interceptor: `interceptor_contract!(subject)`, where `subject` is an expression that makes a [`Subject`].
#[macro_export]
macro_rules! interceptor_contract {
    ($subject:expr) => {
        mod contract {
            use super::*;
            $crate::spec_contract!($crate::contract::interceptor::declared($subject));
            $crate::interceptor_contract!(@ $subject;
                what_is_left_is_the_events_as_they_were_in_their_order
                what_is_dropped_is_counted_under_the_name_of_a_rule
                the_coverage_stays
                an_empty_batch_passes
                the_batch_of_another_holder_stays_as_it_is
            );
        }
    };
    (@ $subject:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::contract::interceptor::$case(&*$subject.built());
            }
        )*
    };
}

impl Subject {
    /// A fresh one.
    pub fn built(&self) -> Box<dyn Interceptor> {
        let settings = self.settings.iter().map(|(key, value)| setting(key, value));
        let (options, unknown) = Options::parse("a1.sources.r1", self.spec.options, &[], settings).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        (self.spec.build)(&options).unwrap()
    }
}

/// For the cases about declarations.
pub fn declared(subject: Subject) -> Declared<impl Fn(&Options) -> Result<()>> {
    let given = subject.settings.iter().map(|(key, value)| (*key, (*value).to_owned()));
    Declared::new(subject.spec, given, move |options| (subject.spec.build)(options).map(drop))
}

/// What makes an event the one that it is.
type Identity = (Vec<u8>, Option<Name>, Option<u64>);

fn identities(batch: &Batch) -> Vec<Identity> {
    batch.iter().map(|event: EventRef<'_>| (event.body().to_vec(), event.name(), event.end())).collect()
}

/// Every shape that a batch may have: whole, cut, with holes, with headers of its own and common ones, with and without
/// names, positions and coverage. No two events have the same body.
pub(super) fn batches() -> Vec<Batch> {
    let mut builder = SlabBuilder::new("kvhost0123456789".into());
    for number in 0..10 {
        (0..number % 3).for_each(|header| builder.header(header..header + 1, header + 1..header + 2));
        builder.row_ending_at(6 + number..7 + number, 100 * (number as u64 + 1));
    }
    let plain = builder.finish();
    let common = CommonHeader { key: "host".into(), value: "h".into(), keep_existing: false };
    let runs = [(0, 7, 100), (4, 8, 3)]
        .map(|(first_row, incarnation, first)| NameRun { first_row, incarnation, first })
        .to_vec();
    let covered = plain.clone().with_coverage(Coverage::new("o".into(), 0, 1001));
    let named = covered.clone().with_names(runs).with_common_header(common);
    vec![
        Batch::from_bodies(["alone"]),
        Batch::from_bodies(["", "other"]),
        plain.slice(2..7),
        plain.filter(|index| index % 3 == 1),
        named.filter(|index| index != 4).slice(1..6),
        plain,
        covered,
        named,
    ]
}

fn intercepted(interceptor: &dyn Interceptor) -> impl Iterator<Item = (Batch, Intercepted)> {
    batches().into_iter().map(|batch| (batch.clone(), interceptor.intercept(batch).unwrap()))
}

pub fn what_is_left_is_the_events_as_they_were_in_their_order(interceptor: &dyn Interceptor) {
    for (given, left) in intercepted(interceptor) {
        let mut given = identities(&given).into_iter();
        for event in identities(&left.batch) {
            assert!(given.any(|other| other == event), "{event:?} is none of the given ones, or out of order");
        }
    }
}

pub fn what_is_dropped_is_counted_under_the_name_of_a_rule(interceptor: &dyn Interceptor) {
    for (given, left) in intercepted(interceptor) {
        let counted: u64 = left.dropped.iter().map(|(_, events)| events).sum();
        assert_eq!(counted, (given.len() - left.batch.len()) as u64, "{:?}", left.dropped);
        let named = |(rule, events): &(Arc<str>, u64)| !rule.is_empty() && *events > 0;
        assert!(left.dropped.iter().all(named), "{:?}", left.dropped);
    }
}

pub fn the_coverage_stays(interceptor: &dyn Interceptor) {
    let bare = [Coverage::new("o".into(), 5, 9), Coverage::retired("o".into())];
    let bare = bare.map(|coverage| Batch::empty().with_coverage(coverage));
    for given in batches().into_iter().chain(bare) {
        let left = interceptor.intercept(given.clone()).unwrap().batch;
        assert_eq!(left.coverage(), given.coverage());
    }
}

pub fn an_empty_batch_passes(interceptor: &dyn Interceptor) {
    for given in [Batch::empty(), batches().remove(0).filter(|_| false)] {
        let left = interceptor.intercept(given).unwrap();
        assert!(left.batch.is_empty() && left.dropped.is_empty(), "{left:?}");
    }
}

pub fn the_batch_of_another_holder_stays_as_it_is(interceptor: &dyn Interceptor) {
    for (kept, untouched) in batches().into_iter().zip(batches()) {
        drop(interceptor.intercept(kept.clone()).unwrap());
        assert_eq!(kept.flatten(), untouched.flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::{Kind, optional};

    /// Drops every event whose index is odd.
    struct Odd;

    impl Interceptor for Odd {
        fn intercept(&self, batch: Batch) -> Result<Intercepted> {
            let left = batch.filter(|index| index % 2 == 0);
            let odd = (batch.len() - left.len()) as u64;
            let dropped = if odd > 0 { vec![("odd".into(), odd)] } else { Vec::new() };
            Ok(Intercepted { batch: left, dropped })
        }
    }

    static ODD: InterceptorSpec = InterceptorSpec {
        name: "odd",
        aliases: &["org.apache.odd"],
        summary: "Drops every other event.",
        options: &[optional("unused", Kind::Bool, "true", "No effect.")],
        build: |_| Ok(Box::new(Odd)),
    };

    crate::interceptor_contract!(Subject { spec: &ODD, settings: &[] });

    /// Does what it is made of.
    struct Wrong(fn(Batch) -> Intercepted);

    impl Interceptor for Wrong {
        fn intercept(&self, batch: Batch) -> Result<Intercepted> {
            Ok((self.0)(batch))
        }
    }

    #[test]
    #[should_panic(expected = "left == right")]
    fn a_drop_that_is_not_counted_is_found() {
        what_is_dropped_is_counted_under_the_name_of_a_rule(&Wrong(|batch| Intercepted::kept(batch.filter(|i| i > 0))));
    }

    #[test]
    #[should_panic(expected = "none of the given ones")]
    fn lost_names_are_found() {
        let nameless = |batch: Batch| Intercepted::kept(batch.with_names(Vec::new()));
        what_is_left_is_the_events_as_they_were_in_their_order(&Wrong(nameless));
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn another_order_is_found() {
        let turned = |batch: Batch| {
            let bodies: Vec<&[u8]> = batch.iter().map(EventRef::body).collect();
            Intercepted::kept(Batch::from_bodies(bodies.into_iter().rev()))
        };
        what_is_left_is_the_events_as_they_were_in_their_order(&Wrong(turned));
    }

    #[test]
    #[should_panic(expected = "left == right")]
    fn a_lost_coverage_is_found() {
        the_coverage_stays(&Wrong(|batch| Intercepted::kept(batch.slice(0..batch.len()))));
    }
}

//! Lets events pass whose body matches a pattern, or those whose body does not.
//!
//! The pattern is one of Java's and may match anywhere in the body. Events that do not pass are counted under the rule
//! `regex_filter`.
//!
//! # Source
//! `org.apache.flume.interceptor.RegexFilteringInterceptor` (Flume 1.11).

use std::sync::Arc;

use millstream_core::{Batch, Intercepted, Interceptor, InterceptorSpec, Kind, Options, Result, optional};

use millstream_config::Pattern;

/// The declaration.
pub static SPEC: InterceptorSpec = InterceptorSpec {
    name: "regex_filter",
    aliases: &[
        "org.apache.flume.interceptor.RegexFilteringInterceptor$Builder",
        "org.apache.flume.interceptor.RegexFilteringInterceptor",
    ],
    summary: "Drops events whose body does not match a pattern, or those whose body does.",
    options: &[
        optional("regex", Kind::Text, ".*", "Pattern that is looked for in the body."),
        optional("excludeEvents", Kind::Bool, "false", "Drops the events that match; otherwise those that do not."),
    ],
    build: |options| Ok(Box::new(RegexFilter::from_options(options)?)),
};

/// Drops events.
#[derive(Debug)]
struct RegexFilter {
    pattern: Pattern,
    exclude: bool,
    rule: Arc<str>,
}

// === impl RegexFilter ===

impl RegexFilter {
    fn from_options(options: &Options) -> Result<Self> {
        let pattern = Pattern::from_options(options, "regex")?;
        Ok(Self { pattern, exclude: options.bool("excludeEvents")?, rule: SPEC.name.into() })
    }
}

impl Interceptor for RegexFilter {
    fn intercept(&self, batch: Batch) -> Result<Intercepted> {
        let passes = |index| {
            let body = String::from_utf8_lossy(batch.event(index).body());
            self.pattern.is_found(&body) != self.exclude
        };
        let left = batch.filter(passes);
        let events = (batch.len() - left.len()) as u64;
        let dropped = if events > 0 { vec![(Arc::clone(&self.rule), events)] } else { Vec::new() };
        Ok(Intercepted { batch: left, dropped })
    }
}

#[cfg(test)]
mod tests {
    use millstream_testkit::contract::interceptor::Subject;
    use millstream_testkit::interceptor_contract;

    use super::*;
    use crate::tests::{bodies, options};

    interceptor_contract!(Subject { spec: &SPEC, settings: &[("regex", "[02468]"), ("excludeEvents", "true")] });

    fn left(settings: &[(&str, &str)], given: &[&str]) -> (Vec<String>, u64) {
        let filter = RegexFilter::from_options(&options(&SPEC, settings).expect("options")).expect("built");
        let left = filter.intercept(Batch::from_bodies(given)).expect("intercepted");
        (bodies(&left.batch), left.dropped.iter().map(|(_, events)| events).sum())
    }

    #[test]
    fn a_match_anywhere_lets_pass_or_drops() {
        let given = ["an ERROR here", "fine", "", "ERROR"];
        let (kept, dropped) = left(&[("regex", "ERROR")], &given);
        assert_eq!((kept, dropped), (vec!["an ERROR here".into(), "ERROR".into()], 2));
        let (kept, dropped) = left(&[("regex", "ERROR"), ("excludeEvents", "true")], &given);
        assert_eq!((kept, dropped), (vec!["fine".into(), String::new()], 2));
        assert_eq!(left(&[], &given).1, 0, "the default matches everything");
    }

    #[test]
    fn bytes_that_are_no_text_can_be_matched_around() {
        let filter =
            RegexFilter::from_options(&options(&SPEC, &[("regex", "^a.b$")]).expect("options")).expect("built");
        let left = filter.intercept(Batch::from_bodies([&b"a\xFFb"[..]])).expect("intercepted").batch;
        assert_eq!(left.event(0).body(), b"a\xFFb", "the body itself is as it was");
    }
}

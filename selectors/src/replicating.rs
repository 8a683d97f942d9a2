//! Sends every event to every channel of its source.
//!
//! # Delivery
//! The source waits for the required channels. A failed put into an optional one is counted and logged, and is lost there.
//!
//! # Source
//! `org.apache.flume.channel.ReplicatingChannelSelector` (Flume 1.11).

use std::sync::Arc;

use millstream_core::{Batch, Kind, Options, Result, Route, Routes, Selector, SelectorSpec, optional};

use crate::channel_set::ChannelSet;

/// The declaration.
pub static SPEC: SelectorSpec = SelectorSpec {
    name: "replicating",
    aliases: &["org.apache.flume.channel.ReplicatingChannelSelector"],
    summary: "Sends every event to every channel of the source.",
    options: &[optional("optional", Kind::List, "", "Channels whose failure is counted and not returned.")],
    build: |options, channels| Ok(Box::new(Replicating::from_options(options, channels)?)),
};

/// The same for every event.
#[derive(Debug)]
struct Replicating {
    routes: Routes,
}

// === impl Replicating ===

impl Replicating {
    fn from_options(options: &Options, channels: &[Arc<str>]) -> Result<Self> {
        let list = options.text("optional")?;
        let optional = ChannelSet::parse(list, channels, |problem| options.refuse("optional", problem))?;
        let route = |channel| match optional.contains(channel) {
            true => Route::Optional,
            false => Route::Required,
        };
        Ok(Self { routes: Routes { channels: (0..channels.len()).map(route).collect() } })
    }
}

impl Selector for Replicating {
    fn select(&self, _batch: &Batch) -> Routes {
        self.routes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::Setting;
    use millstream_testkit::contract::selector::Subject;
    use millstream_testkit::selector_contract;

    selector_contract!(Subject { spec: &SPEC, settings: &[("optional", "c2")] });

    fn routes(optional: &str) -> Result<Vec<Route>> {
        let place = "flume.conf:5: a1.sources.r1.selector.optional".to_owned();
        let setting = Setting { key: "optional".into(), value: optional.into(), place };
        let (options, _) = Options::parse("a1.sources.r1.selector", SPEC.options, &[], [setting])?;
        let channels = ["c1", "c2", "c3"].map(Arc::from);
        Ok((SPEC.build)(&options, &channels)?.select(&Batch::empty()).channels)
    }

    #[test]
    fn every_channel_is_required_unless_it_is_listed() {
        assert_eq!(routes("").expect("built"), [Route::Required, Route::Required, Route::Required]);
        assert_eq!(routes("c3 c1").expect("built"), [Route::Optional, Route::Required, Route::Optional]);
    }

    #[test]
    fn a_channel_that_the_source_does_not_have_is_refused_with_the_nearest() {
        let error = routes("c22").expect_err("refused").to_string();
        let wanted = "flume.conf:5: a1.sources.r1.selector.optional: expected channels of this source (c1 c2 c3), got \
                      \"c22\"; did you mean c2?";
        assert_eq!(error, wanted);
    }
}

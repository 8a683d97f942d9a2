//! Sends each event to one channel of its source, so that the events are spread over all of them.
//!
//! Which channel is drawn from what the event is called: its position in what it was read from, or the name that another
//! agent gave it. Read or sent again after a failure, it takes the same channel again, which knows it. Only events that
//! are called nothing are spread by `policy`.
//!
//! # Delivery
//! The source waits for every channel; none stands in for another.
//!
//! # Source
//! `org.apache.flume.channel.LoadBalancingChannelSelector` (Flume 1.11), by its documentation: a defect keeps it from
//! ever working there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_core::{Batch, EventRef, Kind, Options, Result, Route, Routes, Selector, SelectorSpec, optional};

/// The declaration.
pub static SPEC: SelectorSpec = SelectorSpec {
    name: "load_balancing",
    aliases: &["org.apache.flume.channel.LoadBalancingChannelSelector"],
    summary: "Sends each event to one channel of the source, spread over all of them.",
    options: &[optional(
        "policy",
        Kind::Choice(&["round_robin", "random"]),
        "round_robin",
        "How events without position or name are spread: in turn, or by chance.",
    )],
    build: |options, channels| Ok(Box::new(LoadBalancing::from_options(options, channels)?)),
};

/// Spreads.
#[derive(Debug)]
struct LoadBalancing {
    channels: usize,
    random: bool,
    /// Events spread by policy so far.
    spread: AtomicU64,
}

// === impl LoadBalancing ===

impl LoadBalancing {
    fn from_options(options: &Options, channels: &[Arc<str>]) -> Result<Self> {
        let random = options.text("policy")?.eq_ignore_ascii_case("random");
        Ok(Self { channels: channels.len(), random, spread: AtomicU64::new(0) })
    }

    /// The number that decides on event `index` of a batch; `first` counts the events before the batch.
    fn number(&self, origin: Option<&str>, event: EventRef<'_>, first: u64, index: u64) -> u64 {
        match (origin, event.end(), event.name()) {
            (Some(origin), Some(end), _) => mixed(origin.as_bytes(), end),
            (_, _, Some(name)) => mixed(&name.incarnation.to_le_bytes(), name.sequence),
            _ if self.random => mixed(&[], first + index),
            _ => first + index,
        }
    }
}

impl Selector for LoadBalancing {
    fn select(&self, batch: &Batch) -> Routes {
        let origin = batch.coverage().map(|coverage| &*coverage.origin);
        let first = self.spread.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let mut rows = vec![Vec::new(); self.channels];
        for (index, event) in (0_u32..).zip(batch.iter()) {
            let number = self.number(origin, event, first, u64::from(index));
            rows[(number % self.channels as u64) as usize].push(index);
        }
        let route = |rows: Vec<u32>| match rows.len() {
            0 => Route::None,
            len if len == batch.len() => Route::Required,
            _ => Route::RequiredSome(rows),
        };
        Routes { channels: rows.into_iter().map(route).collect() }
    }
}

/// The same for the same input, in every version of this program (FNV-1a, then splitmix64).
fn mixed(bytes: &[u8], number: u64) -> u64 {
    let folded = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mut x = folded ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use millstream_core::{Coverage, SlabBuilder};
    use millstream_testkit::contract::selector::Subject;
    use millstream_testkit::{selector_contract, setting};

    use super::*;

    // Two selectors spread alike, since both begin anew.
    selector_contract!(Subject { spec: &SPEC, settings: &[("policy", "ROUND_ROBIN")] });

    fn selector(policy: &str) -> Box<dyn Selector> {
        let given = [setting("policy", policy)];
        let (options, _) = Options::parse("a1.sources.r1.selector", SPEC.options, &[], given).expect("options");
        (SPEC.build)(&options, &["c1", "c2", "c3"].map(Arc::from)).expect("built")
    }

    /// Rows of each channel.
    fn rows(selector: &dyn Selector, batch: &Batch) -> Vec<Vec<u32>> {
        let chosen = |route| match route {
            Route::None => Vec::new(),
            Route::Required => (0..batch.len() as u32).collect(),
            Route::RequiredSome(rows) => rows,
            other => panic!("{other:?}"),
        };
        selector.select(batch).channels.into_iter().map(chosen).collect()
    }

    #[test]
    fn events_without_position_go_to_the_channels_in_turn_over_batches() {
        let selector = selector("round_robin");
        let four = Batch::from_bodies(["a"; 4]);
        assert_eq!(rows(&*selector, &four), [vec![0, 3], vec![1], vec![2]]);
        assert_eq!(rows(&*selector, &four), [vec![2], vec![0, 3], vec![1]]);
    }

    #[test]
    fn random_spreads_evenly() {
        let rows = rows(&*selector("random"), &Batch::from_bodies(["a"; 3000]));
        assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), 3000);
        assert!(rows.iter().all(|rows| (800..1200).contains(&rows.len())), "{:?}", rows.iter().map(Vec::len));
        assert!(rows[0].windows(2).any(|pair| pair[1] - pair[0] != 3), "not in turn");
    }

    #[test]
    fn an_event_that_comes_again_takes_the_same_channel_however_the_batch_is_cut() {
        let mut builder = SlabBuilder::new("x".into());
        (1..=300).for_each(|end| builder.row_ending_at(0..1, end * 7));
        let batch = builder.finish().with_coverage(Coverage::new("o".into(), 0, 2101));
        let whole = rows(&*selector("round_robin"), &batch);
        let again = batch.slice(100..300).with_coverage(Coverage::new("o".into(), 700, 2101));
        let cut = rows(&*selector("random"), &again);
        for (whole, cut) in whole.iter().zip(&cut) {
            assert!(whole.len() > 60, "spread: {whole:?}");
            let tail: Vec<u32> = whole.iter().filter_map(|row| row.checked_sub(100)).collect();
            assert_eq!(&tail, cut);
        }
        let named = Batch::from_bodies(["a"; 50]).named(7, 1);
        assert_eq!(rows(&*selector("random"), &named), rows(&*selector("round_robin"), &named));
    }
}

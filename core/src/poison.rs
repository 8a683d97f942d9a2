//! The event that a sink rejects: finding it among those taken with it, and keeping it apart.
//!
//! # Delivery
//! A take that was rejected [`ATTEMPTS`] times is offered in parts, half as large each time, one at a time; parts that are
//! delivered are committed as always. The event that is rejected alone goes to the channel's dead letters, and is committed
//! once it is kept there. So the order of the others stays, and none of them is lost or doubled. Only rejections count: an
//! error that may pass sets nothing aside.
//!
//! A sink that takes nothing at all, as with a wrong option, must not empty its channel: after [`MOST_IN_A_ROW`] events set
//! aside without one delivered in between, the next one stays, and is offered again, alone, until it is taken.

use std::sync::Arc;

use crate::batch::Batch;
use crate::channel::ChannelRef;
use crate::error::{Error, Result};

/// Times that the same events are offered before they are offered in parts.
pub const ATTEMPTS: u32 = 3;
/// Events set aside in a row, none delivered in between, after which the sink counts as at fault.
pub const MOST_IN_A_ROW: u32 = 10;

/// What a sink has rejected, and how much it is offered next.
#[derive(Debug, Default)]
pub struct Suspicion {
    /// How often the events that come next were rejected.
    attempts: u32,
    /// One of the next so many events is rejected.
    among: Option<usize>,
    /// An event was set aside, and no whole take passed since: what is rejected next is divided at once.
    proven: bool,
    /// Events set aside since one was delivered.
    in_a_row: u32,
    /// Nothing is set aside until something was delivered.
    given_up: Option<Why>,
}

/// What to do about a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Wait a little and offer it again.
    Again,
    /// Offer less, at once.
    Divide,
    /// The event stays and holds up what is behind it. Whether that is new.
    Stays(Why, bool),
}

/// Why an event stays that a sink rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The sink rejects everything.
    TooMany,
    /// The channel keeps no dead letters.
    NoPlace,
}

/// Where the only event of a take goes, should it be rejected.
#[derive(Debug)]
pub struct Letterbox {
    /// The first one that has a place keeps it.
    pub channels: Vec<ChannelRef>,
    /// The sink's name.
    pub sink: Arc<str>,
    /// The event.
    pub event: Batch,
}

// === impl Suspicion ===

impl Suspicion {
    /// How many events to take, of those that are usual.
    pub fn limit(&self, usual: usize) -> usize {
        if self.given_up.is_some() {
            // The event that stays: should it be taken one day, the search goes on behind it.
            return 1;
        }
        self.among.map_or(usual, |events| usual.min(events.div_ceil(2)).max(1))
    }

    /// Whether takes have to come one at a time: what is rejected is looked for, or about to be.
    pub fn is_roused(&self) -> bool {
        self.attempts > 0 || self.is_dividing() || self.given_up.is_some()
    }

    fn is_dividing(&self) -> bool {
        self.among.is_some()
    }

    /// Whether an event that is rejected alone is to be set aside.
    pub fn may_set_aside(&self) -> bool {
        self.is_dividing() && self.in_a_row < MOST_IN_A_ROW
    }

    /// So many events were delivered.
    pub fn delivered(&mut self, events: usize) {
        self.proven &= self.is_dividing();
        self.among = self.among.and_then(|suspects| suspects.checked_sub(events)).filter(|suspects| *suspects > 0);
        (self.attempts, self.in_a_row, self.given_up) = (0, 0, None);
    }

    /// The event that was rejected alone is kept elsewhere.
    pub fn set_aside(&mut self) {
        self.in_a_row += 1;
        (self.attempts, self.among, self.proven) = (0, None, true);
    }

    /// The event that was rejected alone has no place to go.
    pub fn has_no_place(&mut self) -> Verdict {
        self.give_up(Why::NoPlace)
    }

    /// A take of so many events was rejected, and is in the channel again.
    pub fn rejected(&mut self, events: usize) -> Verdict {
        if let Some(why) = self.given_up {
            return Verdict::Stays(why, false);
        }
        if self.is_dividing() && events <= 1 && !self.may_set_aside() {
            return self.give_up(Why::TooMany);
        }
        self.attempts += 1;
        if !self.is_dividing() && !self.proven && self.attempts < ATTEMPTS {
            return Verdict::Again;
        }
        self.among = Some(events);
        Verdict::Divide
    }

    fn give_up(&mut self, why: Why) -> Verdict {
        (self.among, self.given_up) = (None, Some(why));
        Verdict::Stays(why, true)
    }
}

// === impl Why ===

impl Why {
    /// What happens, and what to do.
    pub fn text(self) -> String {
        match self {
            Self::TooMany => format!(
                "{MOST_IN_A_ROW} events in a row were set aside, so the sink is at fault: it and what is behind it \
                 wait until it is delivered; mend the sink's options or its peer, or restart to set aside as many again"
            ),
            Self::NoPlace => "the channel keeps no dead letters: it and what is behind it wait until it is delivered; \
                              a file channel sets such events aside"
                .to_owned(),
        }
    }
}

// === impl Letterbox ===

impl Letterbox {
    /// Keeps it, durably; `None` when there is no place for it.
    ///
    /// # Errors
    /// What could not be written: the event stays where it is.
    pub async fn keep(self, rejected: &Error) -> Option<Result<()>> {
        let reason = match rejected {
            Error::Rejected { reason } => reason.clone(),
            other => other.to_string(),
        };
        let kept = self.channels.iter().find_map(|it| it.set_aside(self.event.clone(), &self.sink, &reason))?;
        Some(kept.await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers `events`, of which `poison` are rejected, `batch` at a time; what was set aside and how often was offered.
    fn offered(events: &[u32], poison: &[u32], batch: usize) -> (Vec<u32>, Vec<u32>, usize) {
        let (mut suspicion, mut queue) = (Suspicion::default(), events.to_vec());
        let (mut delivered, mut aside, mut offers) = (Vec::new(), Vec::new(), 0);
        while !queue.is_empty() {
            offers += 1;
            let take = queue[..suspicion.limit(batch).min(queue.len())].to_vec();
            if !take.iter().any(|event| poison.contains(event)) {
                suspicion.delivered(take.len());
                delivered.extend(queue.drain(..take.len()));
            } else if take.len() == 1 && suspicion.may_set_aside() {
                suspicion.set_aside();
                aside.push(queue.remove(0));
            } else if let Verdict::Stays(..) = suspicion.rejected(take.len()) {
                break;
            }
        }
        (delivered, aside, offers)
    }

    #[test]
    fn exactly_the_poison_is_set_aside_wherever_it_stands_and_the_order_of_the_others_stays() {
        let events: Vec<u32> = (0..40).collect();
        for batch in [1, 2, 3, 7, 16, 40, 100] {
            for poison in [&[0][..], &[39], &[17], &[0, 1], &[15, 16, 17], &[38, 39], &[0, 20, 39], &[3, 5, 7, 9, 11]] {
                let (delivered, aside, _) = offered(&events, poison, batch);
                assert_eq!(aside, poison, "{batch} at a time");
                let good: Vec<u32> = events.iter().copied().filter(|event| !poison.contains(event)).collect();
                assert_eq!(delivered, good, "{batch} at a time");
            }
        }
    }

    #[test]
    fn one_poison_event_among_a_thousand_costs_few_deliveries() {
        let events: Vec<u32> = (0..1000).collect();
        for poison in [0, 1, 499, 500, 998, 999] {
            let (_, _, offers) = offered(&events, &[poison], 1000);
            assert!(offers <= ATTEMPTS as usize + 2 * 10 + 2, "{offers} for {poison}");
        }
    }

    #[test]
    fn a_sink_that_rejects_everything_loses_ten_and_not_one_more() {
        let events: Vec<u32> = (0..500).collect();
        for batch in [1, 9, 100] {
            let (delivered, aside, _) = offered(&events, &events, batch);
            assert_eq!((delivered.len(), aside.len()), (0, MOST_IN_A_ROW as usize), "{batch} at a time");
        }
        // Ten in a row are found beside good ones, as often as that happens.
        let poison: Vec<u32> = (0..500).filter(|event| event % 11 > 0).collect();
        assert_eq!(offered(&events, &poison, 100).1, poison);
    }

    #[test]
    fn nothing_is_set_aside_before_three_attempts_and_a_delivery_begins_the_count_anew() {
        let mut suspicion = Suspicion::default();
        assert_eq!([suspicion.rejected(1), suspicion.rejected(1)], [Verdict::Again; 2]);
        assert!(!suspicion.may_set_aside());
        suspicion.delivered(1);
        assert_eq!([suspicion.rejected(8), suspicion.rejected(8)], [Verdict::Again; 2]);
        assert_eq!((suspicion.rejected(8), suspicion.limit(100)), (Verdict::Divide, 4));
    }

    #[test]
    fn what_has_no_place_stays_and_is_told_once_until_it_is_delivered() {
        let mut suspicion = Suspicion::default();
        (0..ATTEMPTS).for_each(|_| _ = suspicion.rejected(1));
        assert_eq!(suspicion.has_no_place(), Verdict::Stays(Why::NoPlace, true));
        assert_eq!((suspicion.rejected(1), suspicion.limit(7)), (Verdict::Stays(Why::NoPlace, false), 1));
        suspicion.delivered(1);
        assert_eq!((suspicion.rejected(7), suspicion.limit(7)), (Verdict::Again, 7));
    }
}

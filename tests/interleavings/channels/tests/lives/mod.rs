//! What the next life of a channel on disk finds, held against what this one told.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use millstream_core::ChannelRef;
use millstream_testkit::FakeDisk;
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};

use crate::parties::{LIMIT, Ledger, Party, events};

impl Party {
    /// Ends this life here and now, and holds what the next one finds against what was told until then.
    pub fn crash(&self, disk: &FakeDisk, open: impl Fn(&FakeDisk) -> ChannelRef) -> Vec<(u64, String)> {
        let power_goes = thread_rng().gen_bool(0.6);
        let ledger = self.ledger.lock().unwrap();
        // From here on there is no point at which others go on until the next disk is there.
        let next = if power_goes { disk.power_cut(thread_rng().r#gen()) } else { disk.kill() };
        // A sync that failed takes what it should have written, as a power cut does.
        let found = check_next(&ledger, &open(&next), power_goes || disk.strikes() > 0);
        drop(ledger);
        // Lets the others go.
        self.over.store(true, Ordering::Relaxed);
        drop(self.channel.close());
        found
    }

    /// Ends this life in order, and holds the next one against it.
    pub fn close(&self, disk: &FakeDisk, open: impl Fn(&FakeDisk) -> ChannelRef) -> Vec<(u64, String)> {
        let closed = block_on(self.channel.close());
        assert!(closed.is_ok(), "{closed:?}");
        self.over.store(true, Ordering::Relaxed);
        check_next(&self.ledger.lock().unwrap(), &open(&disk.kill()), false)
    }
}

/// Everything that was stored and not handed to a commit is there, once, and nothing else. What was delivered comes
/// again only if commits `were_lost`.
fn check_next(ledger: &Ledger, channel: &ChannelRef, were_lost: bool) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    while channel.totals().waiting_events() > 0 {
        let take = block_on(channel.take(LIMIT)).unwrap();
        found.extend(events(&take));
        block_on(take.commit()).unwrap();
    }
    assert_eq!(channel.totals().lost_events, 0);
    let bodies: Vec<&String> = found.iter().map(|(_, body)| body).collect();
    let different: BTreeSet<&String> = bodies.iter().copied().collect();
    assert_eq!(different.len(), bodies.len(), "each once: {bodies:?}");
    for body in &bodies {
        assert!(ledger.offered.contains(*body), "nobody put {body}");
    }
    for body in &ledger.stored {
        assert!(bodies.contains(&body) || ledger.committed.contains(body), "{body} is lost: {bodies:?}, {ledger:?}");
    }
    if !were_lost {
        for (_, body) in &ledger.delivered {
            assert!(!bodies.contains(&body), "{body} comes again: {bodies:?}, {ledger:?}");
        }
    }
    found
}

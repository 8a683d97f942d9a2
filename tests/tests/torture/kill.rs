//! `kill -9` at random moments of a life, from before the channel is open to the middle of the load.

use std::time::Duration;

use millstream_testkit::{AvroPeer, Dice};

use crate::report::Loop;
use crate::rig::{BATCH, Rig};

/// The longest life.
const LIFE_MS: u64 = 500;

#[test]
fn kills_at_random_moments_lose_nothing_and_repeat_one_take_to_a_foreign_peer() {
    let torture = Loop::begin("kill -9 at random moments", 20, 1_000);
    let rig = Rig::before(AvroPeer::foreign(), torture.seed);
    killed(torture, rig, BATCH);
}

#[test]
fn kills_at_random_moments_lose_nothing_and_repeat_to_a_peer_of_ours_only_what_was_under_way() {
    let torture = Loop::begin("kill -9 at random moments, many takes open", 10, 300);
    let rig = Rig::new(torture.seed);
    // It knows what comes again by its name.
    killed(torture, rig, u64::MAX);
}

/// Lives that are killed, each of which repeats so many events at most.
fn killed(torture: Loop, mut rig: Rig, most_again: u64) {
    let mut dice = Dice::new(torture.seed);
    let mut hit = 0;
    for _ in 0..torture.rounds {
        let before = rig.producers.acknowledged();
        let agent = rig.spawn(rig.command(&[]));
        rig.run_for(&agent, Duration::from_millis(1 + dice.below(LIFE_MS)));
        let again = rig.arrivals.again;
        rig.kill(agent);
        let again = rig.arrivals.again - again;
        assert!(again <= most_again, "{again} events came again after one kill");
        hit += u32::from(rig.producers.acknowledged() > before);
    }
    let agent = rig.start();
    rig.until_acknowledged(&agent, 1);
    let long_known = rig.arrivals.long_known;
    let counts = rig.finish(agent);
    assert_eq!(long_known, 0, "events came again that were delivered long before the kill");
    assert!(hit > torture.rounds / 10, "only {hit} kills hit an agent at work: this run proves too little");
    torture.end(counts, &format!("{hit} kills hit an agent under load"));
}

#[test]
fn a_start_that_is_killed_three_times_in_a_row_recovers_what_the_first_would_have() {
    let torture = Loop::begin("kill -9 thrice while starting", 5, 200);
    let mut dice = Dice::new(torture.seed);
    let mut rig = Rig::new(torture.seed);
    for _ in 0..torture.rounds {
        let agent = rig.start();
        rig.until_acknowledged(&agent, 200);
        rig.kill(agent);
        rig.producers.pause(true);
        let (ledger, again) = (rig.ledger(), rig.arrivals.again);
        rig.peer.refuse(usize::MAX);
        for _ in 0..3 {
            let agent = rig.spawn(rig.command(&[]));
            let life = Duration::from_millis(dice.below(40));
            std::thread::sleep(life); // sleeps: the moment of the kill is meant to be random
            rig.kill(agent);
        }
        rig.peer.refuse(0);
        assert_eq!(rig.ledger(), ledger, "starting changed what is in the channel");
        assert_eq!(rig.arrivals.again, again);
        rig.producers.pause(false);
    }
    let agent = rig.start();
    let counts = rig.finish(agent);
    torture.end(counts, "the ledger is the same after each");
}

//! Load and random faults for an hour: two agents one behind the other, and everything around them breaks. What the first one
//! acknowledged arrives behind the second, nothing else does, nothing is stored twice between them, and the first one,
//! which lives all the time, does not grow.
//!
//! | Variable | Says |
//! |---|---|
//! | `SOAK_SECONDS` | how long; the agents are a release build then; unset: once through all faults |
//! | `SOAK_REPORT` | a file for the report |
//!
//! After each fault the producers pause. Once everything is through, the first agent is measured: at rest, so that what it
//! holds then is not what is under way. Growth is judged over half an hour and more; file descriptors always.

mod faults;
mod hops;
mod samples;

use std::time::{Duration, Instant};

use faults::{Fault, Under};
use hops::Hops;
use millstream_testkit::Dice;
use samples::{Samples, Story};

use crate::report::{Loop, number};

/// From this length on, growth is judged.
const JUDGED: Duration = Duration::from_secs(1_800);
/// Measured, but not judged: what an agent takes once and keeps.
const WARM_UP: Duration = Duration::from_secs(300);
/// The longest that a fault lasts, in milliseconds: in an hour, and when each comes once.
const LONGEST_MS: (u64, u64) = (8_000, 600);
/// How often a second one comes at the same time, in percent.
const TWO: u64 = 30;

#[test]
fn two_agents_live_through_random_faults_lose_nothing_and_do_not_grow() {
    let mut torture = Loop::begin("soak: all faults, two agents", Fault::ALL.len() as u32, Fault::ALL.len() as u32);
    let length = number("SOAK_SECONDS").map(Duration::from_secs);
    let mut dice = Dice::new(torture.seed);
    let mut hops = Hops::start(torture.seed, length.is_some());
    let (mut story, mut samples) = (Story::default(), Samples::default());
    let began = Instant::now();
    hops.rest();
    samples.add(began.elapsed(), &hops);
    let mut round = 0;
    while length.map_or(round < torture.rounds, |length| began.elapsed() < length) {
        let each = Fault::ALL[round as usize % Fault::ALL.len()];
        let (faults, lasts_ms) = match length {
            None => (vec![each], drawn_time(&mut dice, LONGEST_MS.1)),
            // An allocator keeps what it needed once: what takes most memory comes first, or it would pass for growth later.
            Some(_) if (round as usize) < Fault::ALL.len() => (in_a_burst(each), LONGEST_MS.0),
            Some(_) => (drawn(&mut dice), drawn_time(&mut dice, LONGEST_MS.0)),
        };
        let lasts = Duration::from_millis(lasts_ms);
        let (before, again) = (hops.producers.acknowledged(), hops.arrivals.again);
        let mut under: Vec<Under> = faults.iter().map(|fault| fault.begin(&mut hops, &mut dice)).collect();
        hops.live_for(lasts, |hops| under.iter_mut().for_each(|under| under.go_on(hops, &mut dice)));
        under.into_iter().for_each(|under| under.end(&mut hops));
        let ended = Instant::now();
        hops.fresh_event_arrives();
        hops.rest();
        let sample = samples.add(began.elapsed(), &hops);
        let events = hops.producers.acknowledged() - before;
        // All before was noted, at rest.
        let again = hops.arrivals.again - again;
        let most_again = events * faults.iter().filter(|fault| fault.repeats()).count() as u64;
        assert!(again <= most_again, "{again} events came again behind the second agent, after {faults:?}");
        let told = story.add(&faults, lasts, ended.elapsed(), events);
        println!("{:>5} s: {told}; {sample}", began.elapsed().as_secs());
        round += 1;
    }
    torture.rounds = round;
    let length = began.elapsed();
    let front_log = hops.kill_front_and_start_it_again();
    let counts = hops.finish();
    story.write(&torture, length, &samples, &counts);
    println!("{front_log} lines of the first agent's log");
    samples.judge();
    torture.end(counts, &format!("an agent that sends to another; {}", samples.summary()));
}

fn drawn_time(dice: &mut Dice, longest_ms: u64) -> u64 {
    longest_ms / 4 + dice.below(longest_ms * 3 / 4)
}

fn in_a_burst(fault: Fault) -> Vec<Fault> {
    if fault == Fault::Burst { vec![fault] } else { vec![Fault::Burst, fault] }
}

fn drawn(dice: &mut Dice) -> Vec<Fault> {
    let mut faults = vec![*dice.one_of(Fault::ALL)];
    let second = *dice.one_of(Fault::ALL);
    if dice.chance(TWO) && !faults.contains(&second) {
        faults.push(second);
    }
    faults
}

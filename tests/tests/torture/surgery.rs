//! Files of a stopped channel that are missing, older, exchanged, or another channel's.

use std::fs;
use std::path::{Path, PathBuf};

use millstream_tests::Process;

use crate::report::{Counts, Loop};
use crate::rig::Rig;

/// Events that wait when the files are changed: several segments of them.
const WAITING: u64 = 1_500;

/// Segments of one of the two logs, ascending.
pub fn segments(data: &Path, log: &str) -> Vec<PathBuf> {
    let dir = data.join("millstream").join(log);
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    files
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn replace(dir: &Path, with: &Path) {
    fs::remove_dir_all(dir).unwrap();
    copy(with, dir);
}

/// A start that is refused with this in its log, three times, and changes nothing.
#[track_caller]
fn refused(rig: &mut Rig, told: &str) {
    for _ in 0..3 {
        let agent = rig.spawn(rig.command(&[]));
        agent.until(told);
        rig.kill(agent);
    }
    assert_eq!(rig.arrivals.counted(), 0, "something was delivered");
}

/// Delivers what waits; nothing new is sent.
fn deliver(rig: &mut Rig) -> Process {
    let agent = rig.start();
    rig.until_arrived(&agent);
    agent
}

fn end(rig: Rig, agent: Process, all: &mut Counts) {
    rig.producers.pause(false);
    let counts = rig.finish(agent);
    all.acknowledged += counts.acknowledged;
    all.again += counts.again;
}

#[test]
fn files_that_are_missing_old_exchanged_or_alien_cost_nothing_or_are_refused() {
    let torture = Loop::begin("files missing, older, exchanged, alien", 1, 10);
    let mut all = Counts::default();
    for round in 0..torture.rounds {
        let seed = torture.seed.wrapping_add(round.into());

        // Acks that are gone, and acks from before everything was delivered.
        for older in [false, true] {
            let mut rig = Rig::new(seed);
            rig.fill(WAITING);
            let (acks, kept) = (rig.store("data/millstream/acks"), rig.path("older"));
            copy(&acks, &kept);
            let agent = deliver(&mut rig);
            rig.kill(agent);
            if older {
                replace(&acks, &kept);
            } else {
                fs::remove_dir_all(&acks).unwrap();
            }
            let agent = deliver(&mut rig);
            end(rig, agent, &mut all);
        }

        // Two segments under each other's names.
        let mut rig = Rig::new(seed);
        rig.fill(WAITING);
        let log = segments(&rig.store("data"), "log");
        assert!(log.len() > 3, "{log:?}");
        let exchange = |rig: &Rig| {
            let aside = rig.path("aside");
            for (from, to) in [(&log[0], &aside), (&log[1], &log[0]), (&aside, &log[1])] {
                fs::rename(from, to).unwrap();
            }
        };
        exchange(&rig);
        refused(&mut rig, "give it its name back, or move it away");
        exchange(&rig);
        let agent = deliver(&mut rig);
        end(rig, agent, &mut all);

        // A segment of another channel in the place of one, and beside them.
        let mut other = Rig::new(seed ^ 1);
        other.fill(WAITING);
        let alien = segments(&other.store("data"), "log").swap_remove(1);
        let mut rig = Rig::new(seed);
        rig.fill(WAITING);
        let own = segments(&rig.store("data"), "log").swap_remove(1);
        let kept = rig.path("kept");
        fs::rename(&own, &kept).unwrap();
        fs::copy(&alien, &own).unwrap();
        refused(&mut rig, "belongs to log");
        fs::rename(&kept, &own).unwrap();
        let agent = deliver(&mut rig);
        end(rig, agent, &mut all);
    }
    torture.end(all, "acks gone, acks older; segments exchanged and alien are refused, and nothing changes");
}

#[test]
fn acks_that_are_newer_alien_or_under_another_name_cost_nothing_or_are_refused() {
    let torture = Loop::begin("acks newer, alien, exchanged", 1, 10);
    let mut all = Counts::default();
    for round in 0..torture.rounds {
        let seed = torture.seed.wrapping_add(round.into());

        // A log from before all of what the acks know.
        let mut rig = Rig::new(seed);
        rig.fill(WAITING);
        let (log, kept) = (rig.store("data/millstream/log"), rig.path("older"));
        copy(&log, &kept);
        let agent = deliver(&mut rig);
        rig.producers.pause(false);
        rig.until_acknowledged(&agent, WAITING);
        rig.producers.pause(true);
        agent.until_true("all is acknowledged", || rig.producers.are_settled());
        rig.until_arrived(&agent);
        rig.kill(agent);
        replace(&log, &kept);
        let agent = deliver(&mut rig);
        end(rig, agent, &mut all);

        // Acks of a channel that delivered everything, in the place of those of one that delivered nothing.
        let mut other = Rig::new(seed ^ 1);
        other.fill(WAITING);
        let agent = deliver(&mut other);
        agent.stop().expect_code(0);
        let mut rig = Rig::new(seed);
        rig.fill(WAITING);
        replace(&rig.store("data/millstream/acks"), &other.store("data/millstream/acks"));
        let agent = rig.start();
        agent.until("acks of another store dropped");
        rig.until_arrived(&agent);
        end(rig, agent, &mut all);

        // One of them beside those that are here, and one under another's name.
        let mut rig = Rig::new(seed);
        rig.fill(WAITING);
        let (own, alien) = (
            segments(&rig.store("data"), "acks").pop().unwrap(),
            segments(&other.store("data"), "acks").pop().unwrap(),
        );
        let beside = own.with_file_name("0000000077.log");
        let header = fs::read(&alien).unwrap();
        fs::write(&beside, header).unwrap();
        refused(&mut rig, "give it its name back, or move it away");
        fs::rename(&own, &beside).unwrap();
        refused(&mut rig, "give it its name back, or move it away");
        fs::rename(&beside, &own).unwrap();
        let agent = deliver(&mut rig);
        end(rig, agent, &mut all);
    }
    torture
        .end(all, "a log older than its acks, acks of another channel; misnamed ones are refused, and nothing changes");
}

#[test]
fn a_missing_segment_and_a_damaged_record_cost_what_was_in_them_and_are_told_once() {
    let torture = Loop::begin("segment missing, record damaged", 1, 20);
    let mut all = Counts::default();
    let mut in_them = 0;
    for round in 0..torture.rounds {
        for missing in [true, false] {
            let mut rig = Rig::new(torture.seed.wrapping_add(round.into()));
            rig.fill(WAITING);
            let log = segments(&rig.store("data"), "log");
            if missing {
                fs::remove_file(&log[1]).unwrap();
            } else {
                let mut content = fs::read(&log[1]).unwrap();
                let middle = content.len() / 2;
                content[middle] ^= 1;
                fs::write(&log[1], content).unwrap();
            }
            let (mut told, mut counted, mut last) = (0, 0, 0);
            for _ in 0..3 {
                let agent = rig.start();
                // What is sent now arrives behind all that is left.
                rig.producers.pause(false);
                rig.until_acknowledged(&agent, 1);
                rig.producers.pause(true);
                agent.until_true("all is acknowledged", || rig.producers.are_settled());
                agent.until_true("the last ones arrive", || {
                    rig.collect();
                    rig.arrivals.have_last(rig.producers.acknowledged_each())
                });
                told += agent
                    .lines_with(if missing { "journal segment is gone" } else { "damaged journal bytes set aside" })
                    .len();
                counted += rig.counted(&agent, "QuarantineCount");
                last = rig.counted(&agent, "EventLostCount");
                agent.stop().expect_code(0);
                rig.collect();
            }
            let ledger = rig.ledger();
            let acknowledged = rig.producers.acknowledged();
            let lost = rig.arrivals.missing(rig.producers.acknowledged_each());
            assert!(lost > 0 && lost < acknowledged);
            assert_eq!((&ledger["lost"], &ledger["waiting"]), (&lost.into(), &0.into()), "{ledger}");
            assert_eq!(told, 1, "told once over three starts");
            assert_eq!((counted, last), (u64::from(!missing), lost), "counted once over three starts");
            assert_eq!((rig.arrivals.alien, rig.arrivals.stored_twice, rig.arrivals.again), (0, 0, 0));
            in_them += lost;
            all.acknowledged += acknowledged - lost;
        }
    }
    torture.end(all, &format!("{in_them} events were in what was removed or damaged, and the ledger says so"));
}

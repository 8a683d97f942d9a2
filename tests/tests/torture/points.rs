//! An agent that ends at every step with which its channel persists anything: at work, after a call that failed, and while
//! it recovers a damaged log.
//!
//! The points are listed in `tests/src/points.rs`; `tests/failpoints.rs` checks that there are no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_testkit::AvroPeer;
use millstream_tests::points::{AFTER_FAILURES, AT_WORK, DRAIN, FIRST_START, RECOVERY, REPAIR, UNMADE, UNREADABLE};
use millstream_tests::{Ended, millstream};
use nix::sys::signal::Signal;

use crate::report::{Counts, Loop};
use crate::rig::{BATCH, Rig};
use crate::surgery::segments;

/// A new segment for every put and every commit.
const SMALLEST: &str = "maxFileSize = 1";
/// Puts are acknowledged before they are synced: a hole among the last of them is one that nobody was promised.
const LAZY: &str = "fsyncPerTransaction = false";
/// What the log says of a damaged place.
const TOLD: &str = "damaged journal bytes set aside";
/// What it says of a whole segment.
const TOLD_WHOLE: &str = "journal segment set aside";
/// Events that wait when a log is damaged.
const WAITING: u64 = 150;

/// A life that is to end by itself at a point of `plan`, while the producers send to it.
#[track_caller]
fn end_at(rig: &mut Rig, plan: &str) -> Ended {
    let mut command = rig.command(&[]);
    command.env("MILLSTREAM_FAILPOINT", plan);
    let agent = rig.spawn(command);
    let mut announced = false;
    agent.until_true(&format!("it ends at {plan}"), || {
        announced = announced || rig.announce(&agent);
        agent.running().is_none()
    });
    let ended = agent.ended();
    assert_eq!(ended.code, None, "it ends at {plan}, and not so:\n{}", ended.log.join("\n"));
    rig.collect();
    ended
}

#[test]
fn an_agent_that_ends_at_any_step_of_storing_rolling_and_deleting_loses_nothing() {
    let torture = Loop::begin("ended at every step, at work", 1, 5);
    let mut rig = Rig::with(SMALLEST, AvroPeer::foreign(), torture.seed);
    let mut ends = 0;
    for round in 0..torture.rounds {
        for point in AT_WORK {
            for pass in [1, 4, 17 + round] {
                let again = rig.arrivals.again;
                end_at(&mut rig, &format!("{point}=abort@{pass}"));
                let again = rig.arrivals.again - again;
                assert!(again <= BATCH, "{again} events came again after {point}@{pass}");
                ends += 1;
            }
        }
    }
    let agent = rig.start();
    let long_known = rig.arrivals.long_known;
    let counts = rig.finish(agent);
    assert_eq!(long_known, 0, "events came again that were delivered long before");
    torture.end(counts, &format!("{ends} ends; a new segment for every put and every commit"));
}

#[test]
fn an_agent_that_ends_at_any_step_of_dealing_with_a_failed_call_loses_nothing() {
    let torture = Loop::begin("ended at every step, after a failed call", 1, 5);
    let mut rig = Rig::with(SMALLEST, AvroPeer::foreign(), torture.seed);
    for _ in 0..torture.rounds {
        for (point, failure) in AFTER_FAILURES {
            let again = rig.arrivals.again;
            end_at(&mut rig, &format!("{failure},{point}=abort"));
            let again = rig.arrivals.again - again;
            assert!(again <= BATCH, "{again} events came again after {point}");
        }
    }
    let agent = rig.start();
    let counts = rig.finish(agent);
    torture.end(counts, "writes, syncs and rolls that fail");
}

#[test]
fn an_agent_that_ends_while_it_makes_its_directories_makes_them_the_next_time() {
    let torture = Loop::begin("ended at every step of a first start", 1, 5);
    let mut all = Counts::default();
    for _ in 0..torture.rounds {
        for point in FIRST_START {
            let mut rig = Rig::with(SMALLEST, AvroPeer::own(), torture.seed);
            // One more directory by each life: the store, data, checkpoint, millstream, log, acks.
            for _ in 0..6 {
                end_at(&mut rig, &format!("{point}=abort"));
            }
            let agent = rig.start();
            all.acknowledged += rig.finish(agent).acknowledged;
        }
    }
    torture.end(all, "none of the directories is there");
}

// === damage ===

/// What is set aside in both logs: file and bytes.
fn aside(rig: &Rig) -> Vec<(PathBuf, Vec<u8>)> {
    let logs = ["log", "acks"].map(|log| rig.store("data/millstream").join(log));
    let files = logs.iter().flat_map(|log| fs::read_dir(log).unwrap().map(|file| file.unwrap().path()));
    let bad = files.filter(|file| file.extension().is_some_and(|end| end == "bad"));
    bad.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Where the frames of a segment begin, and what each says to have been synced before it.
fn frames(content: &[u8]) -> Vec<(usize, u64)> {
    let mut frames = Vec::new();
    let mut at = 128;
    while at + 24 <= content.len() {
        let length = u32::from_le_bytes(content[at..at + 4].try_into().unwrap()) as usize;
        frames.push((at, u64::from_le_bytes(content[at + 8..at + 16].try_into().unwrap())));
        at += (24 + length).next_multiple_of(8);
    }
    frames
}

/// Fills the channel with events that nobody takes, and kills the agent.
fn fill_and_kill(rig: &mut Rig) {
    rig.peer.refuse(usize::MAX);
    let agent = rig.start();
    rig.until_acknowledged(&agent, WAITING);
    rig.producers.pause(true);
    agent.until_true("all that was sent is acknowledged", || rig.producers.are_settled());
    rig.kill(agent);
    rig.producers.send_to(None);
}

/// A channel whose last record but one has a flipped bit and was never synced, with half a write behind it and half a
/// segment beside it; and the bytes that are to be set aside.
fn damaged(seed: u64) -> (Rig, Vec<u8>) {
    let mut rig = Rig::with(LAZY, AvroPeer::own(), seed);
    loop {
        fill_and_kill(&mut rig);
        let newest = segments(&rig.store("data"), "log").pop().unwrap();
        let mut content = fs::read(&newest).unwrap();
        let frames = frames(&content);
        let [.., (hole, _), (last, synced)] = frames[..] else { panic!("{frames:?}") };
        if synced > hole as u64 {
            // A second had passed, and it was synced: not this time.
            rig.producers.pause(false);
            continue;
        }
        content[hole + 30] ^= 1;
        content.extend_from_slice(b"the beginning of a record");
        fs::write(&newest, &content).unwrap();
        fs::write(newest.with_file_name("0000000099.tmp"), "half a segment").unwrap();
        return (rig, content[hole..last].to_vec());
    }
}

/// A life with `plan` that ends at a point of it, or is killed once it is ready; whether it ended by itself.
fn live_to_be_ready(rig: &mut Rig, plan: &str) -> (Ended, bool) {
    let mut command = rig.command(&[]);
    command.env("MILLSTREAM_FAILPOINT", plan);
    let agent = rig.spawn(command);
    agent.until_true("it ends or is ready", || {
        agent.running().is_none() || !agent.lines_with("agent is ready").is_empty()
    });
    let by_itself = agent.running().is_none();
    if !by_itself {
        agent.signal(Signal::SIGKILL);
    }
    let ended = agent.ended();
    assert_eq!(ended.code, None, "{plan}:\n{}", ended.log.join("\n"));
    (ended, by_itself)
}

/// Three starts in a row that end at `point`, as far as they come there; how often `told` was said. The first start gets
/// there.
#[track_caller]
fn end_thrice(rig: &mut Rig, point: &str, told: &str) -> usize {
    let mut times = 0;
    for (life, pass) in [1, 1, 2].into_iter().enumerate() {
        let (ended, by_itself) = live_to_be_ready(rig, &format!("{point}=abort@{pass}"));
        assert!(by_itself || life > 0, "{point} is not passed:\n{}", ended.log.join("\n"));
        times += ended.lines_with(told).count();
    }
    times
}

/// Delivers what is left and something new; how often the agent said `told`, and what it counted as set aside.
#[track_caller]
fn deliver(rig: &mut Rig, told: &str) -> (usize, u64) {
    rig.peer.refuse(0);
    let agent = rig.start();
    rig.producers.pause(false);
    rig.until_acknowledged(&agent, 1);
    rig.producers.pause(true);
    agent.until_true("all is acknowledged", || rig.producers.are_settled());
    agent.until_true("the last ones arrive", || {
        rig.collect();
        rig.arrivals.have_last(rig.producers.acknowledged_each())
    });
    let counted = rig.counted(&agent, "QuarantineCount");
    let ended = agent.stop();
    ended.expect_code(0);
    rig.collect();
    (ended.lines_with(told).count(), counted)
}

/// Nothing came that is wrong, and what is missing is what the ledger says, at most a record's.
#[track_caller]
fn check(rig: &Rig, point: &str, least_lost: u64) -> u64 {
    let lost = rig.arrivals.missing(rig.producers.acknowledged_each());
    let ledger = rig.ledger();
    assert_eq!((&ledger["lost"], &ledger["waiting"]), (&lost.into(), &0.into()), "{point}: {ledger}");
    assert!((least_lost..=40 * least_lost).contains(&lost), "{point}: {lost} are lost, one record is damaged");
    let arrivals = &rig.arrivals;
    assert_eq!((arrivals.alien, arrivals.stored_twice, arrivals.again), (0, 0, 0), "{point}");
    lost
}

#[test]
fn a_start_over_damage_that_ends_thrice_at_any_step_keeps_and_tells_of_it_once() {
    let torture = Loop::begin("ended thrice at every step of a recovery", 1, 5);
    let (mut all, mut lost) = (Counts::default(), 0);
    for round in 0..torture.rounds {
        for point in RECOVERY {
            let (mut rig, bytes) = damaged(torture.seed.wrapping_add(round.into()));
            let before = end_thrice(&mut rig, point, TOLD);
            let (told, counted) = deliver(&mut rig, TOLD);
            assert_eq!((before + told, before as u64 + counted), (1, 1), "{point}: told and counted once in all");
            let kept: Vec<_> = aside(&rig).into_iter().map(|(_, content)| content).collect();
            assert_eq!(kept, [bytes], "{point}");
            lost += check(&rig, point, 1);
            let (told, counted) = deliver(&mut rig, TOLD);
            assert_eq!((told, counted), (0, 0), "{point}: once for all starts");
            all.acknowledged += rig.producers.acknowledged();
        }
    }
    all.acknowledged -= lost;
    torture.end(all, &format!("{lost} events were in the records that were damaged, and the ledger says so"));
}

#[test]
fn a_start_over_a_segment_that_cannot_be_read_or_was_never_made_may_end_at_any_step() {
    let torture = Loop::begin("ended thrice over segments unreadable or unmade", 1, 5);
    let mut all = Counts::default();
    for round in 0..torture.rounds {
        let seed = torture.seed.wrapping_add(round.into());
        for point in UNREADABLE {
            let mut rig = Rig::new(seed);
            rig.fill(WAITING);
            // After a clean stop the newest one holds a snapshot alone.
            let newest = segments(&rig.store("data"), "log").pop().unwrap();
            let garbage = vec![0xa5; fs::read(&newest).unwrap().len()];
            fs::write(&newest, &garbage).unwrap();
            rig.peer.refuse(usize::MAX);
            let before = end_thrice(&mut rig, point, TOLD_WHOLE);
            let (told, counted) = deliver(&mut rig, TOLD_WHOLE);
            assert_eq!((before + told, before as u64 + counted), (1, 1), "{point}: told and counted once in all");
            let kept: Vec<_> = aside(&rig).into_iter().map(|(_, content)| content).collect();
            assert_eq!(kept, [garbage], "{point}");
            check(&rig, point, 0);
            all.acknowledged += rig.producers.acknowledged();
        }
        for point in UNMADE {
            let mut rig = Rig::with(SMALLEST, AvroPeer::own(), seed);
            rig.peer.refuse(usize::MAX);
            let mut command = rig.command(&[]);
            let plan = "journal.segment-renamed=error@5,journal.segment-unmade=error";
            command.env("MILLSTREAM_FAILPOINT", plan);
            let agent = rig.start_with(command);
            rig.until_acknowledged(&agent, WAITING);
            rig.producers.pause(true);
            agent.until_true("all is acknowledged", || rig.producers.are_settled());
            rig.kill(agent);
            end_thrice(&mut rig, point, TOLD);
            assert_eq!(deliver(&mut rig, TOLD), (0, 0), "{point}");
            check(&rig, point, 0);
            all.acknowledged += rig.producers.acknowledged();
        }
    }
    torture.end(all, "what cannot be read is kept, what was never made goes");
}

// === commands ===

/// Runs `millstream channel` to its end, or to a point.
fn channel(rig: &Rig, words: &[&str], plan: Option<&str>) -> std::process::Output {
    let mut command = Command::new(millstream());
    command.arg("channel").arg(words[0]).arg(rig.store("data")).args(&words[1..]).env_remove("RUST_LOG");
    command.envs(plan.map(|plan| ("MILLSTREAM_FAILPOINT", plan)));
    command.output().unwrap()
}

#[test]
fn a_repair_that_ends_at_any_step_is_done_by_the_next_one() {
    let torture = Loop::begin("repair ended at every step", 1, 5);
    let (mut all, mut lost) = (Counts::default(), 0);
    for round in 0..torture.rounds {
        for point in RECOVERY.iter().chain(REPAIR) {
            let (mut rig, bytes) = damaged(torture.seed.wrapping_add(round.into()));
            // It looks first, on a disk that is not changed, and passes the same points there.
            let mut ended = 0;
            for pass in 1..=6 {
                let output = channel(&rig, &["repair", "--yes"], Some(&format!("{point}=abort@{pass}")));
                ended += u32::from(output.status.code().is_none());
            }
            assert!(ended > 0, "{point} is not passed");
            assert!(channel(&rig, &["repair", "--yes"], None).status.success(), "{point}");
            let kept: Vec<_> = aside(&rig).into_iter().map(|(_, content)| content).collect();
            assert_eq!(kept, [bytes], "{point}");
            let again = channel(&rig, &["repair"], None);
            assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to repair"), "{point}");
            assert_eq!(deliver(&mut rig, TOLD), (0, 0), "{point}: the repair told of it");
            lost += check(&rig, point, 1);
            all.acknowledged += rig.producers.acknowledged();
        }
    }
    all.acknowledged -= lost;
    torture.end(all, &format!("{lost} events were in the records that were damaged, and the ledger says so"));
}

#[test]
fn a_drain_that_ends_at_any_step_leaves_every_event_in_the_channel_or_in_a_whole_file() {
    let torture = Loop::begin("drain ended at every step", 1, 5);
    let mut all = Counts::default();
    let commits = ["channel.commit-enqueued", "channel.commit-written", "journal.before-sync", "journal.synced"];
    let steps = ["journal.segment-synced", "journal.segment-named", "journal.before-delete", "journal.deletion-synced"];
    for round in 0..torture.rounds {
        for point in DRAIN.iter().chain(&commits).chain(&steps) {
            let mut rig = Rig::with(SMALLEST, AvroPeer::own(), torture.seed.wrapping_add(round.into()));
            rig.fill(WAITING);
            let files = [rig.path("first"), rig.path("second")];
            let drain = |file: &Path, plan: Option<&str>| {
                let words = ["drain", "--format", "lines", "--to-file", file.to_str().unwrap()];
                channel(&rig, &words, plan)
            };
            let output = drain(&files[0], Some(&format!("{point}=abort")));
            assert_eq!(output.status.code(), None, "{point} is not passed");
            assert!(drain(&files[1], None).status.success(), "{point}");
            let lines: Vec<String> = files
                .iter()
                .filter_map(|file| fs::read_to_string(file).ok())
                .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
                .collect();
            let distinct: BTreeSet<&String> = lines.iter().collect();
            let acknowledged = rig.producers.acknowledged();
            assert_eq!(distinct.len() as u64, acknowledged, "{point}: all of them, and no others");
            assert_eq!(rig.ledger()["waiting"], 0, "{point}");
            all.acknowledged += acknowledged;
            all.again += lines.len() as u64 - acknowledged;
        }
    }
    torture.end(all, "what is in the first file may be in the second too: it was not acknowledged yet");
}

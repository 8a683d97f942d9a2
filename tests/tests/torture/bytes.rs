//! Every byte of a log of 64 KiB: turned, and cut off behind. Read by the program itself, each time anew; and some of the
//! times by an agent, three times in a row.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use millstream_testkit::Dice;
use millstream_tests::{millstream, released_millstream};

use crate::report::{Counts, Loop};
use crate::rig::Rig;
use crate::surgery::{copy, segments};

const LOG_BYTES: u64 = 64 << 10;
/// A call of a producer has fewer events, and a record is a call.
const MOST_OF_A_RECORD: usize = 40;

/// A channel that is full of events and that no agent has, for one thread.
struct Stopped {
    program: &'static Path,
    data: PathBuf,
    /// What waits, as it is read while nothing is damaged.
    whole: Vec<String>,
    /// The file that was cut before, shorter, and how many events it had.
    before: Mutex<(PathBuf, usize)>,
}

// === impl Stopped ===

impl Stopped {
    /// What waits as far as it can be read, and how many events cannot.
    fn export(&self) -> (Vec<String>, usize) {
        let mut export = Command::new(self.program);
        export.args(["channel", "export", "--format", "jsonl", "--output", "json"]).arg(&self.data).arg("-");
        let output = export.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let told: serde_json::Value = serde_json::from_str(told.trim()).unwrap_or_else(|_| panic!("{told}"));
        let unreadable = told["unreadable"].as_u64().unwrap() as usize;
        assert_eq!(output.status.code(), Some(if unreadable == 0 { 0 } else { 65 }), "{told}");
        (String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect(), unreadable)
    }

    /// Turns a bit of the byte, reads, and turns it back. How many events that cost.
    fn turned(&self, file: &Path, offset: u64, bit: u8) -> usize {
        turn(file, offset, bit);
        let (lines, unreadable) = self.export();
        turn(file, offset, bit);
        let place = format!("byte {offset} of {}", file.display());
        let mut rest = self.whole.iter();
        assert!(lines.iter().all(|line| rest.any(|known| known == line)), "{place}: strange events, or another order");
        assert_eq!(self.whole.len() - lines.len(), unreadable, "{place}: what is missing is counted");
        assert!(unreadable <= MOST_OF_A_RECORD, "{place}: {unreadable} events are lost, more than one record has");
        unreadable
    }
}

fn turn(file: &Path, offset: u64, bit: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], offset).unwrap();
}

/// Every byte of the first `LOG_BYTES` of the log.
fn places(data: &Path) -> Vec<(PathBuf, u64)> {
    let places = segments(data, "log").into_iter().flat_map(|file| {
        let bytes = fs::metadata(&file).unwrap().len();
        (0..bytes).map(move |offset| (file.clone(), offset))
    });
    places.take(LOG_BYTES as usize).collect()
}

/// Does `work` with a part of `items` in each of some threads, with a channel of its own; `items` are of the first one.
fn shared<T: Sync>(rig: &Rig, items: &[T], work: impl Fn(&Stopped, &T) -> usize + Sync) -> usize {
    let threads = if Loop::is_long() { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let program = if Loop::is_long() { released_millstream() } else { millstream() };
    let channels: Vec<Stopped> = (0..threads)
        .map(|thread| {
            let data = rig.path(&format!("copy{thread}"));
            ["log", "acks"].into_iter().for_each(|log| {
                copy(&rig.store("data/millstream").join(log), &data.join("millstream").join(log));
            });
            let mut stopped = Stopped { program, data, whole: Vec::new(), before: Mutex::default() };
            stopped.whole = stopped.export().0;
            stopped
        })
        .collect();
    std::thread::scope(|scope| {
        let (work, every) = (&work, channels.len());
        let start = |(first, stopped): (usize, _)| {
            scope.spawn(move || items.iter().skip(first).step_by(every).map(|item| work(stopped, item)).sum::<usize>())
        };
        let threads: Vec<_> = channels.iter().enumerate().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

/// The same file of another copy.
fn theirs(stopped: &Stopped, file: &Path) -> PathBuf {
    stopped.data.join("millstream/log").join(file.file_name().unwrap())
}

#[test]
fn a_bit_that_is_turned_anywhere_costs_at_most_its_record_which_is_counted() {
    let mut torture = Loop::begin("a bit is turned, at every byte of 64 KiB", 60, LOG_BYTES as u32);
    let mut dice = Dice::new(torture.seed);
    let mut rig = Rig::new(torture.seed);
    rig.fill(1_500);
    let mut places = places(&rig.store("data"));
    assert_eq!(places.len() as u64, LOG_BYTES, "the log is long enough");
    if torture.rounds < LOG_BYTES as u32 {
        places = (0..torture.rounds).map(|_| dice.one_of(&places).clone()).collect();
    }
    let bits: Vec<u8> = places.iter().map(|_| dice.below(8) as u8).collect();
    let items: Vec<_> = places.iter().zip(bits).collect();
    let lost =
        shared(&rig, &items, |stopped, ((file, offset), bit)| stopped.turned(&theirs(stopped, file), *offset, *bit));
    torture.rounds = items.len() as u32;
    let counts = Counts { acknowledged: rig.producers.acknowledged(), ..Counts::default() };
    torture.end(
        counts,
        &format!("read by the program each time; {lost} events were in the records at fault, all counted"),
    );
}

#[test]
fn a_log_that_is_cut_anywhere_has_all_that_stands_before() {
    let mut torture = Loop::begin("the end is cut off, at every byte of 64 KiB", 60, LOG_BYTES as u32);
    let mut dice = Dice::new(torture.seed);
    let mut rig = Rig::new(torture.seed);
    rig.fill(1_500);
    let mut places = places(&rig.store("data"));
    if torture.rounds < LOG_BYTES as u32 {
        places = (0..torture.rounds).map(|_| dice.one_of(&places).clone()).collect();
        places.sort();
    }
    shared(&rig, &places, |stopped, (file, length)| {
        // Nothing stands behind: later segments are away meanwhile.
        let file = theirs(stopped, file);
        let later: Vec<PathBuf> = segments(&stopped.data, "log").into_iter().filter(|other| *other > file).collect();
        let aside = |file: &Path| file.with_extension("aside");
        later.iter().for_each(|file| fs::rename(file, aside(file)).unwrap());
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..*length as usize]).unwrap();
        let (lines, unreadable) = stopped.export();
        fs::write(&file, whole).unwrap();
        later.iter().for_each(|file| fs::rename(aside(file), file).unwrap());
        let place = format!("{} cut at {length}", file.display());
        assert!(stopped.whole.starts_with(&lines), "{place}: not a beginning");
        let shorter = std::mem::replace(&mut *stopped.before.lock().unwrap(), (file, lines.len()));
        assert!(
            shorter.0 != stopped.before.lock().unwrap().0 || shorter.1 <= lines.len(),
            "{place}: a shorter one has more"
        );
        assert_eq!(unreadable, 0, "{place}: nobody was told of what a write did not finish");
        0
    });
    torture.rounds = places.len() as u32;
    torture.end(
        Counts { acknowledged: rig.producers.acknowledged(), ..Counts::default() },
        "read by the program each time",
    );
}

#[test]
fn an_agent_sets_a_turned_bit_aside_once_however_often_it_is_started() {
    let torture = Loop::begin("a bit is turned; the agent is started three times", 2, 40);
    let mut dice = Dice::new(torture.seed);
    let mut counts = Counts::default();
    for _ in 0..torture.rounds {
        let mut rig = Rig::new(dice.below(u64::MAX));
        rig.fill(1_000);
        // In the middle of one that is not the newest: there is a record.
        let segments = segments(&rig.store("data"), "log");
        let file = dice.one_of(&segments[..segments.len() - 1]).clone();
        let bytes = fs::metadata(&file).unwrap().len();
        turn(&file, bytes / 4 + dice.below(bytes / 2), dice.below(8) as u8);
        let (mut told, mut set_aside) = (0, 0);
        for _ in 0..3 {
            let agent = rig.start();
            let left = || rig.counted(&agent, "ChannelSize") == 0;
            agent.until_true("all is delivered that can be read", left);
            set_aside += rig.counted(&agent, "QuarantineCount");
            told += rig.kill(agent).lines_with("set aside").count();
        }
        assert_eq!((told, set_aside), (1, 1), "counted and logged once");
        let here = rig.counts();
        assert_eq!((here.alien, here.stored_twice), (0, 0));
        assert_eq!(rig.ledger()["lost"], here.lost, "the ledger says what is missing");
        assert!((1..=MOST_OF_A_RECORD as u64).contains(&here.lost), "{} are missing", here.lost);
        counts.acknowledged += here.acknowledged;
    }
    torture.end(counts, "what is missing is in the ledger; set aside, counted and logged once");
}

use std::path::Path;

use millstream_core::{CommonHeader, Options};
use millstream_io::{Disk, ManualClock};
use millstream_testkit::{Call, FakeDisk, setting};

use super::*;
use crate::hdfs::{SPEC, worker};

/// A worker, its disk and its clock.
struct Bench {
    disk: FakeDisk,
    clock: Arc<ManualClock>,
    worker: Worker,
}

/// The wall's clock at the start.
const START: u64 = 1_393_677_347_250;

impl Bench {
    /// A DataStream in `/base/<header h>` that never rolls, but for `more`.
    fn new(more: &[(&str, &str)]) -> Self {
        Self::on(FakeDisk::new(), more)
    }

    fn on(disk: FakeDisk, more: &[(&str, &str)]) -> Self {
        let mut settings = vec![
            ("hdfs.path", "file:///base/%{h}"),
            ("hdfs.filePrefix", "f"),
            ("hdfs.fileType", "DataStream"),
            ("hdfs.rollInterval", "0"),
            ("hdfs.rollSize", "0"),
            ("hdfs.rollCount", "0"),
        ];
        settings.retain(|(key, _)| more.iter().all(|(other, _)| other != key));
        let settings = settings.iter().chain(more).map(|(key, value)| setting(key, value));
        let (options, unknown) = Options::parse("a1.sinks.k1", SPEC.options, &[], settings).expect("options");
        assert_eq!(unknown, [""; 0]);
        let clock = ManualClock::new(START);
        let worker = worker(&options, Arc::new(disk.clone()), Arc::clone(&clock) as Arc<dyn millstream_io::Clock>);
        Self { disk, clock, worker: worker.expect("built") }
    }

    fn deliver(&mut self, batches: &[Batch]) -> Result<()> {
        self.worker.run_due();
        self.worker.deliver(batches)
    }

    fn pass(&mut self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        self.worker.run_due();
    }

    /// Files of a directory below the base: name, without what all have, and content.
    fn files(&self, dir: &str) -> Vec<(String, String)> {
        let dir = Path::new("/base").join(dir);
        let mut names = self.disk.list(&dir).expect("a directory");
        names.sort();
        let content = |name: &str| self.disk.content(&dir.join(name)).expect("a file");
        let text = |name: String| (String::from_utf8(content(&name)).expect("text"), name);
        let short = |name: String| name.replace(&(START / 1000).to_string(), "");
        names.into_iter().map(text).map(|(text, name)| (short(name), text.replace('\n', " "))).collect()
    }

    fn texts(&self, dir: &str) -> Vec<String> {
        self.files(dir).into_iter().map(|(_, text)| text).collect()
    }
}

fn events(h: &str, bodies: &[&str]) -> Batch {
    let header = CommonHeader { key: "h".into(), value: h.to_owned().into(), keep_existing: false };
    Batch::from_bodies(bodies).with_common_header(header)
}

fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
}

#[test]
fn events_go_to_the_files_of_their_headers_in_order() {
    let mut bench = Bench::new(&[]);
    bench.deliver(&[events("a", &["1", "2"]), events("b", &["3"]), events("a", &["4"])]).expect("written");
    bench.deliver(&[events("a", &["5"])]).expect("written");
    assert_eq!(bench.files("a"), pairs(&[("f.251.tmp", "1 2 4 5 ")]));
    assert_eq!(bench.files("b"), pairs(&[("f.251.tmp", "3 ")]));
    bench.worker.close();
    assert_eq!(bench.files("a"), pairs(&[("f.251", "1 2 4 5 ")]));
}

#[test]
fn a_file_has_no_more_events_than_roll_count() {
    let mut bench = Bench::new(&[("hdfs.rollCount", "2")]);
    bench.deliver(&[events("a", &["1", "2", "3", "4", "5"])]).expect("written");
    assert_eq!(bench.files("a"), pairs(&[("f.251", "1 2 "), ("f.252", "3 4 "), ("f.253.tmp", "5 ")]));
    bench.deliver(&[events("a", &["6", "7"])]).expect("written");
    assert_eq!(bench.files("a")[2..], pairs(&[("f.253", "5 6 "), ("f.254.tmp", "7 ")]));
}

#[test]
fn a_file_is_complete_once_its_bodies_reach_roll_size() {
    let mut bench = Bench::new(&[("hdfs.rollSize", "5")]);
    bench.deliver(&[events("a", &["123", "45", "6"])]).expect("written");
    assert_eq!(bench.files("a"), pairs(&[("f.251", "123 45 "), ("f.252.tmp", "6 ")]));
}

#[test]
fn a_file_is_complete_when_it_is_old_or_nothing_comes() {
    let mut bench = Bench::new(&[("hdfs.rollInterval", "30"), ("hdfs.idleTimeout", "10")]);
    bench.deliver(&[events("a", &["1"]), events("b", &["2"])]).expect("written");
    for body in ["3", "4", "5"] {
        bench.pass(9_000);
        bench.deliver(&[events("a", &[body])]).expect("written");
    }
    assert_eq!(bench.files("a"), pairs(&[("f.251.tmp", "1 3 4 5 ")]));
    assert_eq!(bench.files("b"), pairs(&[("f.251", "2 ")]), "idle");
    assert_eq!(bench.worker.next_due(), Some(Duration::from_secs(30)));
    bench.pass(3_000);
    assert_eq!(bench.files("a"), pairs(&[("f.251", "1 3 4 5 ")]), "old");
    assert_eq!(bench.worker.next_due(), None);
    bench.deliver(&[events("a", &["6"])]).expect("written");
    assert_eq!(bench.files("a")[1..], pairs(&[("f.252.tmp", "6 ")]));
}

#[test]
fn names_in_use_and_complete_are_as_configured() {
    let settings = [("hdfs.inUsePrefix", "_"), ("hdfs.inUseSuffix", ".busy"), ("hdfs.fileSuffix", ".log")];
    let mut bench = Bench::new(&settings);
    bench.deliver(&[events("a", &["1"])]).expect("written");
    assert_eq!(bench.files("a"), pairs(&[("_f.251.log.busy", "1 ")]));
    bench.worker.close();
    assert_eq!(bench.files("a"), pairs(&[("f.251.log", "1 ")]));
    let mut bench = Bench::new(&[("hdfs.emptyInUseSuffix", "true")]);
    bench.deliver(&[events("a", &["1"])]).expect("written");
    bench.worker.close();
    assert_eq!(bench.files("a"), pairs(&[("f.251", "1 ")]));
}

#[test]
fn numbers_of_files_that_are_there_are_passed_over() {
    let mut bench = Bench::new(&[]);
    let path = |name: &str| Path::new("/base/a").join(name.replace("f.", &format!("f.{}", START / 1000)));
    bench.disk.put(&path("f.251"), b"another's");
    bench.disk.put(&path("f.252.tmp"), b"in use");
    bench.deliver(&[events("a", &["1"])]).expect("written");
    let wanted = [("f.251", "another's"), ("f.252.tmp", "in use"), ("f.253.tmp", "1 ")];
    assert_eq!(bench.files("a"), pairs(&wanted));
}

#[test]
fn a_failed_transaction_leaves_nothing_in_any_file_whatever_failed() {
    for (call, skip) in [
        (Call::Write, 0),
        (Call::Write, 1),
        (Call::TornWrite, 0),
        (Call::TornWrite, 2),
        (Call::Sync, 0),
        (Call::Sync, 1),
        (Call::Create, 0),
        (Call::SyncDir, 0),
    ] {
        let mut bench = Bench::new(&[]);
        bench.deliver(&[events("a", &["before"]), events("b", &["before"])]).expect("written");
        let given = [events("a", &["1"]), events("b", &["2"]), events("new", &["3"])];
        bench.disk.fail(call, skip, 1);
        bench.deliver(&given).expect_err("failed");
        assert_eq!(bench.disk.strikes(), 1);
        bench.disk.heal();
        bench.deliver(&given).expect("written");
        bench.worker.close();
        let all = |dir| bench.texts(dir).concat();
        assert_eq!((all("a"), all("b"), all("new")), ("before 1 ".into(), "before 2 ".into(), "3 ".into()), "{call:?}");
        let open = bench.files("a").iter().chain(&bench.files("b")).filter(|(name, _)| name.ends_with(".tmp")).count();
        assert_eq!(open, 0, "{call:?}");
    }
}

#[test]
fn a_transaction_that_cannot_begin_a_file_keeps_the_others_open() {
    let mut bench = Bench::new(&[]);
    bench.deliver(&[events("a", &["1"])]).expect("written");
    for _ in 0..5 {
        bench.disk.fail(Call::Create, 0, 1);
        bench.deliver(&[events("a", &["2"]), events("new", &["3"])]).expect_err("failed");
    }
    bench.disk.heal();
    bench.deliver(&[events("a", &["2"]), events("new", &["3"])]).expect("written");
    assert_eq!(bench.files("a"), pairs(&[("f.251.tmp", "1 2 ")]));
}

#[test]
fn what_was_delivered_survives_a_power_cut() {
    for seed in 0..50 {
        let mut bench = Bench::new(&[("hdfs.rollCount", "2")]);
        bench.deliver(&[events("a", &["1", "2", "3"]), events("b", &["4"])]).expect("written");
        bench.disk.fail(Call::Sync, 0, 1);
        bench.deliver(&[events("b", &["5"])]).expect_err("not synced");
        let after = Bench { disk: bench.disk.power_cut(seed), ..bench };
        assert_eq!(after.texts("a"), ["1 2 ", "3 "], "seed {seed}");
        assert!(after.texts("b").concat().starts_with("4 "), "seed {seed}");
    }
}

#[test]
fn a_file_that_cannot_be_renamed_is_tried_again() {
    let mut bench = Bench::new(&[("hdfs.rollCount", "1"), ("hdfs.retryInterval", "60")]);
    bench.disk.fail(Call::Rename, 0, 2);
    bench.deliver(&[events("a", &["1"])]).expect("delivered all the same");
    assert_eq!(bench.files("a"), pairs(&[("f.251.tmp", "1 ")]));
    bench.pass(59_999);
    assert_eq!(bench.worker.next_due(), Some(Duration::from_secs(60)));
    bench.pass(1);
    assert_eq!(bench.files("a"), pairs(&[("f.251.tmp", "1 ")]), "the second try");
    bench.pass(60_000);
    assert_eq!(bench.files("a"), pairs(&[("f.251", "1 ")]));
    assert_eq!(bench.worker.next_due(), None);
}

#[test]
fn tries_end_when_they_are_counted() {
    for settings in
        [[("hdfs.closeTries", "2"), ("hdfs.rollCount", "1")], [("hdfs.retryInterval", "0"), ("hdfs.rollCount", "1")]]
    {
        let mut bench = Bench::new(&settings);
        bench.disk.fail(Call::Rename, 0, 9);
        bench.deliver(&[events("a", &["1"])]).expect("delivered");
        bench.pass(180_000);
        assert_eq!(bench.worker.next_due(), None, "{settings:?}");
        assert_eq!(bench.files("a"), pairs(&[("f.251.tmp", "1 ")]));
    }
}

#[test]
fn a_rename_that_happened_and_did_not_say_so_is_enough() {
    let mut bench = Bench::new(&[("hdfs.rollCount", "1")]);
    bench.deliver(&[events("b", &["1"])]).expect("the directory is made");
    // That of the new file in its directory comes first.
    bench.disk.fail(Call::SyncDir, 1, 1);
    bench.deliver(&[events("b", &["2"])]).expect("delivered");
    assert_eq!(bench.texts("b"), ["1 ", "2 "]);
    bench.pass(180_000);
    assert_eq!(bench.worker.next_due(), None);
}

#[test]
fn files_used_longest_ago_are_completed_when_too_many_are_open() {
    let mut bench = Bench::new(&[("hdfs.maxOpenFiles", "2")]);
    for h in ["a", "b", "a", "c"] {
        bench.deliver(&[events(h, &["x"])]).expect("written");
    }
    let open = |dir| bench.files(dir)[0].0.ends_with(".tmp");
    assert_eq!((open("a"), open("b"), open("c")), (true, false, true));
    bench.deliver(&[events("d", &["x"]), events("e", &["x"]), events("g", &["x"])]).expect("more than there may be");
    let open = ["a", "c", "d", "e", "g"].into_iter().filter(|dir| bench.files(dir)[0].0.ends_with(".tmp")).count();
    assert_eq!(open, 2);
}

#[test]
fn ten_thousand_paths_do_not_stay_in_memory() {
    let mut bench = Bench::new(&[("hdfs.maxOpenFiles", "10")]);
    for number in 0..300 {
        bench.deliver(&[events(&number.to_string(), &["x"])]).expect("written");
    }
    assert!(bench.worker.buckets.len() <= 20, "{}", bench.worker.buckets.len());
}

#[test]
fn compressed_files_are_whole_after_each_transaction() {
    let mut bench = Bench::new(&[("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "gzip")]);
    let read = |bench: &Bench| {
        let dir = Path::new("/base/a");
        let name = bench.disk.list(dir).expect("a directory").remove(0);
        let mut text = String::new();
        let content = bench.disk.content(&dir.join(&name)).expect("a file");
        std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&content[..]), &mut text).expect("gzip");
        (name.ends_with(".gz.tmp"), text)
    };
    bench.deliver(&[events("a", &["1"])]).expect("written");
    assert_eq!(read(&bench), (true, "1\n".into()));
    bench.disk.fail(Call::TornWrite, 0, 1);
    bench.deliver(&[events("a", &["2"])]).expect_err("failed");
    assert_eq!(read(&bench).1, "1\n");
}

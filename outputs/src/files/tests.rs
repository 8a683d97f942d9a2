#![allow(clippy::unwrap_used, reason = "tests")]

use millstream_core::Reaction;
use millstream_testkit::contract::output::{Subject, rows, stamp};
use millstream_testkit::{Call, FakeDisk};

use super::*;

const DIR: &str = "/out";

/// A directory on a disk that fails as it is told.
struct Place(FakeDisk);

impl Place {
    fn new() -> Self {
        Self(FakeDisk::new())
    }

    fn output(&self) -> Files {
        Files::new("/out/counts").suffix("txt").on_disk(Arc::new(self.0.clone()))
    }

    /// Files that are not hidden.
    fn names(&self) -> Vec<String> {
        let mut names = self.0.list(Path::new(DIR)).unwrap_or_default();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    fn temporaries(&self) -> usize {
        let names = self.0.list(Path::new(DIR)).unwrap_or_default();
        names.iter().filter(|name| name.ends_with(".tmp")).count()
    }
}

impl Subject for Place {
    fn open(&self) -> Box<dyn Output> {
        Box::new(self.output())
    }

    fn shown(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for name in self.names() {
            let content = self.0.content(&Path::new(DIR).join(name)).unwrap();
            lines.extend(String::from_utf8(content).unwrap().lines().map(str::to_owned));
        }
        lines.sort();
        lines
    }

    fn wipe(&self) {
        for name in self.0.list(Path::new(DIR)).unwrap() {
            self.0.remove(&Path::new(DIR).join(name)).unwrap();
        }
    }
}

millstream_testkit::output_contract!(Place::new());

fn write(output: &Files, stamp: BatchStamp, pairs: &[(&str, i64)]) -> Result<()> {
    let staged = output.stage(stamp, &rows(pairs))?;
    output.apply(stamp, &staged)
}

#[test]
fn a_batch_is_one_file_named_by_its_time_with_a_tuple_per_line() {
    let place = Place::new();
    write(&place.output(), stamp(1, 1), &[("the", 3), ("a", 2)]).unwrap();
    assert_eq!(place.names(), ["counts-1700000000001.txt"]);
    let content = place.0.content(Path::new("/out/counts-1700000000001.txt")).unwrap();
    assert_eq!(content, b"(the,3)\n(a,2)\n");
    let cursor = place.0.content(Path::new("/out/.counts.cursor")).unwrap();
    assert_eq!(cursor, b"millstream-files 1 000000000000000000000000000000a1 1 1\n");
}

#[test]
fn delivered_files_may_be_deleted_and_batches_come_again_without_effect() {
    let place = Place::new();
    let output = place.output();
    let staged = output.stage(stamp(1, 1), &rows(&[("a", 1)])).unwrap();
    output.apply(stamp(1, 1), &staged).unwrap();
    place.0.remove(Path::new("/out/counts-1700000000001.txt")).unwrap();
    let output = place.output();
    assert_eq!(output.last_applied().unwrap(), Some((stamp(1, 1).log, 1)));
    output.apply(stamp(1, 1), &staged).unwrap();
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn two_batches_of_one_time_are_two_files() {
    let place = Place::new();
    let output = place.output();
    let again = BatchStamp { batch: 2, ..stamp(1, 1) };
    write(&output, stamp(1, 1), &[("a", 1)]).unwrap();
    write(&output, again, &[("b", 1)]).unwrap();
    assert_eq!(place.names(), ["counts-1700000000001-2.txt", "counts-1700000000001.txt"]);
}

#[test]
fn a_rename_that_was_done_before_a_crash_is_not_missed() {
    let place = Place::new();
    let output = place.output();
    let staged = output.stage(stamp(1, 1), &rows(&[("a", 1)])).unwrap();
    // The cursor cannot be made: the process ends between rename and cursor.
    place.0.fail(Call::Create, 0, 1);
    output.apply(stamp(1, 1), &staged).unwrap_err();
    assert_eq!(place.names().len(), 1);
    let output = place.output();
    assert_eq!(output.last_applied().unwrap(), None);
    output.apply(stamp(1, 1), &staged).unwrap();
    assert_eq!(place.shown(), ["(a,1)"]);
    assert_eq!(output.last_applied().unwrap(), Some((stamp(1, 1).log, 1)));
}

#[test]
fn what_is_staged_and_what_is_applied_survive_a_power_cut() {
    for seed in 0..20 {
        let place = Place::new();
        let output = place.output();
        write(&output, stamp(1, 1), &[("a", 1)]).unwrap();
        let staged = output.stage(stamp(1, 2), &rows(&[("b", 2)])).unwrap();
        let place = Place(place.0.power_cut(seed));
        let output = place.output();
        assert_eq!(output.last_applied().unwrap(), Some((stamp(1, 1).log, 1)), "seed {seed}");
        output.apply(stamp(1, 2), &staged).unwrap();
        let place = Place(place.0.power_cut(seed));
        assert_eq!(place.shown(), ["(a,1)", "(b,2)"], "seed {seed}");
        assert_eq!(place.output().last_applied().unwrap(), Some((stamp(1, 1).log, 2)), "seed {seed}");
    }
}

#[test]
fn temporaries_of_batches_that_were_never_committed_are_removed_and_others_are_not() {
    let place = Place::new();
    let output = place.output();
    write(&output, stamp(1, 1), &[("a", 1)]).unwrap();
    let committed = output.stage(stamp(1, 2), &rows(&[("b", 2)])).unwrap();
    output.stage(stamp(1, 3), &rows(&[("c", 3)])).unwrap();
    output.stage(stamp(1, 4), &rows(&[("d", 4)])).unwrap();
    let other = Files::new("/out/counts").on_disk(Arc::new(place.0.clone()));
    let foreign = other.temporary(BatchStamp { log: LogId(7), ..stamp(1, 9) });
    place.0.put(&Path::new(DIR).join(&foreign), b"(x,1)\n");
    let output = place.output();
    let third = output.stage(stamp(2, 3), &rows(&[("c", 30)])).unwrap();
    assert_eq!(place.temporaries(), 3, "batch 2, the new batch 3, and the other log's");
    output.apply(stamp(1, 2), &committed).unwrap();
    output.apply(stamp(2, 3), &third).unwrap();
    assert_eq!(place.shown(), ["(a,1)", "(b,2)", "(c,30)"]);
    assert!(place.0.content(&Path::new(DIR).join(foreign)).is_some());
    assert_eq!(place.temporaries(), 1);
}

#[test]
fn a_full_disk_fails_the_staging_and_passes() {
    let place = Place::new();
    let output = place.output();
    write(&output, stamp(1, 1), &[("a", 1)]).unwrap();
    place.0.set_capacity(Some(0));
    let error = output.stage(stamp(1, 2), &rows(&[("b", 2)])).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }) && matches!(error.reaction(), Reaction::Retry { .. }));
    place.0.set_capacity(None);
    write(&output, stamp(1, 2), &[("b", 2)]).unwrap();
    assert_eq!(place.shown(), ["(a,1)", "(b,2)"]);
}

#[test]
fn a_cursor_that_is_none_is_refused_and_kept() {
    let place = Place::new();
    place.0.create_dir_all(Path::new(DIR)).unwrap();
    place.0.put(Path::new("/out/.counts.cursor"), b"millstream-files 2 something\n");
    let error = place.output().last_applied().unwrap_err().to_string();
    assert!(error.contains("/out/.counts.cursor: expected millstream-files 1 log epoch batch"), "{error}");
    place.output().apply(stamp(1, 1), &Staged { bytes: Bytes::new() }).unwrap_err();
}

#[test]
fn staged_bytes_that_lead_out_of_the_directory_are_refused() {
    let place = Place::new();
    let error = place.output().apply(stamp(1, 1), &Staged { bytes: "../etc/passwd".into() }).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

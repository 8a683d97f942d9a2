//! The tracker, and marks in its directory.

use apache_avro::types::Record;
use apache_avro::{Schema, Writer};

use super::*;

/// A tracker as Flume leaves it.
fn leave(dir: &Path, file: &Path, offsets: &[i64]) {
    let schema = r#"{"type":"record","name":"TransferStateFileMeta","namespace":"org.apache.flume.serialization","fields":[{"name":"offset","type":"long"}]}"#;
    let schema = Schema::parse_str(schema).unwrap();
    let mut writer = Writer::new(&schema, Vec::new()).unwrap();
    writer.add_user_metadata("file".to_owned(), file.to_str().unwrap()).unwrap();
    for offset in offsets {
        let mut record = Record::new(&schema).unwrap();
        record.put("offset", *offset);
        writer.append_value(record).unwrap();
        writer.flush().unwrap();
    }
    std::fs::create_dir_all(dir).unwrap();
    write(dir.join(".flumespool-main.meta"), writer.into_inner().unwrap()).unwrap();
}

#[tokio::test]
async fn a_file_that_flume_left_half_read_comes_first_and_goes_on_where_the_tracker_stands() {
    let (dir, channel) = spool();
    for (name, seconds) in [("a", 20), ("b", 10)] {
        write(dir.path().join(name), format!("{name}1\n{name}2\n{name}3\n")).unwrap();
        age(&dir.path().join(name), seconds);
    }
    let tracker_dir = dir.path().join(".flumespool");
    leave(&tracker_dir, &dir.path().join("b"), &[3, 6]);
    run_until(dir.path(), &[], &channel, 2).await;
    assert_eq!(channel.texts(), ["b3", "a1", "a2", "a3"]);
    assert_eq!(names(&tracker_dir), [""; 0], "nothing is half read");
}

#[tokio::test]
async fn what_flume_read_beyond_the_channel_is_not_read_again_and_less_is_not_believed() {
    for (had, tracked, wanted) in [(4, 8, &["three"][..]), (8, 4, &["three"]), (4, 4, &["two", "three"])] {
        let (dir, channel) = spool();
        let path = dir.path().join("a");
        write(&path, "one\ntwo\nthree\n").unwrap();
        channel.cover(&millstream_io::FileIdentity::of(&std::fs::metadata(&path).unwrap()).to_string(), had);
        leave(&dir.path().join(".flumespool"), &path, &[tracked]);
        run_until(dir.path(), &[], &channel, 1).await;
        assert_eq!(channel.texts(), wanted, "{had} {tracked}");
    }
}

#[tokio::test]
async fn a_tracker_that_cannot_be_of_this_file_is_passed_over() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    write(&path, "one\n").unwrap();
    leave(&dir.path().join(".flumespool"), &path, &[100]);
    run_until(dir.path(), &[], &channel, 1).await;
    assert_eq!(channel.texts(), ["one"]);
}

#[tokio::test]
async fn what_is_stored_is_tracked_while_a_file_is_followed_and_a_channel_that_forgot_goes_on_there() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"one\ntwo\nthr").unwrap();
    let settings = [("quietMillis", "3600000"), ("trackerDir", "state")];
    let running = start_source(spooldir(dir.path(), &settings), &channel);
    channel.until(|stored| stored.bodies.len() == 2).await;
    let origin = millstream_io::FileIdentity::of(&std::fs::metadata(&path).unwrap()).to_string();
    let state = dir.path().join("state");
    let tracked = || Tracker::open(&state).unwrap().offset(&path, &origin);
    tokio::time::timeout(millstream_testkit::PATIENCE, async {
        while tracked() != Some(8) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("tracked in time");
    running.kill().await;
    file.write_all(b"ee\n").unwrap();
    let forgetful = TestChannel::new();
    run_until(dir.path(), &[("trackerDir", "state")], &forgetful, 1).await;
    assert_eq!(forgetful.texts(), ["three"]);
    assert_eq!(names(&state), [""; 0]);
}

#[tokio::test]
async fn with_tracker_dir_files_stay_as_they_are_and_are_marked() {
    let (dir, channel) = spool();
    std::fs::create_dir(dir.path().join("below")).unwrap();
    for (name, content, seconds) in [("a", b"one\n", 30), ("below/b", b"two\n", 20), ("bad", b"b\xFFd\n", 10)] {
        write(dir.path().join(name), content).unwrap();
        age(&dir.path().join(name), seconds);
    }
    let settings = [("trackingPolicy", "TRACKER_DIR"), ("recursiveDirectorySearch", "true"), ("trackerDir", "marks")];
    run_until(dir.path(), &settings, &channel, 3).await;
    assert_eq!(channel.texts(), ["one", "two"]);
    assert_eq!(names(dir.path()), ["a", "bad", "below", "marks"]);
    let marks = dir.path().join("marks");
    assert_eq!(names(&marks), ["a.COMPLETED", "bad.REJECTED", "below"]);
    assert_eq!(names(&marks.join("below")), ["b.COMPLETED"]);
    // Not again, but for what is new, and what lost its mark.
    std::fs::remove_file(marks.join("a.COMPLETED")).unwrap();
    write(dir.path().join("c"), "three\n").unwrap();
    run_until(dir.path(), &settings, &channel, 5).await;
    assert_eq!(channel.texts(), ["one", "two", "one", "three"]);
}

#[test]
fn a_file_cannot_be_marked_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("trackingPolicy", "tracker_dir"), ("deletePolicy", "immediate")];
    let error = SpoolDir::from_options(&options(dir.path(), &settings)).expect_err("refused").to_string();
    assert!(error.contains("trackingPolicy: tracker_dir marks files that stay"), "{error}");
}

#[tokio::test]
async fn a_tracker_directory_that_cannot_be_made_is_refused_at_its_key() {
    let (dir, channel) = spool();
    write(dir.path().join("file"), "").unwrap();
    let running = start_source(spooldir(dir.path(), &[("trackerDir", "file/below")]), &channel);
    let error = running.outcome().await.expect_err("refused").to_string();
    assert!(error.starts_with("flume.conf:7: a1.sources.r1.trackerDir: "), "{error}");
}

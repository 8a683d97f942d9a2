//! The state of a spooldir source: what the real Flume left is taken over, and it takes over what we left.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use apache_avro::types::Value;
use apache_avro::{Codec, Reader};
use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::peers::OurAgent;
use millstream_tests::written::avro_events;
use millstream_tests::{calls, until_true};

/// Where the events of an agent go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Into a channel that takes 40 and has no sink.
    Blocked,
    /// Into files.
    Open,
}

/// An agent that reads the spool `home` in batches of ten, with these properties of its source.
fn agent(place: &Place, home: &Path, properties: &str, way: Way) -> String {
    let out = place.path("out");
    fs::create_dir_all(&out).unwrap();
    let sink = format!(
        "a1.sinks = k\na1.sinks.k.type = file_roll\na1.sinks.k.channel = c\na1.sinks.k.sink.directory = {}\n\
         a1.sinks.k.sink.rollInterval = 0\na1.sinks.k.sink.serializer = avro_event\na1.sinks.k.sink.batchSize = 10\n",
        out.display()
    );
    let (capacity, sink) = match way {
        Way::Blocked => (40, "a1.sinks =\n"),
        Way::Open => (10_000, &*sink),
    };
    let properties: String = properties.lines().map(|line| format!("a1.sources.r.{line}\n")).collect();
    format!(
        "a1.sources = r\na1.channels = c\na1.sources.r.type = spooldir\na1.sources.r.spoolDir = {}\n\
         a1.sources.r.channels = c\na1.sources.r.batchSize = 10\na1.sources.r.pollDelay = 50\n{properties}\
         a1.channels.c.type = memory\na1.channels.c.capacity = {capacity}\n\
         a1.channels.c.transactionCapacity = 10\na1.channels.c.keep-alive = 1\n{sink}",
        home.display(),
    )
}

/// What the tracker of a spool says: the file's name and the last offset.
fn tracked(home: &Path) -> Option<(String, i64)> {
    let bytes = fs::read(home.join(".flumespool/.flumespool-main.meta")).ok()?;
    let reader = Reader::new(&bytes[..]).ok()?;
    let file = String::from_utf8(reader.user_metadata()["file"].clone()).unwrap();
    let offset = |record| match record {
        Value::Record(fields) => match fields[..] {
            [(_, Value::Long(offset))] => offset,
            _ => panic!("other fields"),
        },
        other => panic!("{other:?}"),
    };
    let offsets: Vec<i64> = reader.map_while(Result::ok).map(offset).collect();
    Some((file, *offsets.last()?))
}

/// Numbered lines.
fn lines(count: i64) -> Vec<u8> {
    (0..count).map(|line| format!("{line} ü\n")).collect::<String>().into_bytes()
}

fn line_number(line: &[u8]) -> i64 {
    String::from_utf8_lossy(line).strip_suffix(" ü").unwrap().parse().unwrap()
}

fn containers(count: i64) -> Vec<u8> {
    calls::container(Codec::Null, count)
}

/// A kind of file: its deserializer, files of so many events, and the number of an event.
struct Kind {
    deserializer: &'static str,
    content: fn(i64) -> Vec<u8>,
    number: fn(&[u8]) -> i64,
}

const AVRO: &str = "deserializer = AVRO";
const KINDS: [Kind; 2] = [
    Kind { deserializer: "deserializer = LINE", content: lines, number: line_number },
    Kind { deserializer: AVRO, content: containers, number: calls::number },
];

// === impl Kind ===

impl Kind {
    /// What is tracked when so many events are stored, whole blocks: of a container, the mark before the next one.
    fn tracked_after(&self, events: i64) -> i64 {
        (self.content)(events).len() as i64 - if self.deserializer == AVRO { 16 } else { 0 }
    }

    /// The numbers of what an agent brought.
    fn brought(&self, place: &Place) -> Vec<i64> {
        avro_events(&place.path("out")).iter().map(|(_, body)| (self.number)(body)).collect()
    }
}

/// Flume, killed when it has read 40 events of 200 of the file `b`; then there is an older file, `a`, of 10.
fn half_read(home: &Path, kind: &Kind) -> Flume {
    let half_read = home.join("b");
    fs::write(&half_read, (kind.content)(200)).unwrap();
    let mut theirs = Flume::agent(Version::V1_11, |place| agent(place, home, kind.deserializer, Way::Blocked));
    let wanted = Some((half_read.display().to_string(), kind.tracked_after(40)));
    theirs.peer().until("its channel is full, and its tracker says so", || tracked(home) == wanted);
    theirs.kill();
    let older = home.join("a");
    fs::write(&older, (kind.content)(10)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    fs::File::options().append(true).open(&older).unwrap().set_modified(time).unwrap();
    theirs
}

#[test]
fn a_file_that_the_killed_real_one_left_half_read_goes_on_here_where_its_tracker_stands() {
    for kind in KINDS {
        let [our_home, their_home] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        half_read(our_home.path(), &kind);
        let mut ours = OurAgent::start(|place| agent(place, our_home.path(), kind.deserializer, Way::Open));
        // The real one itself, after the same.
        let mut theirs = half_read(their_home.path(), &kind);
        let open = agent(theirs.place(), their_home.path(), kind.deserializer, Way::Open);
        fs::write(theirs.place().path("flume.properties"), open).unwrap();
        theirs.start();
        let [our_numbers, their_numbers]: [Vec<i64>; 2] =
            [(40..200).chain(0..10).collect(), (0..10).chain(0..200).collect()];
        for (place, home, wanted) in
            [(ours.place(), &our_home, &our_numbers), (theirs.place(), &their_home, &their_numbers)]
        {
            until_true("the rest is brought", || kind.brought(place).len() >= wanted.len());
            until_true("both files are done with", || ["a", "b"].map(|name| completed(home.path(), name)) == [true; 2]);
        }
        ours.stop();
        theirs.stop();
        assert_eq!(tracked(our_home.path()), None, "no file is half read");
        let brought = [ours.place(), theirs.place()].map(|place| kind.brought(place));
        assert_eq!(brought, [our_numbers, their_numbers], "{}", kind.deserializer);
        differs("spooldir-half-read-first", &brought[0], &brought[1]);
    }
}

#[test]
fn a_file_that_we_left_half_read_when_killed_goes_on_in_the_real_one_where_our_tracker_stands() {
    for kind in KINDS {
        let home = tempfile::tempdir().unwrap();
        // One that goes on: it is tracked while it is followed.
        let keys = format!("{}\nquietMillis = 3600000", kind.deserializer);
        let mut ours = OurAgent::start(|place| agent(place, home.path(), &keys, Way::Open));
        let whole = (kind.content)(200);
        let path = home.path().join("b");
        fs::write(&path, &whole[..(kind.content)(120).len()]).unwrap();
        let wanted = Some((path.display().to_string(), kind.tracked_after(120)));
        until_true("we have tracked what there is", || tracked(home.path()) == wanted);
        ours.kill();
        fs::write(&path, &whole).unwrap();
        let mut theirs = Flume::agent(Version::V1_11, |place| agent(place, home.path(), kind.deserializer, Way::Open));
        until_true("Flume has brought the rest", || kind.brought(theirs.place()).last() == Some(&199));
        until_true("Flume is done with it", || completed(home.path(), "b"));
        theirs.stop();
        assert_eq!(kind.brought(theirs.place()), (120..200).collect::<Vec<_>>(), "{}", kind.deserializer);
    }
}

#[test]
fn marks_of_tracker_dir_are_those_of_the_real_one() {
    const KEYS: &str = "trackingPolicy = tracker_dir\nrecursiveDirectorySearch = true";
    let home = tempfile::tempdir().unwrap();
    let below = home.path().join("below");
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("one"), lines(1)).unwrap();
    fs::write(home.path().join("two"), lines(1)).unwrap();
    let mut theirs = Flume::agent(Version::V1_11, |place| agent(place, home.path(), KEYS, Way::Open));
    let is_marked = |name: &str| completed(&home.path().join(".flumespool"), name);
    let count = |place: &Place| avro_events(&place.path("out")).len();
    theirs.peer().until("Flume has marked both", || is_marked("below/one") && is_marked("two"));
    until_true("Flume has brought both", || count(theirs.place()) == 2);
    theirs.kill();
    fs::write(below.join("three"), lines(1)).unwrap();
    let mut ours = OurAgent::start(|place| agent(place, home.path(), KEYS, Way::Open));
    until_true("we have marked ours", || is_marked("below/three"));
    until_true("we have brought ours", || count(ours.place()) >= 1);
    ours.stop();
    assert_eq!(count(ours.place()), 1, "what Flume marked is not read again");
    fs::write(home.path().join("four"), lines(1)).unwrap();
    theirs.start();
    theirs.peer().until("Flume has marked its own", || is_marked("four"));
    until_true("Flume has brought it", || count(theirs.place()) >= 3);
    theirs.stop();
    assert_eq!(count(theirs.place()), 3, "what we marked is not read again");
}

fn completed(dir: &Path, name: &str) -> bool {
    dir.join(format!("{name}.COMPLETED")).exists()
}

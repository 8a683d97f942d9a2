//! What file_roll and hdfs write beside Flume's own, on directories of this machine: serializers, codecs, local time, rolling
//! by time and by size, names of files, times that are odd or not there.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use apache_avro::types::Value;
use apache_avro::{Codec, Reader};
use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::demo::spool;
use millstream_tests::peers::OurAgent;
use millstream_tests::{calls, until_true};

/// Both agents, of one text of properties; each has directories of its own.
struct Both {
    ours: OurAgent,
    theirs: Flume,
}

/// A file that was written: its path below the sink's directory, and what is in it.
type File = (String, Vec<u8>);

const FILE_ROLL: &str = "type = file_roll\nsink.directory = OUT\n";
const HDFS: &str = "type = hdfs\nhdfs.useRawLocalFileSystem = true\nhdfs.rollInterval = 0\nhdfs.rollSize = 0\n\
                    hdfs.rollCount = 0\nhdfs.idleTimeout = 1\nhdfs.fileType = DataStream\n";

/// A spooldir source with these keys, replicated into all sinks over channels of a type; in their keys `OUT` is a directory of
/// their own.
fn agent(place: &Place, channel: &str, source: &str, sinks: &[(&str, String)]) -> String {
    let dir = place.path("spool");
    fs::create_dir_all(&dir).unwrap();
    let all = |letter| sinks.iter().map(|(name, _)| format!("{letter}{name}")).collect::<Vec<_>>().join(" ");
    let mut text = format!(
        "a1.sources = r1\na1.channels = {channels}\na1.sinks = {}\na1.sources.r1.type = spooldir\n\
         a1.sources.r1.spoolDir = {}\na1.sources.r1.pollDelay = 50\na1.sources.r1.channels = {channels}\n",
        all('k'),
        dir.display(),
        channels = all('c'),
    );
    source.lines().for_each(|line| text.push_str(&format!("a1.sources.r1.{line}\n")));
    for (name, keys) in sinks {
        let out = place.path(name);
        fs::create_dir_all(&out).unwrap();
        text.push_str(&format!("a1.channels.c{name}.type = {channel}\na1.sinks.k{name}.channel = c{name}\n"));
        if channel == "file" {
            let dir = place.path(&format!("channel-{name}"));
            let (checkpoint, data) = (dir.join("checkpoint"), dir.join("data"));
            text.push_str(&format!("a1.channels.c{name}.checkpointDir = {}\n", checkpoint.display()));
            text.push_str(&format!("a1.channels.c{name}.dataDirs = {}\n", data.display()));
        }
        for line in keys.replace("OUT", &out.display().to_string()).lines() {
            text.push_str(&format!("a1.sinks.k{name}.{line}\n"));
        }
    }
    text
}

// === impl Both ===

impl Both {
    #[track_caller]
    fn start(source: &str, sinks: &[(&str, String)]) -> Self {
        Self::start_on("memory", source, sinks)
    }

    #[track_caller]
    fn start_on(channel: &str, source: &str, sinks: &[(&str, String)]) -> Self {
        let properties = |place: &mut Place| agent(place, channel, source, sinks);
        Self { theirs: Flume::agent(Version::V1_11WithHdfsSink, properties), ours: OurAgent::start(properties) }
    }

    /// Puts a file into both spools.
    fn spool(&self, name: &str, content: impl AsRef<[u8]>) {
        for place in [self.ours.place(), self.theirs.place()] {
            spool(&place.path("spool"), name, content.as_ref());
        }
    }

    /// What both have written, ours first.
    fn files(&self, sink: &str) -> [Vec<File>; 2] {
        [self.ours.place(), self.theirs.place()].map(|place| files(&place.path(sink)))
    }

    /// Waits until each has written what `holds`.
    #[track_caller]
    fn until(&self, sink: &str, holds: impl Fn(&[File]) -> bool) -> [Vec<File>; 2] {
        until_true(&format!("{sink} has written"), || self.files(sink).iter().all(|files| holds(files)));
        self.files(sink)
    }
}

/// The files below a directory, by name.
fn files(dir: &Path) -> Vec<File> {
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        let entries = fs::read_dir(next).into_iter().flatten().map(|entry| entry.unwrap().path());
        let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
        dirs.extend(folders);
        all.extend(files);
    }
    all.sort();
    // One may get another name just now.
    let read = |path: PathBuf| Some((path.strip_prefix(dir).unwrap().display().to_string(), fs::read(&path).ok()?));
    all.into_iter().filter_map(read).collect()
}

/// The files as text, those with nothing in them left out; of their names, what the sink was told of them.
fn texts(files: &[File]) -> Vec<(String, String)> {
    let shown = |(name, content): &File| {
        let told: Vec<&str> = name.split(['.', '-']).filter(|part| part.parse::<u64>().is_err()).collect();
        (told.join("."), String::from_utf8(content.clone()).unwrap())
    };
    files.iter().filter(|(_, content)| !content.is_empty()).map(shown).collect()
}

/// Schema, codec and records of a container.
#[derive(Debug, PartialEq)]
struct Container {
    schema: String,
    codec: String,
    records: Vec<Value>,
}

/// The only file, as far as it is a container.
fn container(files: &[File]) -> Option<Container> {
    let [(name, content)] = files else { return None };
    let reader = Reader::new(&**content).ok().filter(|_| !name.ends_with(".tmp"))?;
    let schema = reader.writer_schema().canonical_form();
    let records = reader.collect::<Result<_, _>>().ok()?;
    // Its length is written doubled; none at all means that nothing is compressed.
    let codec = match content.windows(10).position(|window| window == b"avro.codec") {
        Some(at) => &content[at + 11..][..usize::from(content[at + 10] / 2)],
        None => b"null",
    };
    Some(Container { schema, codec: String::from_utf8_lossy(codec).into_owned(), records })
}

const NO_NEWLINE: &str = "serializer.appendNewline = false";

#[test]
fn text_without_newlines_has_the_bytes_of_the_real_one() {
    let serializers = ["text", "header_and_text"];
    let roll = serializers
        .map(|name| format!("{FILE_ROLL}sink.rollInterval = 0\nsink.serializer = {name}\nsink.{NO_NEWLINE}\n"));
    let hdfs = serializers.map(|name| format!("{HDFS}hdfs.path = file://OUT\nserializer = {name}\n{NO_NEWLINE}\n"));
    let [(roll, roll_headers), (hdfs, hdfs_headers)] = [roll, hdfs].map(|[text, headers]| (text, headers));
    let both = Both::start(
        "basenameHeader = true\n",
        &[("roll", roll), ("rollheaders", roll_headers), ("hdfs", hdfs), ("hdfsheaders", hdfs_headers)],
    );
    both.spool("lines", "one\r\n\n  two \u{1f600}\nthree");
    let [plain, with_headers] = [
        "one\r  two \u{1f600}three",
        "{basename=lines} one\r{basename=lines} {basename=lines}   two \u{1f600}{basename=lines} three",
    ];
    for (sink, wanted) in
        [("roll", plain), ("rollheaders", with_headers), ("hdfs", plain), ("hdfsheaders", with_headers)]
    {
        let written = both.until(sink, |files| {
            files.iter().any(|(name, content)| !name.ends_with(".tmp") && content.len() >= wanted.len())
        });
        for files in written {
            assert_eq!(texts(&files).iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), [wanted], "{sink}");
        }
    }
}

#[test]
fn containers_of_every_codec_hold_the_same_events() {
    let codecs = ["null", "deflate", "snappy", "bzip2"];
    let sink = |codec: &&'static str| {
        let keys = format!(
            "serializer = avro_event\nserializer.compressionCodec = {codec}\nserializer.syncIntervalBytes = 4096\n"
        );
        (*codec, format!("{HDFS}hdfs.path = file://OUT\n{keys}"))
    };
    let both = Both::start("basenameHeader = true\n", &codecs.each_ref().map(sink));
    both.spool("lines", (0..1000).map(|number| format!("line {number} \u{1f600}\r\n")).collect::<String>());
    for codec in codecs {
        let whole = |files: &[File]| container(files).is_some_and(|container| container.records.len() == 1000);
        let [ours, theirs] = both.until(codec, whole).map(|files| container(&files));
        assert_eq!(ours, theirs, "ours is left, Flume's is right");
        assert_eq!(ours.unwrap().codec, codec);
    }
}

#[test]
fn a_codec_that_nobody_has_is_none_in_the_real_one_and_refused_here() {
    let sink = |codec: &str| {
        format!("{HDFS}hdfs.path = file://OUT\nserializer = avro_event\nserializer.compressionCodec = {codec}\n")
    };
    let both = Both::start("", &[("odd", sink("snapy")), ("fine", sink("snappy"))]);
    both.spool("lines", "one\n");
    both.until("fine", |files| container(files).is_some_and(|container| container.records.len() == 1));
    let written = || both.files("odd").map(|files| container(&files).map(|container| container.codec));
    until_true("Flume has written", || written()[1].is_some());
    let [ours, theirs] = written();
    assert_eq!([&ours, &theirs], [&None, &Some("null".to_owned())]);
    differs("avro-serializer-codecs", ours, theirs);
    both.ours.process().until("snapy");
}

#[test]
fn datums_become_the_same_records_in_files_of_either_sink() {
    const CLASS: &str = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
    let roll = |more: &str| format!("{FILE_ROLL}sink.rollInterval = 0\nsink.serializer = {CLASS}\n{more}");
    let hdfs = |more: &str| format!("{HDFS}hdfs.path = file://OUT\nserializer = {CLASS}\n{more}");
    let sinks = [
        ("roll", roll("")),
        ("rolldeflate", roll("sink.serializer.compressionCodec = deflate\n")),
        ("hdfs", hdfs("")),
        ("hdfssnappy", hdfs("serializer.compressionCodec = snappy\n")),
    ];
    let literal = Both::start("deserializer = AVRO\ndeserializer.schemaType = LITERAL\n", &sinks);
    literal.spool("calls", calls::container(Codec::Null, 25));
    for (sink, codec) in [("roll", "null"), ("rolldeflate", "deflate"), ("hdfs", "null"), ("hdfssnappy", "snappy")] {
        let whole = |files: &[File]| container(files).is_some_and(|container| container.records.len() == 25);
        let [ours, theirs] = literal.until(sink, whole).map(|files| container(&files));
        assert_eq!(ours, theirs, "{sink}: ours is left, Flume's is right");
        assert_eq!(ours.unwrap().codec, codec);
    }
}

#[test]
fn an_event_that_a_serializer_can_never_write_blocks_the_real_one_and_is_set_aside_here() {
    const CLASS: &str = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
    const SCHEMAS: &str = "interceptors = i1\ninterceptors.i1.type = regex_extractor\n\
                           interceptors.i1.regex = (\"string\")\ninterceptors.i1.serializers = s1\n\
                           interceptors.i1.serializers.s1.name = flume.avro.schema.literal\n";
    let keys = format!("{FILE_ROLL}sink.rollInterval = 0\nsink.serializer = {CLASS}\n");
    let mut both = Both::start_on("file", SCHEMAS, &[("roll", keys)]);
    // Of the second line the first byte is the length that Avro writes: ten bytes follow.
    both.spool("lines", "no schema\n\u{14}\"string\" a\n");
    let written = |both: &Both| both.files("roll").map(|files| container(&files).map(|container| container.records));
    until_true("ours has written what can be", || written(&both)[0].is_some());
    both.theirs.peer().until_log("Could not find schema for event");
    let tries = |both: &mut Both| both.theirs.peer().log().matches("Could not find schema for event").count();
    let so_far = tries(&mut both);
    until_true("Flume tries again", || tries(&mut both) > so_far + 1);
    let [ours, theirs] = written(&both);
    assert_eq!(ours, Some(vec![Value::String("\"string\" a".into())]));
    assert_eq!(theirs, None);
    differs("sink-rejects", ours, theirs);
    both.ours.process().until("event set aside as a dead letter");
}

#[test]
fn datums_are_read_by_the_schema_of_a_file_where_no_header_has_one() {
    const CLASS: &str = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
    let dir = tempfile::tempdir().unwrap();
    let schema = dir.path().join("call.avsc");
    fs::write(&schema, calls::SCHEMA).unwrap();
    let keys = format!(
        "{HDFS}hdfs.path = file://OUT\nserializer = {CLASS}\nserializer.schemaURL = file://{}\n",
        schema.display()
    );
    // The header has only a hash.
    let both = Both::start("deserializer = AVRO\n", &[("hdfs", keys)]);
    both.spool("calls", calls::container(Codec::Deflate(Default::default()), 25));
    let whole = |files: &[File]| container(files).is_some_and(|container| container.records.len() == 25);
    let [ours, theirs] = both.until("hdfs", whole).map(|files| container(&files));
    assert_eq!(ours, theirs, "ours is left, Flume's is right");
}

/// This month, as a path has it.
fn this_month() -> String {
    let output = Command::new("date").arg("+%Y-%m").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn times_that_are_not_there_block_the_real_one_and_are_those_of_writing_here() {
    const SOURCE: &str = "interceptors = i1\ninterceptors.i1.type = regex_extractor\ninterceptors.i1.regex = ^t=(\\\\S*)\n\
                          interceptors.i1.serializers = s1\ninterceptors.i1.serializers.s1.name = timestamp\n";
    let before = this_month();
    let path = "hdfs.path = file://OUT/%Y-%m\nserializer = text\n";
    let mut both = Both::start(
        SOURCE,
        &[
            ("local", format!("{HDFS}{path}hdfs.useLocalTimeStamp = true\nhdfs.filePrefix = p%Y\n")),
            ("missing", format!("{HDFS}{path}hdfs.batchSize = 1\n")),
        ],
    );
    both.spool("lines", "t=1393677347250 of 2014\nno time\nt=soon no number\nt=1393677347250 again\n");
    let complete = |files: &[File]| !files.is_empty() && files.iter().all(|(name, _)| !name.ends_with(".tmp"));
    // One file, of now: its name would tell of a month that begins just now.
    let local = both.until("local", complete).map(|files| texts(&files));
    let lines = "t=1393677347250 of 2014\nno time\nt=soon no number\nt=1393677347250 again\n";
    let now = this_month();
    for files in &local {
        assert_eq!(files.len(), 1, "{files:?}");
        assert!([&before, &now].iter().any(|month| files[0].0.contains(&month[..4])), "{files:?}");
        assert_eq!(files[0].1, lines);
    }

    // The event without a time is tried again and again, and what is behind it waits.
    both.theirs.peer().until_log("Expected timestamp in the Flume event headers, but it was null");
    until_true("ours has written all", || complete(&both.files("missing")[0]) && both.files("missing")[0].len() == 2);
    until_true("Flume's is complete", || complete(&both.files("missing")[1]));
    let tries = |both: &mut Both| both.theirs.peer().log().matches("Expected timestamp").count();
    let so_far = tries(&mut both);
    until_true("it is tried again", || tries(&mut both) > so_far);
    let [ours, theirs] = both.files("missing").map(|files| {
        files
            .into_iter()
            .map(|(name, content)| (name[..7].to_owned(), String::from_utf8(content).unwrap()))
            .collect::<Vec<_>>()
    });
    let pair = |month: &str, text: &str| (month.to_owned(), text.to_owned());
    let first = pair("2014-03", "t=1393677347250 of 2014\nt=1393677347250 again\n");
    assert_eq!(ours[0], first);
    assert!([&before, &now].contains(&&ours[1].0), "{ours:?}");
    assert_eq!(ours[1].1, "no time\nt=soon no number\n");
    assert_eq!(theirs, [pair("2014-03", "t=1393677347250 of 2014\n")]);
    differs("hdfs-no-timestamp", ours, theirs);
    assert!(!both.ours.process().lines_with("timestamp").is_empty(), "it is told");
}

/// Directories, and the text of the files in each.
fn directories(files: &[File]) -> Vec<(String, String)> {
    let mut directories = BTreeMap::<String, String>::new();
    for (name, content) in files {
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        directories.entry(directory.to_owned()).or_default().push_str(str::from_utf8(content).unwrap());
    }
    directories.into_iter().collect()
}

#[test]
fn odd_times_and_headers_lead_where_those_of_the_real_one_lead_but_for_what_is_listed() {
    const SOURCE: &str = "interceptors = i1\ninterceptors.i1.type = regex_extractor\ninterceptors.i1.regex = ^(\\\\d+) (\\\\S+)\n\
                          interceptors.i1.serializers = s1 s2\ninterceptors.i1.serializers.s1.name = timestamp\n\
                          interceptors.i1.serializers.s2.name = host\n";
    let sink = |path: &str, more: &str| {
        format!("{HDFS}hdfs.path = file://OUT/{path}\nserializer = text\nhdfs.batchSize = 1\n{more}")
    };
    let both = Both::start(
        SOURCE,
        &[
            ("years", sink("%Y", "")),
            ("rounded", sink("%Y", "hdfs.round = true\nhdfs.roundValue = 10\n")),
            ("hosts", sink("in/%{host}", "")),
            ("zone", sink("%H", "hdfs.timeZone = Nowhere/Never\n")),
        ],
    );
    let [fine, zero, far, up] = ["1393677347250 fine\n", "0 zero\n", "253402387200000 far\n", "1393677347251 ..\n"];
    both.spool("lines", [fine, zero, far, up].concat());
    let brings = |sink: &str, ours: &[(&str, &str)], theirs: &[(&str, &str)]| {
        let there = |index: usize, wanted: &[(&str, &str)]| {
            let owned = wanted.iter().map(|(directory, text)| ((*directory).to_owned(), (*text).to_owned()));
            let wanted: Vec<(String, String)> = owned.collect();
            until_true(&format!("{sink} has {wanted:?}"), || directories(&both.files(sink)[index]) == wanted);
        };
        there(0, ours);
        there(1, theirs);
        both.files(sink).map(|files| directories(&files))
    };
    let of_2014 = [fine, up].concat();
    let here = [("1970", zero), ("2014", &of_2014), ("9999", far)];
    let [ours, theirs] = brings("years", &here, &[("10000", far), ("1970", zero), ("2014", &of_2014)]);
    differs("hdfs-year-9999", ours, theirs);
    let [ours, theirs] = brings("rounded", &here, &[("2014", fine)]);
    differs("hdfs-round-before-1970", ours, theirs);
    let [ours, theirs] = brings(
        "hosts",
        &[("in/%2E%2E", up), ("in/far", far), ("in/fine", fine), ("in/zero", zero)],
        &[("", up), ("in/far", far), ("in/fine", fine), ("in/zero", zero)],
    );
    differs("hdfs-headers-in-paths", ours, theirs);
    let [ours, theirs] = brings("zone", &[], &[("00", &[zero, far].concat()), ("12", &of_2014)]);
    differs("hdfs-time-zone", ours, theirs);
    both.ours.process().until("Nowhere/Never");
}

#[test]
fn files_are_rolled_by_time_as_those_of_the_real_one() {
    let both = Both::start("", &[("roll", format!("{FILE_ROLL}sink.rollInterval = 1\nsink.serializer = text\n"))]);
    both.spool("1", "one\n");
    let contains =
        |text: &'static str| move |files: &[File]| files.iter().any(|(_, content)| content == text.as_bytes());
    both.until("roll", contains("one\n"));
    // The real one shows that intervals pass.
    let count = both.files("roll")[1].len();
    until_true("three intervals are over", || both.files("roll")[1].len() >= count + 3);
    both.spool("2", "two\nthree\n");
    let [ours, theirs] = both.until("roll", contains("two\nthree\n"));
    for files in [&ours, &theirs] {
        assert_eq!(texts(files).iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["one\n", "two\nthree\n"]);
    }
    let empty = |files: &[File]| files.iter().any(|(_, content)| content.is_empty());
    assert!(!empty(&ours), "{ours:?}");
    differs("file-roll-empty-files", empty(&ours), empty(&theirs));
}

/// Texts of the files that are complete, in their order.
fn complete(files: &[File]) -> Vec<String> {
    let complete: Vec<File> = files.iter().filter(|(name, _)| !name.ends_with(".tmp")).cloned().collect();
    texts(&complete).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn files_of_hdfs_end_at_their_size_and_in_their_time_as_those_of_the_real_one() {
    let sink = |more: &str| format!("{HDFS}hdfs.path = file://OUT\nserializer = text\n{more}\n");
    let both = Both::start(
        "",
        &[
            ("size", sink("hdfs.rollSize = 25")),
            ("count", sink("hdfs.rollSize = 25\nhdfs.rollCount = 2\nhdfs.batchSize = 3")),
            ("time", sink("hdfs.rollInterval = 1\nhdfs.idleTimeout = 0")),
        ],
    );
    let lines = |numbers: std::ops::Range<u32>| numbers.map(|number| format!("line {number:05}\n")).collect::<String>();
    both.spool("1", lines(0..10));
    // Bodies of ten bytes.
    let of_size = [lines(0..3), lines(3..6), lines(6..9), lines(9..10)];
    let of_count = [lines(0..2), lines(2..4), lines(4..6), lines(6..8), lines(8..10)];
    for (name, wanted) in [("size", &of_size[..]), ("count", &of_count), ("time", &[lines(0..10)])] {
        both.until(name, |files| complete(files) == wanted);
    }
    both.spool("2", lines(10..12));
    both.until("time", |files| complete(files) == [lines(0..10), lines(10..12)]);
}

/// Names of files, each number as how many digits it has.
fn shapes(files: &[File]) -> Vec<String> {
    let shape = |(name, _): &File| {
        let mut shape = String::new();
        for run in name.as_bytes().chunk_by(|one, other| one.is_ascii_digit() == other.is_ascii_digit()) {
            match run[0].is_ascii_digit() {
                true => shape.push_str(&format!("<{}>", run.len())),
                false => shape.push_str(std::str::from_utf8(run).unwrap()),
            }
        }
        shape
    };
    files.iter().filter(|(_, content)| !content.is_empty()).map(shape).collect()
}

#[test]
fn files_of_file_roll_are_named_as_those_of_the_real_one() {
    let sinks = [
        ("plain", "", "<13>-<1>"),
        ("both", "sink.pathManager.prefix = logs-\nsink.pathManager.extension = txt", "logs-<13>-<1>.txt"),
        ("extension", "sink.pathManager = default\nsink.pathManager.extension = txt", "<13>-<1>.txt"),
        (
            "rolltime",
            "sink.pathManager = rolltime\nsink.pathManager.prefix = logs-\nsink.pathManager.extension = a.b",
            "",
        ),
    ];
    let sink = |(name, more, _): (&'static str, &str, &str)| {
        (name, format!("{FILE_ROLL}sink.rollInterval = 0\nsink.serializer = text\n{more}\n"))
    };
    let both = Both::start("", &sinks.map(sink));
    both.spool("1", "one\n");
    for (name, _, wanted) in sinks {
        let [ours, theirs] =
            both.until(name, |files| files.iter().any(|(_, content)| content == b"one\n")).map(|files| shapes(&files));
        assert_eq!(ours, theirs, "{name}: ours is left, Flume's is right");
        assert!(wanted.is_empty() || ours == [wanted], "{name}: {ours:?}");
    }
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are_behind_headers_as_in_the_real_one() {
    const BLOB: &str =
        "deserializer = org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder\nbasenameHeader = true\n";
    let both = Both::start(
        BLOB,
        &[
            ("roll", format!("{FILE_ROLL}sink.rollInterval = 0\nsink.serializer = header_and_text\n")),
            ("hdfs", format!("{HDFS}hdfs.path = file://OUT\nserializer = header_and_text\n")),
        ],
    );
    let body = b"a\xFF\xC3b\xE9 \x80\x00\xED\xA0\xBD\r\n\xF0\x9F";
    both.spool("odd", body);
    let wanted = [&b"{basename=odd} "[..], body, b"\n"].concat();
    for sink in ["roll", "hdfs"] {
        both.until(sink, |files| files.iter().any(|(name, content)| !name.ends_with(".tmp") && *content == wanted));
    }
}

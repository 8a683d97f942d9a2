//! The hdfs sink beside Flume's own, on directories of this machine: the same properties and events, the files compared.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;

/// An agent that reads a spool with `lines`, takes their time, level and host into headers, and writes them.
fn agent(place: &mut Place, lines: &str, sink: &str) -> String {
    fs::create_dir_all(place.path("spool")).unwrap();
    fs::write(place.path("spool/lines"), lines).unwrap();
    let (spool, out) = (place.path("spool"), place.path("out"));
    let sink: String = sink.lines().map(|line| format!("a1.sinks.k1.{line}\n")).collect();
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = spooldir\na1.sources.r1.spoolDir = {}\na1.sources.r1.channels = c1\n\
         a1.sources.r1.interceptors = i1\na1.sources.r1.interceptors.i1.type = regex_extractor\n\
         a1.sources.r1.interceptors.i1.regex = ^(\\\\d+) (\\\\S+) (\\\\S*)\n\
         a1.sources.r1.interceptors.i1.serializers = s1 s2 s3\n\
         a1.sources.r1.interceptors.i1.serializers.s1.name = timestamp\n\
         a1.sources.r1.interceptors.i1.serializers.s2.name = level\n\
         a1.sources.r1.interceptors.i1.serializers.s3.name = host.name\n\
         a1.channels.c1.type = memory\na1.channels.c1.capacity = 10000\n\
         a1.sinks.k1.type = hdfs\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.hdfs.path = file://{}/%Y-%m-%d/%H%M/%{{level}}\na1.sinks.k1.hdfs.useRawLocalFileSystem = true\n\
         {sink}",
        spool.display(),
        out.display(),
    )
}

/// The files below a directory, by their directory, the beginning and the end of their name: what is between is a number.
/// Files of the same name but for the number stand in its order.
fn files(dir: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { all.push(path) }
        }
    }
    all.sort();
    let mut named: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for path in all {
        let name = path.strip_prefix(dir).unwrap().display().to_string();
        let kept: Vec<&str> = name.split('.').filter(|part| part.len() < 13 || part.parse::<u64>().is_err()).collect();
        // It may have got another name just now.
        named.entry(kept.join(".")).or_default().extend(fs::read(path).ok());
    }
    named
}

/// Runs both until no file is in use any more, once there are `count`; gives what both have.
#[track_caller]
fn side_by_side(lines: &str, sink: &str, count: usize, plain: fn(&[u8]) -> Vec<u8>) -> BTreeMap<String, Vec<String>> {
    let mut ours = OurAgent::start(|place| agent(place, lines, sink));
    let mut theirs = Flume::agent(Version::V1_11WithHdfsSink, |place| agent(place, lines, sink));
    let settled = |place: &Place| {
        let files = files(&place.path("out"));
        files.values().map(Vec::len).sum::<usize>() == count && files.keys().all(|name| !name.ends_with(".tmp"))
    };
    until_true("both have completed every file", || settled(ours.place()) && settled(theirs.place()));
    ours.stop();
    theirs.stop();
    let read = |place: &Place| -> BTreeMap<String, Vec<String>> {
        let text = |content: &Vec<u8>| String::from_utf8(plain(content)).unwrap();
        files(&place.path("out")).into_iter().map(|(name, files)| (name, files.iter().map(text).collect())).collect()
    };
    let (ours, theirs) = (read(ours.place()), read(theirs.place()));
    assert_eq!(ours, theirs, "ours is left, Flume's is right");
    ours
}

#[test]
fn with_few_files_open_the_events_of_a_transaction_are_in_fewer_files_than_flumes() {
    const FEW: &str = "hdfs.maxOpenFiles = 2\nhdfs.rollInterval = 0\nhdfs.rollSize = 0\nhdfs.rollCount = 0\nhdfs.idleTimeout = 1\n\
                       hdfs.fileType = DataStream\nserializer = text\n";
    let lines: String =
        ["A", "B", "C"].iter().cycle().take(6).map(|level| format!("1393677347250 {level} h x\n")).collect();
    let mut ours = OurAgent::start(|place| agent(place, &lines, FEW));
    let mut theirs = Flume::agent(Version::V1_11WithHdfsSink, |place| agent(place, &lines, FEW));
    let written = |place: &Place| files(&place.path("out"));
    let counts = |place: &Place| written(place).values().map(Vec::len).collect::<Vec<_>>();
    let settled = |place: &Place| {
        let files = written(place);
        let bytes: usize = files.values().flatten().map(Vec::len).sum();
        bytes == lines.len() && files.keys().all(|name| !name.ends_with(".tmp"))
    };
    until_true("both have completed every file", || settled(ours.place()) && settled(theirs.place()));
    ours.stop();
    theirs.stop();
    let [ours, theirs] = [counts(ours.place()), counts(theirs.place())];
    assert_eq!((&*ours, &*theirs), (&[1, 1, 1][..], &[2, 2, 2][..]));
    differs("hdfs-max-open-files", ours, theirs);
}

/// What a program makes of `content` on its standard input.
fn through(program: &str, content: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let mut child = command.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &content).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{program}: {}", output.status);
    output.stdout
}

/// Milliseconds, level, host, text: two days, three levels.
const LINES: &str = "\
1393677347250 ERROR web-1 one\n\
1393677347999 WARN web-2 two\n\
1393677947250 ERROR web-1 three\n\
1393721999999 ERROR web-3 four \u{e9}\u{1f600}\n\
1393722000000 INFO  five\n\
1393677347251 ERROR web-1 six\n\
1393677347252 ERROR web-9 seven\n";

const ROUNDED: &str = "\
hdfs.round = true\nhdfs.roundValue = 10\nhdfs.roundUnit = minute\nhdfs.timeZone = Asia/Kolkata\n\
hdfs.filePrefix = ev-%{host.name}-%y%j\nhdfs.fileSuffix = .log\nhdfs.inUsePrefix = _\n\
hdfs.rollInterval = 0\nhdfs.rollSize = 0\nhdfs.idleTimeout = 1\n";

#[test]
fn streams_are_in_the_same_files_with_the_same_lines() {
    let sink = format!("{ROUNDED}hdfs.rollCount = 2\nhdfs.fileType = DataStream\nserializer = text\n");
    // Of one path, three errors make two files of two and one.
    let both = side_by_side(&LINES.replace("web-9", "web-1"), &sink, 6, <[u8]>::to_vec);
    let errors = &both["2014-03-01/1800/ERROR/ev-web-1-14060.log"];
    assert_eq!(errors.len(), 2, "{both:?}");
}

/// Lines like `{b=2, a=1} body` with their headers sorted: Java's map has an order of its own.
fn with_sorted_headers(file: &[u8]) -> Vec<u8> {
    let sorted = |line: &str| {
        let (headers, body) = line.strip_prefix('{').unwrap().split_once('}').unwrap();
        let mut headers: Vec<&str> = headers.split(", ").collect();
        headers.sort_unstable();
        format!("{{{}}}{body}\n", headers.join(", "))
    };
    std::str::from_utf8(file).unwrap().lines().map(sorted).collect::<String>().into_bytes()
}

#[test]
fn streams_with_headers_have_the_same_headers_and_lines() {
    let sink = format!("{ROUNDED}hdfs.rollCount = 0\nhdfs.fileType = DataStream\nserializer = header_and_text\n");
    let both = side_by_side(LINES, &sink, 6, with_sorted_headers);
    assert!(both.values().flatten().all(|line| line.contains("host.name") || line.contains("timestamp")), "{both:?}");
}

/// Moments at which something changes, in some zone: each event has its own. A 0 blocks Flume's sink where it rounds, and
/// times end here in the year 9999: in docs/compat.md.
const MOMENTS: &str = "\
1 a x the beginning\n\
951782399999 b y the last of a 28th\n\
951826500000 c z leap day\n\
1388534399123 d x the end of a year\n\
1394348399999 e x before the clocks of New York go forward\n\
1394348400000 f x after\n\
1396706400000 g x in the half hour that comes twice on Lord Howe\n\
1396708200000 h x again\n\
1414909800000 i x in the hour that comes twice in New York\n\
1414911600000 j x behind it\n\
4102444800001 k x the year 2100\n\
253370764800000 l x the year 9999\n";

/// Every escape, a letter that is none, a header that is not there; `%D` makes directories.
const ESCAPES: &str = "hdfs.filePrefix = %D/%a,%A,%b,%B,%c,%d,%e,%H,%I,%j,%k,%l,%m,%n,%M,%p,%s,%S,%t,%y,%Y,%z,%%,%q,%-,\
                       %{none},%{host.name}\nhdfs.rollInterval = 0\nhdfs.rollSize = 0\nhdfs.rollCount = 0\n\
                       hdfs.idleTimeout = 1\nhdfs.fileType = DataStream\n";

#[test]
fn every_escape_stands_for_the_same_in_every_zone_rounded_or_not() {
    for time in [
        "",
        "hdfs.timeZone = America/New_York\nhdfs.round = true\nhdfs.roundValue = 6\nhdfs.roundUnit = hour\n",
        "hdfs.timeZone = Australia/Lord_Howe\nhdfs.round = true\nhdfs.roundValue = 45\nhdfs.roundUnit = minute\n",
        "hdfs.timeZone = GMT-03:30\nhdfs.round = true\nhdfs.roundValue = 7\n",
    ] {
        let both = side_by_side(MOMENTS, &format!("{ESCAPES}{time}"), MOMENTS.lines().count(), <[u8]>::to_vec);
        assert!(both.values().all(|contents| contents.len() == 1), "{time}: {both:?}");
    }
}

#[test]
fn compressed_streams_hold_the_same_lines() {
    for (codec, program) in [("gzip", "gzip"), ("bzip2", "bzip2")] {
        let sink = format!("{ROUNDED}hdfs.rollCount = 0\nhdfs.fileType = CompressedStream\nhdfs.codeC = {codec}\n");
        let plain = if program == "gzip" {
            |content: &[u8]| through("gzip", content)
        } else {
            |content: &[u8]| through("bzip2", content)
        };
        let both = side_by_side(LINES, &sink, 6, plain);
        assert!(both.contains_key("2014-03-02/0630/INFO/ev--14061.log"), "{both:?}");
    }
}

/// A SequenceFile without the marks in it: their value is drawn for each file, and they stand between transactions.
fn without_marks(file: &[u8]) -> Vec<u8> {
    // The header ends with the value, behind the count of metadata.
    let class = if file.windows(4).any(|window| window == b"Text") { "Text" } else { "BytesWritable" };
    let value = file.windows(class.len()).position(|window| window == class.as_bytes()).unwrap() + class.len() + 2 + 4;
    let mark = [b"\xff\xff\xff\xff", &file[value..value + 16]].concat();
    let mut plain = file[..value].to_vec();
    let mut rest = &file[value + 16..];
    while !rest.is_empty() {
        let taken = if rest.starts_with(&mark) { 0 } else { 1 };
        plain.extend_from_slice(&rest[..taken]);
        rest = &rest[if taken == 0 { mark.len() } else { 1 }..];
    }
    // For the test to read: every byte is a character.
    plain.iter().map(|&byte| char::from(byte)).collect::<String>().into_bytes()
}

#[test]
fn sequence_files_have_the_same_bytes() {
    for format in ["Writable", "Text"] {
        let sink = format!("{ROUNDED}hdfs.rollCount = 0\nhdfs.writeFormat = {format}\n");
        let both = side_by_side(LINES, &sink, 6, without_marks);
        let file = &both["2014-03-02/0630/INFO/ev--14061.log"][0];
        assert!(file.starts_with("SEQ\u{6}\u{21}org.apache.hadoop.io.LongWritable"), "{file:?}");
        assert!(file.ends_with("1393722000000 INFO  five"), "{file:?}");
    }
}

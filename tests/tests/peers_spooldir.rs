//! The spooldir source beside Flume's own: the same files, the events and the names of the files compared.
//!
//! Where we differ on purpose, the tests assert just that.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use apache_avro::{Codec, Schema};
use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::peers::OurAgent;
use millstream_tests::written::{Event, avro_events};
use millstream_tests::{calls, comes_true, until_true, varint};

/// A source of the agents: its name, its own properties, what lies in its directory, oldest first, two of each age.
#[derive(Debug, Clone)]
struct Spool {
    name: &'static str,
    properties: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
}

/// Both agents, of one text of properties; each has directories of its own.
struct Both {
    ours: OurAgent,
    theirs: Flume,
}

/// What came of each source, in order: ours first.
struct Brought(BTreeMap<String, [Vec<Event>; 2]>);

// === impl Spool ===

impl Spool {
    fn new(name: &'static str, properties: &'static str, files: &[(&'static str, &[u8])]) -> Self {
        Self { name, properties, files: files.iter().map(|&(file, content)| (file, content.to_vec())).collect() }
    }

    /// Makes its directory.
    fn fill(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for (index, (name, content)) in (0..).zip(&self.files) {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + index / 2);
            fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        }
    }
}

// === impl Both ===

impl Both {
    #[track_caller]
    fn start(spools: &[Spool]) -> Self {
        let properties = |place: &mut Place| agent(place, spools);
        Self { theirs: Flume::agent(Version::V1_11, properties), ours: OurAgent::start(properties) }
    }

    /// Waits until each source has brought so many events: here, and there.
    #[track_caller]
    fn until_events(&self, counts: &[(&str, usize, usize)]) {
        for (name, our_count, their_count) in counts {
            for (place, count) in [(self.ours.place(), our_count), (self.theirs.place(), their_count)] {
                let out = place.path(&format!("out-{name}"));
                until_true(&format!("{count} events in {}", out.display()), || avro_events(&out).len() >= *count);
            }
        }
    }

    /// Waits until these files are in the directory of a source: here, and there.
    #[track_caller]
    fn until_left(&self, name: &str, ours: &[&str], theirs: &[&str]) {
        for (place, wanted) in [(self.ours.place(), ours), (self.theirs.place(), theirs)] {
            let dir = place.path(name);
            let mut found = Vec::new();
            let is_so = || {
                found = files(&dir);
                found == wanted
            };
            assert!(comes_true(is_so), "in {}: {found:?}", dir.display());
        }
    }

    /// Ends both.
    fn stop(mut self, spools: &[Spool]) -> Brought {
        self.ours.stop();
        self.theirs.stop();
        let places = [self.ours.place(), self.theirs.place()];
        let of = |name| places.map(|place| brought(place, name));
        Brought(spools.iter().map(|spool| (spool.name.to_owned(), of(spool.name))).collect())
    }
}

// === impl Brought ===

impl Brought {
    /// Asserts that both brought the same, in the same order.
    #[track_caller]
    fn assert_same(&self, names: &[&str]) {
        for name in names {
            let [ours, theirs] = &self.0[*name];
            for (index, (our, their)) in ours.iter().zip(theirs).enumerate() {
                assert_eq!(told(our), told(their), "event {index} of {name}: ours is left, Flume's is right");
            }
            assert_eq!(ours.len(), theirs.len(), "{name}: ours is left, Flume's is right");
        }
    }

    /// Asserts what the bodies are, and gives them: ours, and Flume's.
    #[track_caller]
    fn assert_bodies(&self, name: &str, ours: &[&str], theirs: &[&str]) -> [Vec<String>; 2] {
        let bodies = |events: &[Event]| -> Vec<String> {
            events.iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect()
        };
        let brought = self.0[name].each_ref().map(|events| bodies(events));
        assert_eq!(brought[0], ours, "{name} here");
        assert_eq!(brought[1], theirs, "{name} of Flume");
        brought
    }
}

/// An agent in which each of these sources has a channel of its own, and a directory of its own for what comes.
fn agent(place: &Place, spools: &[Spool]) -> String {
    let all = |letter| spools.iter().map(|spool| format!("{letter}{}", spool.name)).collect::<Vec<_>>().join(" ");
    let mut text = format!("a1.sources = {}\na1.channels = {}\na1.sinks = {}\n", all('r'), all('c'), all('k'));
    for spool in spools {
        let name = spool.name;
        let (out, dir) = (place.path(&format!("out-{name}")), place.path(name));
        fs::create_dir_all(&out).unwrap();
        spool.fill(&dir);
        for line in spool.properties.lines() {
            text.push_str(&format!("a1.sources.r{name}.{}\n", line.trim()));
        }
        text.push_str(&format!(
            "a1.sources.r{name}.type = spooldir\na1.sources.r{name}.spoolDir = {}\na1.sources.r{name}.pollDelay = 50\n\
             a1.sources.r{name}.channels = c{name}\na1.channels.c{name}.type = memory\n\
             a1.channels.c{name}.capacity = 100000\na1.channels.c{name}.transactionCapacity = 1000\n\
             a1.sinks.k{name}.type = file_roll\na1.sinks.k{name}.channel = c{name}\n\
             a1.sinks.k{name}.sink.directory = {}\na1.sinks.k{name}.sink.rollInterval = 0\n\
             a1.sinks.k{name}.sink.serializer = avro_event\n",
            dir.display(),
            out.display()
        ));
    }
    text
}

/// What a source brought; its headers name the place so that they can be compared.
fn brought(place: &Place, name: &str) -> Vec<Event> {
    let mut events = avro_events(&place.path(&format!("out-{name}")));
    let home = place.dir().display().to_string();
    for value in events.iter_mut().flat_map(|(headers, _)| headers.values_mut()) {
        *value = value.replace(&home, "PLACE");
    }
    events
}

/// Paths of the files below a directory, sorted; trackers of what is half read are of no interest.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path()).iter().map(|below| format!("{name}/{below}"))),
            false if name == ".flumespool-main.meta" => {}
            false => found.push(name),
        }
    }
    found.sort();
    found
}

/// An event for people.
fn told((headers, body): &Event) -> String {
    format!("{headers:?} {} bytes: {}", body.len(), body.escape_ascii())
}

#[test]
fn odd_lines_are_the_events_of_the_real_one() {
    // Around the buffers of 16 kB in which Flume decodes.
    let wide: String = (0..5000).map(|line| format!("{}ä€😀{}\n", "x".repeat(line % 7), line)).collect();
    let long = format!("{}\n{}\nshort\n{}", "a".repeat(5000), "ü".repeat(2048), "end".repeat(1000));
    let odd = "a\r\n\n\r\nb\rc\n  blanks \t\nünï €\n\u{feff}mark\nnul \0 in it\nlast";
    let invalid = b"fine\nb\xFFd \xC3\nlone \x80\xBF\ncut \xE2\x82\nover \xC0\xAF\nlast\n";
    let japanese = b"\x93\xFA\x96{\x8C\xEA\n\x83\\ \x83|\n";
    let spools = [
        Spool::new("line", "", &[("1", odd.as_bytes()), ("2", wide.as_bytes()), ("3", long.as_bytes())]),
        Spool::new(
            "short",
            "deserializer.maxLineLength = 5\nbatchSize = 3",
            &[("1", "12345\n1234\n123456\näöüßä\n1234567890\nx".as_bytes())],
        ),
        Spool::new("old", "bufferMaxLineLength = 3\ndeserializer.maxLineLength = 5", &[("1", b"123456\n12\n")]),
        Spool::new("latin", "inputCharset = ISO-8859-1", &[("1", b"gr\xFC\xDFe \x80\n")]),
        Spool::new("western", "inputCharset = windows-1252", &[("1", b"\x80 \x93quoted\x94\n\xFF\n")]),
        Spool::new("japanese", "inputCharset = Shift_JIS", &[("1", japanese)]),
        Spool::new("chinese", "inputCharset = GBK\nbasenameHeader = true", &[("1", b"\xD6\xD0\xCE\xC4\n\x81\x40\n")]),
        Spool::new("ascii", "inputCharset = US-ASCII\ndecodeErrorPolicy = REPLACE", &[("1", "grüße\nok\n".as_bytes())]),
        Spool::new("replace", "decodeErrorPolicy = REPLACE", &[("1", invalid)]),
        Spool::new("ignore", "decodeErrorPolicy = IGNORE", &[("1", invalid)]),
    ];
    let long_events = 3 + 2 + 1 + 2;
    let both = Both::start(&spools);
    let counts = [
        ("line", 9 + 5000 + long_events),
        ("short", 11),
        ("old", 4),
        ("latin", 1),
        ("western", 2),
        ("japanese", 2),
        ("chinese", 2),
        ("ascii", 2),
        ("replace", 6),
        ("ignore", 6),
    ];
    both.until_events(&counts.map(|(name, count)| (name, count, count)));
    let brought = both.stop(&spools);
    brought.assert_same(&counts.map(|(name, _)| name));
    brought.assert_bodies("old", &["123", "456", "", "12"], &["123", "456", "", "12"]);
}

#[test]
fn lines_differ_from_the_real_one_only_where_compat_says_so() {
    let invalid = b"fine\nb\xFFd\nlast\n";
    let spools = [
        Spool::new("fail", "batchSize = 1", &[("1", invalid), ("2", b"next\n")]),
        Spool::new("empty", "", &[("1", b""), ("2", b"next\n"), ("3", b"")]),
        Spool::new("pairs", "deserializer.maxLineLength = 5", &[("1", "abcd😀efg\n".as_bytes())]),
        // A byte to which windows-1252 gives no meaning.
        Spool::new("open", "inputCharset = windows-1252", &[("1", b"\x9D\n")]),
        Spool::new("marked", "batchSize = 1\ntrackingPolicy = tracker_dir", &[("1", invalid), ("2", b"next\n")]),
        Spool::new("again", "", &[("1", b"other\n"), ("1.COMPLETED", b"of before\n"), ("2", b"next\n")]),
    ];
    let both = Both::start(&spools);
    both.until_events(&[("fail", 2, 1), ("empty", 1, 3), ("pairs", 2, 2), ("open", 1, 0), ("marked", 2, 1)]);
    both.until_events(&[("again", 2, 1)]);
    // It stops for good; we set the file aside and go on.
    both.until_left("fail", &["1.REJECTED", "2.COMPLETED"], &["1", "2"]);
    both.until_left(
        "empty",
        &["1.COMPLETED", "2.COMPLETED", "3.COMPLETED"],
        &["1.COMPLETED", "2.COMPLETED", "3.COMPLETED"],
    );
    both.until_left("open", &["1.COMPLETED"], &["1"]);
    both.until_left("marked", &[".flumespool/1.REJECTED", ".flumespool/2.COMPLETED", "1", "2"], &["1", "2"]);
    both.until_left("again", &["1.COMPLETED", "1.REJECTED", "2.COMPLETED"], &["1", "1.COMPLETED", "2"]);
    let brought = both.stop(&spools);
    let [ours, theirs] = brought.assert_bodies("fail", &["fine", "next"], &["fine"]);
    differs("spooldir-bad-file", ours, theirs);
    let [ours, theirs] = brought.assert_bodies("marked", &["fine", "next"], &["fine"]);
    differs("spooldir-rejected-mark", ours, theirs);
    let [ours, theirs] = brought.assert_bodies("empty", &["next"], &["", "next", ""]);
    differs("spooldir-empty-file", ours, theirs);
    let [ours, theirs] = brought.assert_bodies("pairs", &["abcd😀", "efg"], &["abcd?", "?efg"]);
    differs("spooldir-surrogate-pairs", ours, theirs);
    let [ours, theirs] = brought.assert_bodies("open", &["\u{9d}"], &[]);
    differs("spooldir-charset-tables", ours, theirs);
    let [ours, theirs] = brought.assert_bodies("again", &["other", "next"], &["other"]);
    differs("spooldir-bad-file", ours, theirs);
}

#[test]
fn files_are_chosen_ordered_named_and_completed_as_the_real_one_does() {
    const A: &[u8] = b"a\n";
    let spools = [
        Spool::new(
            "named",
            "basenameHeader = true\nbasenameHeaderKey = name\nfileHeader = true\nfileHeaderKey = path",
            &[("a b", A), ("ünï", A), (".hidden", A), ("done.COMPLETED", A), ("x,y=z}", A), ("UPPER.completed", A)],
        ),
        Spool::new("headers", "basenameHeader = true\nfileHeader = true", &[("1", b"a\nb\n"), ("2", A)]),
        Spool::new("suffix", "fileSuffix = .ok", &[("1", A), ("2.ok", A), ("3.COMPLETED", A)]),
        Spool::new(
            "chosen",
            "includePattern = ^.*\\\\.log$\nignorePattern = ^b.*$\nbasenameHeader = true",
            &[("a.log", A), ("b.log", A), ("c.txt", A), ("d.log.1", A)],
        ),
        Spool::new(
            "deep",
            "recursiveDirectorySearch = true\nignorePattern = ^skip.*$\nbasenameHeader = true",
            &[("a", A), ("below/b", A), ("below/deeper/c", A), ("skipped/d", A), (".hidden/e", A), ("below/skip", A)],
        ),
        Spool::new("flat", "basenameHeader = true", &[("a", A), ("below/b", A)]),
        Spool::new("gone", "deletePolicy = immediate\nbasenameHeader = true", &[("a", A), ("b", A)]),
        Spool::new("oldest", "consumeOrder = oldest\nbasenameHeader = true", ORDERED),
        Spool::new("youngest", "consumeOrder = youngest\nbasenameHeader = true", ORDERED),
        Spool::new("marked", "trackingPolicy = tracker_dir\nbasenameHeader = true", &[("a", A), ("b", A)]),
        Spool::new(
            "elsewhere",
            "trackingPolicy = tracker_dir\ntrackerDir = marks\nrecursiveDirectorySearch = true\nbasenameHeader = true",
            &[("a", A), ("below/b", A)],
        ),
    ];
    let both = Both::start(&spools);
    let counts = [
        ("named", 4),
        ("headers", 3),
        ("suffix", 2),
        ("chosen", 1),
        ("deep", 3),
        ("flat", 1),
        ("gone", 2),
        ("oldest", 6),
        ("youngest", 6),
        ("marked", 2),
        ("elsewhere", 2),
    ];
    both.until_events(&counts.map(|(name, count)| (name, count, count)));
    let left: [(&str, &[&str]); 8] = [
        (
            "named",
            &[
                ".hidden",
                "UPPER.completed.COMPLETED",
                "a b.COMPLETED",
                "done.COMPLETED",
                "x,y=z}.COMPLETED",
                "ünï.COMPLETED",
            ],
        ),
        ("suffix", &["1.ok", "2.ok", "3.COMPLETED.ok"]),
        ("chosen", &["a.log.COMPLETED", "b.log", "c.txt", "d.log.1"]),
        (
            "deep",
            &[".hidden/e", "a.COMPLETED", "below/b.COMPLETED", "below/deeper/c.COMPLETED", "below/skip", "skipped/d"],
        ),
        ("flat", &["a.COMPLETED", "below/b"]),
        ("gone", &[]),
        ("marked", &[".flumespool/a.COMPLETED", ".flumespool/b.COMPLETED", "a", "b"]),
        ("elsewhere", &["a", "below/b", "marks/a.COMPLETED", "marks/below/b.COMPLETED"]),
    ];
    for (name, files) in left {
        both.until_left(name, files, files);
    }
    let brought = both.stop(&spools);
    brought.assert_same(&counts.map(|(name, _)| name));
}

/// In an order that is not the one of their names.
const ORDERED: &[(&str, &[u8])] = &[("d", b"1"), ("b", b"2"), ("a", b"3"), ("f", b"4"), ("c", b"5"), ("e", b"6")];

const BLOB: &str = "deserializer = org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder\nfileHeader = true";
const SMALL: &str = "deserializer = org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder\n\
                     deserializer.maxBlobLength = 1000\nbatchSize = 3";

#[test]
fn avro_records_and_blobs_are_the_events_of_the_real_one() {
    let deflate = calls::container(Codec::Deflate(Default::default()), 30);
    let snappy = calls::container(Codec::Snappy, 5);
    let bzip2 = calls::container(Codec::Bzip2(Default::default()), 15);
    let plain = calls::container(Codec::Null, 45);
    let bytes: Vec<u8> = (0..100_000_u32).map(|byte| ((byte * 7919) >> 3) as u8).collect();
    let spools = [
        Spool::new(
            "hash",
            "deserializer = AVRO\nbatchSize = 7",
            &[("1", &plain), ("2", &deflate), ("3", &snappy), ("4", &bzip2)],
        ),
        Spool::new("literal", "deserializer = avro\ndeserializer.schemaType = literal", &[("1", &plain)]),
        Spool::new("blob", BLOB, &[("1", &bytes), ("2", b"small\n\r\n"), ("4", &[0; 9000])]),
        Spool::new("cut", SMALL, &[("1", &bytes[..4500]), ("2", &bytes[..2000])]),
    ];
    let both = Both::start(&spools);
    both.until_events(&[("hash", 95, 95), ("literal", 45, 45), ("blob", 3, 3), ("cut", 7, 7)]);
    let mut brought = both.stop(&spools);
    assert_eq!(brought.0["hash"][0][0].0["flume.avro.schema.hash"], "15618df97f2aeafd");
    let [ours, theirs] = &brought.0["literal"];
    differs("spooldir-avro-literal", &ours[0].0, &theirs[0].0);
    for events in brought.0.get_mut("literal").unwrap() {
        for (headers, _) in events {
            // Java prints it in its own way; ours is the one of the file.
            let literal = headers.get_mut("flume.avro.schema.literal").unwrap();
            *literal = format!("{:?}", Schema::parse_str(literal).unwrap());
        }
    }
    brought.assert_same(&["hash", "literal", "blob", "cut"]);
}

/// A container of one record with the field `f` of this type: its block as the codec has it.
fn container(kind: &str, codec: &str, block: &[u8]) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&varint(2 * bytes.len() as u64)[..], bytes].concat();
    let schema = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{kind}}}]}}"#);
    let meta = [("avro.schema", schema.as_str()), ("avro.codec", codec)];
    let meta = meta.map(|(key, value)| [sized(key.as_bytes()), sized(value.as_bytes())].concat()).concat();
    // Two entries and no more; one record.
    [b"Obj\x01\x04", &meta[..], b"\0", &[7; 16], b"\x02", &sized(block), &[7; 16]].concat()
}

/// What `xz` and `zstd` make of [`ONE`].
const XZ: &[u8] = b"\xFD7zXZ\0\0\x01\x69\x22\xDE\x36\x02\0\x21\x01\x16\0\0\0\x74\x2F\xE5\xA3\x01\0\x03\x06one\0\
                    \x23\xDF\x02\x81\0\x01\x18\x04\x6B\xE9\xF0\xA5\x90\x42\x99\x0D\x01\0\0\0\0\x01YZ";
const ZSTANDARD: &[u8] = b"\x28\xB5\x2F\xFD\x04\x58\x21\0\0\x06one\x9F\xD5\x62\x86";
const ONE: &[u8] = b"\x06one";

#[test]
fn codecs_and_encodings_of_records_differ_from_the_real_one_only_where_compat_says_so() {
    // An array in a part of which the size is said before: Java writes none such.
    let array = b"\x03\x08\x02a\x02b\0";
    // A record in another one, and so on.
    let deep = [&[2; 300][..], &[0]].concat();
    let spools = [
        Spool::new("xz", "deserializer = AVRO", &[("1", &container("\"string\"", "xz", XZ))]),
        Spool::new("zstd", "deserializer = AVRO", &[("1", &container("\"string\"", "zstandard", ZSTANDARD))]),
        Spool::new("none", "deserializer = AVRO", &[("1", &container("\"string\"", "null", ONE))]),
        Spool::new(
            "array",
            "deserializer = AVRO",
            &[("1", &container(r#"{"type":"array","items":"string"}"#, "null", array))],
        ),
        Spool::new("deep", "deserializer = AVRO", &[("1", &container(r#"["null","R"]"#, "null", &deep))]),
    ];
    let both = Both::start(&spools);
    both.until_events(&[("xz", 0, 1), ("zstd", 0, 1), ("none", 1, 1), ("array", 1, 1), ("deep", 0, 1)]);
    both.until_left("xz", &["1.REJECTED"], &["1.COMPLETED"]);
    both.until_left("zstd", &["1.REJECTED"], &["1.COMPLETED"]);
    both.until_left("deep", &["1.REJECTED"], &["1.COMPLETED"]);
    let brought = both.stop(&spools);
    brought.assert_same(&["none"]);
    for name in ["xz", "zstd"] {
        let [ours, theirs] = brought.assert_bodies(name, &[], &["\x06one"]);
        differs("spooldir-avro-codecs", ours, theirs);
    }
    let [ours, theirs] = brought.assert_bodies("array", &["\x03\x08\x02a\x02b\0"], &["\x04\x02a\x02b\0"]);
    differs("spooldir-avro-datums", ours, theirs);
    let [ours, theirs] = brought.assert_bodies("deep", &[], &[&format!("{}\0", "\x02".repeat(300))]);
    differs("spooldir-avro-depth", ours, theirs);
}

#[test]
fn what_is_no_container_stops_the_real_one_and_is_set_aside_by_us() {
    let whole = calls::container(Codec::Null, 20);
    let next = calls::container(Codec::Null, 1);
    let spools = [
        Spool::new("text", "deserializer = AVRO", &[("1", b"text\n"), ("2", &next)]),
        Spool::new("nothing", "deserializer = AVRO", &[("1", b""), ("2", &next)]),
        Spool::new("torn", "deserializer = AVRO", &[("1", &whole[..whole.len() - 3]), ("2", &next)]),
        Spool::new("blob", BLOB, &[("1", b""), ("2", b"next")]),
    ];
    let both = Both::start(&spools);
    both.until_events(&[("text", 1, 0), ("nothing", 1, 0), ("torn", 11, 10), ("blob", 1, 2)]);
    for name in ["text", "nothing", "torn"] {
        both.until_left(name, &["1.REJECTED", "2.COMPLETED"], &["1", "2"]);
    }
    both.until_left("blob", &["1.COMPLETED", "2.COMPLETED"], &["1.COMPLETED", "2.COMPLETED"]);
    let brought = both.stop(&spools);
    for (name, ours, theirs) in [("text", 1, 0), ("nothing", 1, 0), ("torn", 11, 10)] {
        assert_eq!(brought.0[name].each_ref().map(Vec::len), [ours, theirs], "{name}");
        differs("spooldir-bad-file", &brought.0[name][0], &brought.0[name][1]);
    }
    let [ours, theirs] = brought.assert_bodies("blob", &["next"], &["", "next"]);
    differs("spooldir-empty-file", ours, theirs);
}

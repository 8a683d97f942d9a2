use std::collections::BTreeMap;

use apache_avro::Reader;
use apache_avro::types::Value;
use bytes::Bytes;
use millstream_core::{Batch, CommonHeader, Kind, OptionSpec, SlabBuilder, family, optional};
use millstream_testkit::setting;

use super::*;

const SPECS: &[OptionSpec] = &[optional("serializer", Kind::Text, "TEXT", ""), family("serializer.*", Kind::Text, "")];

fn factory(settings: &[(&str, &str)]) -> Result<SerializerFactory> {
    let settings = settings.iter().map(|(key, value)| setting(key, value));
    SerializerFactory::from_options(&Options::parse("a1.sinks.k1", SPECS, &[], settings)?.0, "serializer")
}

/// Two events: one with two headers, one with none of its own and an empty body.
fn batch() -> Batch {
    let mut builder = SlabBuilder::new("kvxyhello".into());
    builder.header(0..1, 1..2);
    builder.header(2..3, 3..4);
    builder.row(4..9);
    builder.row(0..0);
    builder.finish()
}

/// A file of two transactions of the same events.
fn file(settings: &[(&str, &str)]) -> Vec<u8> {
    let mut serializer = factory(settings).expect("a serializer").make();
    let mut out = Vec::new();
    serializer.begin(&mut out);
    for _ in 0..2 {
        for event in batch().iter() {
            serializer.append(event, &mut out).expect("written");
        }
        serializer.end_transaction(&mut out).expect("ended");
    }
    out
}

#[test]
fn texts_are_lines_or_run_together() {
    assert_eq!(file(&[]), b"hello\n\nhello\n\n");
    assert_eq!(file(&[("serializer", "text"), ("serializer.appendNewline", "false")]), b"hellohello");
}

#[test]
fn headers_stand_before_the_text_as_java_prints_a_map() {
    let line = "{k=v, x=y} hello\n{} \n";
    assert_eq!(file(&[("serializer", "HEADER_AND_TEXT")]), [line, line].concat().as_bytes());
    let class = "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder";
    let settings = [("serializer", class), ("serializer.appendNewline", "false")];
    assert_eq!(file(&settings), b"{k=v, x=y} hello{} {k=v, x=y} hello{} ");
}

/// Headers and body of each record, by a reader that is not ours.
fn records(container: &[u8]) -> Vec<(BTreeMap<String, String>, Vec<u8>)> {
    let reader = Reader::new(container).expect("a container");
    assert!(reader.writer_schema().canonical_form().contains("\"name\":\"Event\""));
    let record = |value: apache_avro::AvroResult<Value>| {
        let Value::Record(fields) = value.expect("a record") else { panic!("no record") };
        let mut fields = fields.into_iter();
        let (Some((_, Value::Map(headers))), Some((_, Value::Bytes(body)))) = (fields.next(), fields.next()) else {
            panic!("other fields")
        };
        let text = |value| match value {
            Value::String(text) => text,
            other => panic!("{other:?}"),
        };
        (headers.into_iter().map(|(key, value)| (key, text(value))).collect(), body)
    };
    reader.map(record).collect()
}

#[test]
fn containers_of_every_codec_are_read_by_the_avro_library() {
    let headers: BTreeMap<String, String> = [("k", "v"), ("x", "y")].map(|(k, v)| (k.into(), v.into())).into();
    let once = [(headers, b"hello".to_vec()), (BTreeMap::new(), Vec::new())];
    let twice = [once.clone(), once].concat();
    for codec in ["null", "deflate", "snappy", "bzip2"] {
        let container = file(&[("serializer", "avro_event"), ("serializer.compressionCodec", codec)]);
        assert_eq!(records(&container), twice, "{codec}");
    }
}

#[test]
fn a_block_ends_when_it_is_large_enough_and_with_the_transaction() {
    let container = file(&[("serializer", "avro_event"), ("serializer.syncIntervalBytes", "1")]);
    let sync = container[container.len() - 16..].to_vec();
    let syncs = container.windows(16).filter(|bytes| *bytes == sync).count();
    assert_eq!(syncs, 1 + 4, "the file's header and each event");
    assert_eq!(records(&container).len(), 4);
}

#[test]
fn what_a_failed_transaction_kept_is_forgotten() {
    let mut serializer = factory(&[("serializer", "avro_event")]).expect("a serializer").make();
    let mut out = Vec::new();
    serializer.begin(&mut out);
    serializer.append(batch().event(0), &mut out).expect("kept");
    serializer.abandon_transaction();
    serializer.append(batch().event(1), &mut out).expect("kept");
    serializer.end_transaction(&mut out).expect("ended");
    assert_eq!(records(&out), [(BTreeMap::new(), Vec::new())]);
}

#[test]
fn common_headers_are_written_too() {
    let common = CommonHeader { key: "host".into(), value: Bytes::from_static(b"h"), keep_existing: false };
    let mut out = Vec::new();
    let mut serializer = factory(&[("serializer", "header_and_text")]).expect("a serializer").make();
    let batch = Batch::from_bodies(["x"]).with_common_header(common);
    serializer.append(batch.event(0), &mut out).expect("written");
    assert_eq!(out, b"{host=h} x\n");
}

#[test]
fn what_cannot_be_used_is_refused_at_its_place() {
    for (key, value, problem) in [
        (
            "serializer",
            "com.example.Mine",
            "expected text, header_and_text, avro_event or org.apache.flume.sink.hdfs.AvroEventSerializer$Builder, got \"com.example.Mine\"",
        ),
        ("serializer.compressionCodec", "lzo", "expected null, deflate, snappy or bzip2, got \"lzo\""),
        ("serializer.syncIntervalBytes", "0", "expected a whole number of at least 1, got \"0\""),
    ] {
        let settings = [("serializer", "avro_event"), (key, value)];
        let error = factory(&settings).expect_err("refused").to_string();
        assert_eq!(error, format!("flume.conf:7: a1.sources.r1.{key}: {problem}"));
    }
    let error = factory(&[("serializer.appendNewline", "perhaps")]).expect_err("refused").to_string();
    assert!(error.ends_with("expected true or false, got \"perhaps\""), "{error}");
}

/// Two longs, encoded, with these headers.
fn datums(headers: &[(&str, &str)]) -> Batch {
    headers.iter().fold(Batch::from_bodies([[2_u8], [4]]), |batch, (key, value)| {
        batch.with_common_header(CommonHeader {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            keep_existing: false,
        })
    })
}

/// What a reader that is not ours finds in a file of these events.
fn numbers(more: &[(&str, &str)], batch: &Batch) -> Result<Vec<i64>> {
    let class = [("serializer", "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder")];
    let mut serializer = factory(&[&class[..], more].concat()).expect("a serializer").make();
    let mut out = Vec::new();
    serializer.begin(&mut out);
    batch.iter().try_for_each(|event| serializer.append(event, &mut out))?;
    serializer.end_transaction(&mut out)?;
    let number = |value| match value {
        Ok(Value::Long(number)) => number,
        other => panic!("{other:?}"),
    };
    Ok(Reader::new(&out[..]).expect("a container").map(number).collect())
}

#[test]
fn bodies_that_are_datums_are_written_under_the_schema_that_they_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("long.avsc");
    std::fs::write(&path, "\"long\"").expect("written");
    let (path, url) = (path.display().to_string(), format!("file://{}", path.display()));
    let literal = ("flume.avro.schema.literal", "\"long\"");
    for codec in ["null", "snappy"] {
        let codec = [("serializer.compressionCodec", codec)];
        assert_eq!(numbers(&codec, &datums(&[literal])).expect("written"), [1, 2]);
    }
    let wrong = ("flume.avro.schema.literal", "\"string\"");
    assert_eq!(numbers(&[], &datums(&[("flume.avro.schema.url", &url), wrong])).expect("the URL wins"), [1, 2]);
    assert_eq!(numbers(&[("serializer.schemaURL", &path)], &datums(&[])).expect("the option is last"), [1, 2]);
}

#[test]
fn a_datum_without_a_schema_is_rejected_with_the_remedy() {
    for (headers, problem) in [
        (&[][..], "set schemaURL"),
        (&[("flume.avro.schema.literal", "{long")], "no JSON"),
        (&[("flume.avro.schema.url", "http://x/y")], "only those of file://"),
    ] {
        let error = numbers(&[], &datums(headers)).expect_err("rejected");
        assert!(
            matches!(error, millstream_core::Error::Rejected { .. }) && error.to_string().contains(problem),
            "{error}"
        );
    }
    let error = numbers(&[], &datums(&[("flume.avro.schema.url", "/no/such/file")])).expect_err("not there");
    assert!(matches!(error.reaction(), millstream_core::Reaction::Retry { .. }), "{error}");
}

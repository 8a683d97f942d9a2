//! Avro containers and blobs.

use apache_avro::types::Record;
use apache_avro::{Codec, Schema, Writer};

use super::*;
use crate::spooldir::container::Container;
use crate::spooldir::schema_type::SchemaType;

const SCHEMA: &str = r#"{"type":"record","name":"Line","fields":[{"name":"text","type":"string"}]}"#;

/// A container with these texts, a block for each group.
fn container(codec: Codec, groups: &[&[&str]]) -> Vec<u8> {
    let schema = Schema::parse_str(SCHEMA).unwrap();
    let mut writer = Writer::builder().schema(&schema).codec(codec).writer(Vec::new()).build().unwrap();
    for group in groups {
        for text in *group {
            let mut record = Record::new(&schema).unwrap();
            record.put("text", *text);
            writer.append_value(record).unwrap();
        }
        writer.flush().unwrap();
    }
    writer.into_inner().unwrap()
}

const GROUPS: &[&[&str]] = &[&["a0", "a1", "a2"], &["b0"], &["c0", "c1", "c2", "c3"]];

/// The texts in bodies: one byte of length before each.
fn texts(channel: &TestChannel) -> Vec<String> {
    channel.texts().iter().map(|body| body[1..].to_owned()).collect()
}

fn avro<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("deserializer", "AVRO")], more].concat()
}

fn origin(path: &Path) -> String {
    let identity = millstream_io::FileIdentity::of(&std::fs::metadata(path).unwrap());
    format!("{identity}/records")
}

#[tokio::test]
async fn records_become_events_that_tell_their_schema_whatever_the_codec() {
    let codecs = [
        Codec::Null,
        Codec::Deflate(Default::default()),
        Codec::Snappy,
        Codec::Bzip2(apache_avro::Bzip2Settings::default()),
    ];
    for codec in codecs {
        let (dir, channel) = spool();
        write(dir.path().join("a"), container(codec, GROUPS)).unwrap();
        run_until(dir.path(), &avro(&[("batchSize", "2")]), &channel, 1).await;
        assert_eq!(texts(&channel), GROUPS.concat(), "{codec:?}");
        assert_eq!(channel.puts(), [2, 1, 1, 2, 2], "{codec:?}");
        assert_eq!(names(dir.path()), ["a.COMPLETED"]);
        let headers = channel.stored().headers;
        assert!(headers.iter().all(|headers| headers["flume.avro.schema.hash"].len() == 16));
    }
    let (dir, channel) = spool();
    write(dir.path().join("a"), container(Codec::Null, GROUPS)).unwrap();
    let literal = [("deserializer.schemaType", "literal"), ("basenameHeader", "true")];
    run_until(dir.path(), &avro(&literal), &channel, 1).await;
    let headers = channel.stored().headers.remove(7);
    assert_eq!(Schema::parse_str(&headers["flume.avro.schema.literal"]).unwrap(), Schema::parse_str(SCHEMA).unwrap());
    assert_eq!(headers["basename"], "a");
}

#[tokio::test]
async fn reading_goes_on_at_every_record_and_an_end_is_no_record() {
    let all = GROUPS.concat();
    for had in 0..=2 * all.len() as u64 + 1 {
        let (dir, channel) = spool();
        let path = dir.path().join("a");
        write(&path, container(Codec::Null, GROUPS)).unwrap();
        channel.cover(&origin(&path), had);
        run_until(dir.path(), &avro(&[]), &channel, 1).await;
        // An odd position is the end of a file that has grown since.
        assert_eq!(texts(&channel), all[had as usize / 2..], "{had}");
        assert_eq!(names(dir.path()), ["a.COMPLETED"]);
    }
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    write(&path, container(Codec::Null, GROUPS)).unwrap();
    channel.cover(&origin(&path), 18);
    let status = run_until(dir.path(), &avro(&[]), &channel, 1).await;
    assert!(status.last_error().unwrap().contains("9 records of it were read before, but it has only 8 now"));
    assert_eq!(names(dir.path()), ["a.REJECTED"]);
}

#[tokio::test]
async fn a_container_that_grows_is_followed_block_by_block() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    let bytes = container(Codec::Null, GROUPS);
    let mut file = File::create(&path).unwrap();
    // Not even its header is whole, then its last block is not.
    let cut = bytes.len() - 1;
    file.write_all(&bytes[..30]).unwrap();
    let running = start_source(spooldir(dir.path(), &avro(&[("quietMillis", "3600000")])), &channel);
    running.until_ready().await;
    file.write_all(&bytes[30..cut]).unwrap();
    channel.until(|stored| stored.bodies.len() == 4).await;
    file.write_all(&bytes[cut..]).unwrap();
    channel.until(|stored| stored.bodies.len() == 8).await;
    running.stop().await.unwrap();
    assert_eq!(texts(&channel), GROUPS.concat());
}

#[tokio::test]
async fn what_is_no_whole_container_is_set_aside_behind_its_good_records() {
    let whole = container(Codec::Null, GROUPS);
    let last = whole.len() - 16 - 12;
    let mut other_sync = whole.clone();
    *other_sync.last_mut().unwrap() ^= 1;
    let mut too_long = whole.clone();
    // The length of the last text.
    too_long[last + 9] = 100;
    let mut alien_codec = container(Codec::Deflate(Default::default()), GROUPS);
    let at = alien_codec.windows(7).position(|bytes| bytes == b"deflate").unwrap();
    alien_codec[at..at + 7].copy_from_slice(b"gzipped");
    for (content, events, reason) in [
        (b"text\n".to_vec(), 0, "it is no Avro container file"),
        (Vec::new(), 0, "it ends before the header of an Avro container file does"),
        (whole[..40].to_vec(), 0, "it ends before the header of an Avro container file does"),
        (whole[..whole.len() - 1].to_vec(), 4, "it is not whole; its first 4 records were delivered"),
        (other_sync, 4, "its sync marker is not the one of the file"),
        (too_long, 7, "record 3 of it: "),
        (alien_codec, 0, "codec: expected null, deflate, snappy or bzip2, got \"gzipped\""),
    ] {
        let (dir, channel) = spool();
        write(dir.path().join("a"), content).unwrap();
        let status = run_until(dir.path(), &avro(&[]), &channel, 1).await;
        let error = status.last_error().unwrap_or_default();
        assert!(error.contains(reason), "{error} lacks {reason}");
        assert_eq!(texts(&channel), GROUPS.concat()[..events], "{reason}");
        assert_eq!(names(dir.path()), ["a.REJECTED"], "{reason}");
    }
}

#[test]
fn a_container_cut_in_pieces_gives_the_same_records_and_offsets_as_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let whole = container(Codec::Null, GROUPS);
    write(dir.path().join("a"), &whole).unwrap();
    let file = File::open(dir.path().join("a")).unwrap();
    for chunk in [1, 7, 50, whole.len()] {
        let (mut container, mut held, mut base, mut ends) = (Container::default(), Vec::new(), 0, Vec::new());
        for (at, piece) in whole.chunks(chunk).enumerate() {
            held.extend_from_slice(piece);
            let ended = at * chunk + piece.len() == whole.len();
            let cut = container.cut(SchemaType::Hash, 100, (&held.clone().into(), base), ended);
            assert_eq!(cut.problem, None, "chunks of {chunk}");
            ends.extend(cut.batches.iter().flat_map(|batch| batch.iter().map(|event| event.end().unwrap())));
            held.drain(..cut.consumed);
            base += cut.consumed as u64;
        }
        assert_eq!(ends, (1..=8).map(|record| 2 * record).collect::<Vec<_>>());
        assert_eq!(container.end(), 17);
        for (position, block) in [(0, 0), (5, 0), (6, 6), (7, 6), (8, 8), (15, 8), (16, 16), (17, 16)] {
            let offset = container.offset(position);
            assert_eq!(&whole[offset as usize..][..16], &whole[whole.len() - 16..], "a sync of the file");
            assert_eq!(Container::position_at(SchemaType::Hash, &file, offset), Ok(block), "{position}");
        }
    }
    assert_eq!(Container::position_at(SchemaType::Hash, &file, 0), Ok(0));
}

#[tokio::test]
async fn a_block_that_claims_more_than_there_is_costs_no_memory() {
    let empty = container(Codec::Null, &[]);
    let sync = empty[empty.len() - 16..].to_vec();
    let block = |records: i64, size: i64| {
        let mut bytes = empty.clone();
        millstream_wire::writer::long(&mut bytes, records);
        millstream_wire::writer::long(&mut bytes, size);
        bytes.extend_from_slice(&sync);
        bytes
    };
    for (records, size, reason) in [
        (i64::MAX, 0, "records in 0 bytes"),
        (1, i64::MAX, "at most 268435456 bytes are read"),
        (-1, 0, "it claims -1 records"),
        (1, 1 << 20, "it is not whole"),
    ] {
        let (dir, channel) = spool();
        write(dir.path().join("a"), block(records, size)).unwrap();
        let status = run_until(dir.path(), &avro(&[]), &channel, 1).await;
        assert!(status.last_error().unwrap().contains(reason), "{:?}", status.last_error());
    }
}

#[tokio::test]
async fn a_blob_is_the_file_whatever_stands_in_it_and_is_cut_at_its_limit() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    write(&path, "one\n\0two\n").unwrap();
    run_until(dir.path(), &[("deserializer", "BLOB")], &channel, 1).await;
    assert_eq!(channel.texts(), ["one\n\0two\n"]);
    let class = "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder";
    for (content, had, wanted) in [
        ("1234567890", 0, &["1234", "5678", "90"][..]),
        ("12345678", 0, &["1234", "5678"]),
        ("1234567890", 4, &["5678", "90"]),
        ("1234567890", 11, &[]),
        ("123456", 4, &["56"]),
        ("123456XY", 7, &["XY"]),
        ("", 0, &[]),
    ] {
        let (dir, channel) = spool();
        let path = dir.path().join("a");
        write(&path, content).unwrap();
        channel.cover(&millstream_io::FileIdentity::of(&std::fs::metadata(&path).unwrap()).to_string(), had);
        let settings = [("deserializer", class), ("deserializer.maxBlobLength", "4")];
        run_until(dir.path(), &settings, &channel, 1).await;
        assert_eq!(channel.texts(), wanted, "{content} behind {had}");
        assert_eq!(names(dir.path()), ["a.COMPLETED"]);
    }
}

#[tokio::test]
async fn a_blob_of_many_chunks_is_one_event() {
    let (dir, channel) = spool();
    let path = dir.path().join("a");
    File::create(&path).unwrap().set_len(10 << 20).unwrap();
    run_until(dir.path(), &[("deserializer", "BLOB")], &channel, 1).await;
    assert_eq!(channel.stored().bodies.iter().map(Vec::len).collect::<Vec<_>>(), [10 << 20]);
}

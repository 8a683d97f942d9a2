use std::io::Read;

use flate2::read::ZlibDecoder;
use millstream_core::{Batch, SlabBuilder};
use millstream_io::ManualClock;

use super::*;

/// Reads what the format's page says.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn vint(&mut self) -> i64 {
        let first = self.take(1)[0] as i8;
        if first >= -112 {
            return first.into();
        }
        let (negative, len) = if first < -120 { (true, -120 - first) } else { (false, -112 - first) };
        let magnitude = self.take(len as usize).iter().fold(0_i64, |value, &byte| value << 8 | i64::from(byte));
        if negative { !magnitude } else { magnitude }
    }

    fn string(&mut self) -> &'a str {
        let len = self.vint() as usize;
        std::str::from_utf8(self.take(len)).expect("text")
    }
}

/// Two events: one of 1970 plus 5 ms, one without a time.
fn batch() -> Batch {
    let mut builder = SlabBuilder::new("timestamp5hello".into());
    builder.header(0..9, 9..10);
    builder.row(10..15);
    builder.row(0..0);
    builder.finish()
}

fn written(values: ValueClass, codec: Option<Codec>, transactions: usize) -> Vec<u8> {
    let mut file = SequenceFile::new(values, codec, ManualClock::new(77));
    let mut out = Vec::new();
    file.begin(&mut out);
    for _ in 0..transactions {
        batch().iter().for_each(|event| file.append(event, &mut out).expect("written"));
        file.end_transaction(&mut out).expect("ended");
    }
    out
}

/// The header; gives the sync.
fn read_header<'a>(bytes: &mut Bytes<'a>, value: &str, codec: Option<&str>) -> &'a [u8] {
    assert_eq!(bytes.take(4), b"SEQ\x06");
    assert_eq!(bytes.string(), "org.apache.hadoop.io.LongWritable");
    assert_eq!(bytes.string(), value);
    assert_eq!(bytes.take(2), if codec.is_some() { [1, 1] } else { [0, 0] });
    if let Some(codec) = codec {
        assert_eq!(bytes.string(), codec);
    }
    assert_eq!(bytes.int(), 0);
    bytes.take(16)
}

#[test]
fn records_are_key_and_value_with_their_lengths() {
    let file = written(ValueClass::BytesWritable, None, 1);
    let mut bytes = Bytes(&file);
    let sync = read_header(&mut bytes, "org.apache.hadoop.io.BytesWritable", None);
    let behind = |records: &[u8]| [records, b"\xff\xff\xff\xff", sync].concat();
    let wanted = b"\0\0\0\x11\0\0\0\x08\0\0\0\0\0\0\0\x05\0\0\0\x05hello\0\0\0\x0c\0\0\0\x08\0\0\0\0\0\0\0\x4d\0\0\0\0";
    assert_eq!(bytes.0, behind(wanted));
    let file = written(ValueClass::Text, None, 1);
    let mut bytes = Bytes(&file);
    let sync = read_header(&mut bytes, "org.apache.hadoop.io.Text", None);
    let behind = |records: &[u8]| [records, b"\xff\xff\xff\xff", sync].concat();
    let wanted = b"\0\0\0\x0e\0\0\0\x08\0\0\0\0\0\0\0\x05\x05hello\0\0\0\x09\0\0\0\x08\0\0\0\0\0\0\0\x4d\0";
    assert_eq!(bytes.0, behind(wanted));
}

#[test]
fn a_sync_comes_at_the_latest_after_its_interval() {
    let mut writer = SequenceFile::new(ValueClass::Text, None, ManualClock::new(77));
    let mut file = Vec::new();
    writer.begin(&mut file);
    for _ in 0..300 {
        batch().iter().for_each(|event| writer.append(event, &mut file).expect("written"));
    }
    let mut bytes = Bytes(&file);
    let sync = read_header(&mut bytes, "org.apache.hadoop.io.Text", None);
    let (mut records, mut syncs, mut since) = (0, 0, 0);
    while !bytes.0.is_empty() {
        match bytes.int() {
            -1 => {
                assert_eq!(bytes.take(16), sync);
                (syncs, since) = (syncs + 1, 0);
            }
            len => {
                assert!(since < SYNC_INTERVAL_BYTES, "{since} bytes without a sync");
                bytes.take(4 + len as usize);
                (records, since) = (records + 1, since + 8 + len as usize);
            }
        }
    }
    assert_eq!(records, 600);
    assert!(syncs >= 5, "{syncs}");
}

#[test]
fn blocks_hold_four_streams_and_end_with_the_transaction() {
    let file = written(ValueClass::BytesWritable, Some(Codec::Deflate), 2);
    let mut bytes = Bytes(&file);
    let class = "org.apache.hadoop.io.compress.DefaultCodec";
    let sync = read_header(&mut bytes, "org.apache.hadoop.io.BytesWritable", Some(class));
    for _ in 0..2 {
        assert_eq!(bytes.int(), -1);
        assert_eq!(bytes.take(16), sync);
        assert_eq!(bytes.vint(), 2, "records");
        let mut stream = || {
            let len = bytes.vint() as usize;
            let mut plain = Vec::new();
            ZlibDecoder::new(bytes.take(len)).read_to_end(&mut plain).expect("zlib");
            plain
        };
        assert_eq!(stream(), [8, 8]);
        assert_eq!(stream(), [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 77]);
        assert_eq!(stream(), [9, 4]);
        assert_eq!(stream(), b"\0\0\0\x05hello\0\0\0\0");
    }
    assert!(bytes.0.is_empty());
}

#[test]
fn numbers_of_variable_length_are_those_of_hadoop() {
    let vint = |value| {
        let mut out = Vec::new();
        write_vint(&mut out, value);
        assert_eq!(Bytes(&out).vint(), value);
        out
    };
    assert_eq!(vint(127), [127]);
    assert_eq!(vint(-112), [0x90]);
    assert_eq!(vint(128), [0x8f, 0x80]);
    assert_eq!(vint(255), [0x8f, 0xff]);
    assert_eq!(vint(256), [0x8e, 1, 0]);
    assert_eq!(vint(-113), [0x87, 0x70]);
    assert_eq!(vint(i64::MAX).len(), 9);
    assert_eq!(vint(i64::MIN).len(), 9);
}

#[test]
fn what_a_failed_transaction_kept_is_forgotten() {
    let mut file = SequenceFile::new(ValueClass::Text, Some(Codec::Gzip), ManualClock::new(0));
    let mut out = Vec::new();
    file.append(batch().event(0), &mut out).expect("kept");
    file.abandon_transaction();
    file.end_transaction(&mut out).expect("ended");
    assert!(out.is_empty());
}

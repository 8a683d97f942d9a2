//! Avro containers of numbered records, with something of every kind in them.

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::{Record, Value};
use apache_avro::{Codec, Schema, Writer};

/// Of the records.
pub const SCHEMA: &str = r#"{"type":"record","name":"Call","namespace":"a.b","doc":"of the test","fields":[{"name":"id","type":"long"},{"name":"text","type":["null","string"],"default":null},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"tags","type":{"type":"array","items":"string"}},{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]}},{"name":"sum","type":{"type":"fixed","name":"Sum","size":4}}]}"#;

/// A container of so many records, numbered from 0, a block for every ten.
pub fn container(codec: Codec, records: i64) -> Vec<u8> {
    let schema = Schema::parse_str(SCHEMA).unwrap();
    let mut writer = Writer::builder().schema(&schema).codec(codec).writer(Vec::new()).build().unwrap();
    for id in 0..records {
        let mut record = Record::new(&schema).unwrap();
        record.put("id", id);
        let text = format!("text {id} €");
        record.put(
            "text",
            match id % 3 {
                0 => Value::Union(0, Box::new(Value::Null)),
                _ => Value::Union(1, Box::new(Value::String(text))),
            },
        );
        record.put("at", Value::TimestampMillis(1_600_000_000_000 + id));
        record.put("tags", Value::Array((0..id % 4).map(|tag| Value::String(format!("t{tag}"))).collect()));
        record.put("kind", Value::Enum(1, "B".into()));
        record.put("sum", Value::Fixed(4, vec![1, 2, 3, 4]));
        writer.append_value(record).unwrap();
        if id % 10 == 9 {
            writer.flush().unwrap();
        }
    }
    writer.into_inner().unwrap()
}

/// The number of a record.
pub fn number(mut datum: &[u8]) -> i64 {
    let schema = Schema::parse_str(SCHEMA).unwrap();
    match GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut datum).unwrap() {
        Value::Record(fields) => match fields[0].1 {
            Value::Long(id) => id,
            ref other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

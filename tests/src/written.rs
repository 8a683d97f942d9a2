//! What agents have written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use apache_avro::Reader;
use apache_avro::types::Value;

/// Headers and body of an event.
pub type Event = (BTreeMap<String, String>, Vec<u8>);

/// The events that stand in a directory, as far as they are written: in the order of the files' names, each a container
/// of the serializer `avro_event`.
pub fn avro_events(dir: &Path) -> Vec<Event> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().flat_map(|file| of_container(&fs::read(file).unwrap())).collect()
}

fn of_container(container: &[u8]) -> Vec<Event> {
    let Ok(reader) = Reader::new(container) else { return Vec::new() };
    reader.map_while(Result::ok).map(event).collect()
}

fn event(record: Value) -> Event {
    let Value::Record(fields) = record else { panic!("{record:?}") };
    let mut fields = fields.into_iter().map(|(_, value)| value);
    let (Some(Value::Map(headers)), Some(Value::Bytes(body))) = (fields.next(), fields.next()) else {
        panic!("other fields")
    };
    let header = |(key, value)| match value {
        Value::String(text) => (key, text),
        other => panic!("{other:?}"),
    };
    (headers.into_iter().map(header).collect(), body)
}

//! What an event tells of the schema that its body is of.
//!
//! # Source
//! Avro 1.11 specification, "Parsing Canonical Form for Schemas"; `org.apache.flume.serialization.AvroEventDeserializer`
//! (Flume 1.11).

use std::fmt::Write;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use bytes::Bytes;
use millstream_core::CommonHeader;
use serde_json::{Map, Value};

/// The `schemaType` option: what a header tells of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaType {
    /// The CRC-64-AVRO of its canonical form, in hexadecimal digits, the lowest byte first.
    Hash,
    /// Its text.
    Literal,
}

// === impl SchemaType ===

impl SchemaType {
    /// The header for a schema with this text.
    ///
    /// # Errors
    /// Those of a text that is no schema.
    pub(super) fn header(self, text: &str) -> Result<CommonHeader, apache_avro::Error> {
        let (key, value) = match self {
            Self::Hash => ("flume.avro.schema.hash", hash(text)?),
            Self::Literal => ("flume.avro.schema.literal", text.to_owned()),
        };
        Ok(CommonHeader { key: Bytes::from_static(key.as_bytes()), value: value.into(), keep_existing: false })
    }
}

/// The library leaves a type its braces where a logical type was in them, and keeps attributes that are no part of the
/// canonical form. So it gets the schema without either.
fn hash(text: &str) -> Result<String, apache_avro::Error> {
    let schema = match serde_json::from_str(text) {
        Ok(schema) => Schema::parse(&essential(schema))?,
        // It says what is wrong, as for every schema.
        Err(_) => Schema::parse_str(text)?,
    };
    Ok(schema.fingerprint::<Rabin>().bytes.iter().fold(String::new(), |mut digits, byte| {
        // A string takes everything.
        let _ = write!(digits, "{byte:02x}");
        digits
    }))
}

/// A schema, or the fields of one, with what the canonical form is made of.
fn essential(schema: Value) -> Value {
    match schema {
        Value::Array(schemas) => schemas.into_iter().map(essential).collect(),
        Value::Object(mut attributes) => {
            let own: &[&str] = match attributes.get("type").and_then(Value::as_str) {
                Some("record" | "error") => &["name", "namespace", "type", "fields"],
                Some("enum") => &["name", "namespace", "type", "symbols"],
                Some("fixed") => &["name", "namespace", "type", "size"],
                Some("array") => &["type", "items"],
                Some("map") => &["type", "values"],
                // A field has a name.
                _ => &["name", "type"],
            };
            let kept = own.iter().filter_map(|&key| Some((key.to_owned(), essential(attributes.remove(key)?))));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: SchemaType, text: &str) -> String {
        String::from_utf8(kind.header(text).expect("a schema").value.to_vec()).expect("text")
    }

    /// With a default, a documentation and logical types. Java's library (Avro 1.11) gives it this hash.
    const SCHEMA: &str = r#"{"type":"record","name":"Call","namespace":"a.b","doc":"of the test","fields":[
        {"name":"id","type":"long"},{"name":"text","type":["null","string"],"default":null},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"tags","type":{"type":"array","items":"string"}},
        {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]}},
        {"name":"sum","type":{"type":"fixed","name":"Sum","size":4}}]}"#;

    #[test]
    fn the_hash_is_that_of_javas_library() {
        assert_eq!(told(SchemaType::Hash, SCHEMA), "15618df97f2aeafd");
        // From the specification's test cases: a number, written from its lowest byte on.
        assert_eq!(told(SchemaType::Hash, r#""null""#), "8a8f25cce724dd63");
    }

    #[test]
    fn what_is_no_part_of_the_canonical_form_does_not_change_the_hash() {
        let plain = told(
            SchemaType::Hash,
            r#"{"type":"record","name":"a.R","fields":[
                {"name":"d","type":"bytes"},{"name":"f","type":{"type":"fixed","name":"F","size":8}},
                {"name":"u","type":["null",{"type":"map","values":"int"}]},{"name":"again","type":"F"}]}"#,
        );
        let decorated = told(
            SchemaType::Hash,
            r#"{"namespace":"a","aliases":["Q"],"size":true,"name":"R","type":"record","items":[1],"fields":[
                {"order":"ignore","type":{"scale":2,"precision":4,"logicalType":"decimal","type":"bytes"},"name":"d"},
                {"name":"f","type":{"type":"fixed","name":"F","size":8,"logicalType":"decimal","precision":3}},
                {"name":"u","doc":"d","type":["null",{"type":"map","values":{"type":"int","logicalType":"date"}}],"default":null},
                {"name":"again","type":"a.F","default":"\u00ff"}]}"#,
        );
        assert_eq!(plain, decorated);
    }

    #[test]
    fn a_literal_is_the_text_and_what_is_no_schema_has_no_hash() {
        assert_eq!(told(SchemaType::Literal, SCHEMA), SCHEMA);
        for text in ["{long", r#"{"type":"fixed","name":"F","size":"many"}"#, "7", r#"{"type":"array"}"#, "[[]]"] {
            assert!(SchemaType::Hash.header(text).is_err(), "{text}");
        }
    }
}

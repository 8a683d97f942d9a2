//! Where a datum of Avro ends, by its schema: nothing is allocated for it, and what nests too deep is refused.
//!
//! # Source
//! Avro 1.11 specification, "Binary Encoding".

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};
use millstream_wire::WireError;
use millstream_wire::reader::Reader;

/// What a schema says of the bytes of its datums.
#[derive(Debug)]
pub(super) struct Datums {
    shapes: Vec<Shape>,
    whole: usize,
}

/// How a datum is written. Others are meant by their numbers in [`Datums`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Boolean,
    Int,
    Long,
    /// So many bytes.
    Fixed(usize),
    /// A length, and so many bytes.
    Span,
    /// The number of one of so many symbols.
    Symbol(usize),
    /// The number of one of these, and it.
    OneOf(Vec<usize>),
    /// One after the other.
    Each(Vec<usize>),
    Array(usize),
    Map(usize),
}

/// A schema being read.
#[derive(Debug, Default)]
struct Reading {
    shapes: Vec<Shape>,
    /// By full name.
    named: HashMap<String, usize>,
}

// === impl Datums ===

impl Datums {
    /// # Errors
    /// A text, when the schema names a type that it has not.
    pub(super) fn of(schema: &Schema) -> Result<Self, String> {
        let mut reading = Reading::default();
        let whole = reading.shape(schema, None)?;
        Ok(Self { shapes: reading.shapes, whole })
    }

    /// Passes over one datum.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn skip(&self, reader: &mut Reader<'_>) -> Result<(), WireError> {
        self.skip_shape(self.whole, reader, MOST_DEPTH)
    }

    fn skip_shape(&self, shape: usize, reader: &mut Reader<'_>, depth: usize) -> Result<(), WireError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(WireError::Sequence { structure: DATUM, problem: "it nests deeper than is read" });
        };
        let branch = |reader: &mut Reader<'_>, of: usize| reader.branch(DATUM, of as i64);
        match &self.shapes[shape] {
            Shape::Boolean => reader.boolean(DATUM).map(drop),
            Shape::Int => reader.int(DATUM).map(drop),
            Shape::Long => reader.long(DATUM).map(drop),
            Shape::Fixed(bytes) => reader.skip(DATUM, *bytes),
            Shape::Span => reader.span(DATUM).map(drop),
            Shape::Symbol(symbols) => branch(reader, *symbols).map(drop),
            Shape::OneOf(shapes) => {
                let chosen = branch(reader, shapes.len())?;
                self.skip_shape(shapes[chosen as usize], reader, depth)
            }
            Shape::Each(shapes) => {
                for shape in shapes {
                    self.skip_shape(*shape, reader, depth)?;
                }
                Ok(())
            }
            Shape::Array(items) if self.has_no_bytes(*items, MOST_DEPTH) => skip_counts(reader),
            Shape::Array(items) => {
                while let Some(count) = reader.block(DATUM, 1)? {
                    for _ in 0..count {
                        self.skip_shape(*items, reader, depth)?;
                    }
                }
                Ok(())
            }
            Shape::Map(values) => {
                while let Some(count) = reader.block(DATUM, 1)? {
                    for _ in 0..count {
                        reader.span(DATUM)?;
                        self.skip_shape(*values, reader, depth)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Whether such a datum is always written as nothing: then any number of them costs nothing.
    fn has_no_bytes(&self, shape: usize, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return false };
        match &self.shapes[shape] {
            Shape::Fixed(bytes) => *bytes == 0,
            Shape::Each(shapes) => shapes.iter().all(|shape| self.has_no_bytes(*shape, depth)),
            _ => false,
        }
    }
}

/// Passes over the blocks of an array whose items are written as nothing.
fn skip_counts(reader: &mut Reader<'_>) -> Result<(), WireError> {
    loop {
        match reader.long(DATUM)? {
            0 => return Ok(()),
            count if count < 0 => drop(reader.long(DATUM)?),
            _ => {}
        }
    }
}

// === impl Reading ===

impl Reading {
    fn shape(&mut self, schema: &Schema, namespace: Option<&str>) -> Result<usize, String> {
        // Its place is taken first, as it may mean itself.
        let place = self.shapes.len();
        self.shapes.push(Shape::Fixed(0));
        self.shapes[place] = match schema {
            Schema::Null => Shape::Fixed(0),
            Schema::Boolean => Shape::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Shape::Int,
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Shape::Long,
            Schema::Float => Shape::Fixed(4),
            Schema::Double => Shape::Fixed(8),
            Schema::Bytes
            | Schema::String
            | Schema::BigDecimal
            | Schema::Uuid(UuidSchema::Bytes | UuidSchema::String) => Shape::Span,
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Shape::Span,
                InnerDecimalSchema::Fixed(fixed) => self.named(&fixed.name, namespace, place, Shape::Fixed(fixed.size)),
            },
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.named(&fixed.name, namespace, place, Shape::Fixed(fixed.size))
            }
            Schema::Enum(symbols) => self.named(&symbols.name, namespace, place, Shape::Symbol(symbols.symbols.len())),
            Schema::Array(array) => Shape::Array(self.shape(&array.items, namespace)?),
            Schema::Map(map) => Shape::Map(self.shape(&map.types, namespace)?),
            Schema::Union(union) => {
                let shapes = union.variants().iter().map(|variant| self.shape(variant, namespace));
                Shape::OneOf(shapes.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => {
                self.named(&record.name, namespace, place, Shape::Fixed(0));
                let namespace = record.name.namespace().or(namespace);
                let shapes = record.fields.iter().map(|field| self.shape(&field.schema, namespace));
                Shape::Each(shapes.collect::<Result<_, _>>()?)
            }
            Schema::Ref { name } => {
                let name = name.fullname(namespace);
                Shape::Each(vec![*self.named.get(&name).ok_or_else(|| format!("it has no type {name}"))?])
            }
        };
        Ok(place)
    }

    fn named(&mut self, name: &Name, namespace: Option<&str>, place: usize, shape: Shape) -> Shape {
        self.named.insert(name.fullname(namespace), place);
        shape
    }
}

const DATUM: &str = "Avro datum";
/// Deeper ones would need more stack than there is.
const MOST_DEPTH: usize = 250;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use apache_avro::types::Value;
    use apache_avro::writer::datum::GenericDatumWriter;

    use super::*;

    fn datums(schema: &str) -> Datums {
        Datums::of(&Schema::parse_str(schema).unwrap()).unwrap()
    }

    fn skipped(schema: &str, bytes: &[u8]) -> Result<usize, WireError> {
        let mut reader = Reader::new(bytes);
        datums(schema).skip(&mut reader).map(|()| reader.position())
    }

    #[test]
    fn a_datum_of_any_schema_ends_where_it_ends() {
        let schema = r#"{"type":"record","name":"a.R","fields":[
            {"name":"n","type":"null"}, {"name":"b","type":"boolean"}, {"name":"i","type":"int"},
            {"name":"l","type":{"type":"long","logicalType":"timestamp-millis"}}, {"name":"f","type":"float"},
            {"name":"d","type":"double"}, {"name":"y","type":"bytes"}, {"name":"s","type":"string"},
            {"name":"x","type":{"type":"fixed","name":"F","size":5}},
            {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
            {"name":"m","type":{"type":"map","values":["null","E","a.F"]}},
            {"name":"r","type":{"type":"array","items":["null","R"]}}]}"#;
        let parsed = Schema::parse_str(schema).unwrap();
        let record = |inner: Vec<Value>| {
            let map = [
                ("k".to_owned(), Value::Union(1, Value::Enum(1, "B".into()).into())),
                ("l".to_owned(), Value::Union(2, Value::Fixed(5, vec![9; 5]).into())),
            ];
            let fields = [
                ("n", Value::Null),
                ("b", Value::Boolean(true)),
                ("i", Value::Int(-70_000)),
                ("l", Value::TimestampMillis(1 << 40)),
                ("f", Value::Float(1.5)),
                ("d", Value::Double(1.5)),
                ("y", Value::Bytes(vec![1; 300])),
                ("s", Value::String("text".into())),
                ("x", Value::Fixed(5, vec![7; 5])),
                ("e", Value::Enum(0, "A".into())),
                ("m", Value::Map(map.into())),
                ("r", Value::Array(inner)),
            ];
            Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
        };
        let value = record(vec![Value::Union(1, record(Vec::new()).into()), Value::Union(0, Value::Null.into())]);
        let writer = GenericDatumWriter::builder(&parsed).build().unwrap();
        let bytes = writer.write_value_to_vec(value).unwrap();
        assert_eq!(skipped(schema, &bytes), Ok(bytes.len()));
        for end in 0..bytes.len() {
            assert!(matches!(skipped(schema, &bytes[..end]), Err(WireError::Truncated { .. })), "cut at {end}");
        }
    }

    #[test]
    fn what_is_written_as_nothing_costs_nothing_however_often() {
        let nulls = r#"{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"f","type":"null"}]}}"#;
        // 2^62 of them, and -2^62 with the size of the block.
        let count = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
        assert_eq!(skipped(nulls, &[&count[..], &[1, 0, 0]].concat()), Ok(13));
        assert!(skipped(r#"{"type":"array","items":"int"}"#, &count).is_err());
    }

    #[test]
    fn what_nests_without_end_is_refused() {
        let itself = r#"{"type":"record","name":"R","fields":[{"name":"f","type":"R"}]}"#;
        assert!(matches!(skipped(itself, &[]), Err(WireError::Sequence { .. })));
        let list = r#"{"type":"record","name":"R","fields":[{"name":"next","type":["null","R"]}]}"#;
        assert_eq!(skipped(list, &[&[2; 80][..], &[0]].concat()), Ok(81));
        assert!(matches!(skipped(list, &[2; 5000]), Err(WireError::Sequence { .. })));
        let arrays = r#"{"type":"record","name":"R","fields":[{"name":"f","type":{"type":"array","items":"R"}}]}"#;
        assert!(matches!(skipped(arrays, &[2; 5000]), Err(WireError::Sequence { .. })));
        let maps = r#"{"type":"record","name":"R","fields":[{"name":"f","type":{"type":"map","values":"R"}}]}"#;
        assert!(matches!(skipped(maps, &[2, 0].repeat(5000)), Err(WireError::Sequence { .. })));
    }
}

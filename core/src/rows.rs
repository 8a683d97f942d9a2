//! Results: rows in named, typed columns.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::{Error, Result};
use crate::word::Word;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Whole numbers.
    I64,
    /// Numbers.
    F64,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Bytes,
    /// Milliseconds since 1970 UTC.
    Time,
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A whole number.
    I64(i64),
    /// A number.
    F64(f64),
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Milliseconds since 1970 UTC.
    Time(i64),
}

/// The values of one column, in row order.
#[derive(Debug, Clone, PartialEq)]
enum Column {
    Numbers {
        kind: ColumnKind,
        values: Vec<i64>,
    },
    Floats(Vec<f64>),
    /// `ends[i]` is the end of value `i` in `bytes`; it begins where the one before ends.
    Spans {
        kind: ColumnKind,
        ends: Vec<u32>,
        bytes: Vec<u8>,
    },
}

/// Rows in columns. Every column has a value in every row.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    columns: Vec<Column>,
    rows: usize,
}

/// What can be a row of results.
pub trait IntoRow {
    /// The kinds of its columns, in order.
    const COLUMNS: &'static [ColumnKind];

    /// Hands over its values, one per column, in order.
    fn write(&self, row: &mut RowWriter<'_>);
}

/// What can be one value of a row.
pub trait IntoValue {
    /// The kind of its column.
    const KIND: ColumnKind;

    /// The value.
    fn value(&self) -> Value<'_>;
}

/// Takes the values of one row.
#[derive(Debug)]
pub struct RowWriter<'a> {
    rows: &'a mut Rows,
    column: usize,
}

// === impl Rows ===

impl Rows {
    /// No rows, in columns of these kinds.
    pub fn new(kinds: &[ColumnKind]) -> Self {
        let columns = kinds.iter().map(|&kind| match kind {
            ColumnKind::F64 => Column::Floats(Vec::new()),
            ColumnKind::I64 | ColumnKind::Time => Column::Numbers { kind, values: Vec::new() },
            ColumnKind::Text | ColumnKind::Bytes => Column::Spans { kind, ends: Vec::new(), bytes: Vec::new() },
        });
        Self { columns: columns.collect(), rows: 0 }
    }

    /// No rows, in the columns of `T`.
    pub fn of<T: IntoRow>() -> Self {
        Self::new(T::COLUMNS)
    }

    /// Adds a row.
    pub fn push<T: IntoRow>(&mut self, row: &T) {
        row.write(&mut RowWriter { rows: self, column: 0 });
        self.rows += 1;
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The value at (`row`, `column`), both counted from 0. Panics when out of range, as a slice does.
    pub fn value(&self, row: usize, column: usize) -> Value<'_> {
        match &self.columns[column] {
            Column::Numbers { kind: ColumnKind::Time, values } => Value::Time(values[row]),
            Column::Numbers { values, .. } => Value::I64(values[row]),
            Column::Floats(values) => Value::F64(values[row]),
            Column::Spans { kind, ends, bytes } => {
                let start = if row == 0 { 0 } else { ends[row - 1] as usize };
                let bytes = &bytes[start..ends[row] as usize];
                match (kind, std::str::from_utf8(bytes)) {
                    (ColumnKind::Text, Ok(text)) => Value::Text(text),
                    _ => Value::Bytes(bytes),
                }
            }
        }
    }

    /// The first `rows` of them.
    pub fn first(&self, rows: usize) -> Self {
        let rows = rows.min(self.rows);
        let columns = self.columns.iter().map(|column| match column {
            Column::Numbers { kind, values } => Column::Numbers { kind: *kind, values: values[..rows].to_vec() },
            Column::Floats(values) => Column::Floats(values[..rows].to_vec()),
            Column::Spans { kind, ends, bytes } => {
                let ends = ends[..rows].to_vec();
                let bytes = bytes[..ends.last().copied().unwrap_or(0) as usize].to_vec();
                Column::Spans { kind: *kind, ends, bytes }
            }
        });
        Self { columns: columns.collect(), rows }
    }

    /// Adds the rows of `other`, which has the same columns.
    pub fn append(&mut self, other: &Self) {
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            match (mine, theirs) {
                (Column::Numbers { values, .. }, Column::Numbers { values: more, .. }) => {
                    values.extend_from_slice(more)
                }
                (Column::Floats(values), Column::Floats(more)) => values.extend_from_slice(more),
                (Column::Spans { ends, bytes, .. }, Column::Spans { ends: more, bytes: tail, .. }) => {
                    let base = bytes.len() as u32;
                    ends.extend(more.iter().map(|end| end + base));
                    bytes.extend_from_slice(tail);
                }
                _ => debug_assert!(false, "appended rows have the same columns"),
            }
        }
        self.rows += other.rows;
    }

    /// What the rows keep in memory.
    pub fn retained_bytes(&self) -> u64 {
        let columns = self.columns.iter().map(|column| match column {
            Column::Numbers { values, .. } => values.len() * 8,
            Column::Floats(values) => values.len() * 8,
            Column::Spans { ends, bytes, .. } => ends.len() * 4 + bytes.len(),
        });
        columns.sum::<usize>() as u64
    }

    /// The rows as bytes: u32 rows, u8 columns, then per column u8 kind and the values, little-endian; spans as u32 ends
    /// followed by the bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.retained_bytes() as usize + 16);
        out.put_u32_le(self.rows as u32);
        out.put_u8(self.columns.len() as u8);
        for column in &self.columns {
            match column {
                Column::Numbers { kind, values } => {
                    out.put_u8(*kind as u8);
                    values.iter().for_each(|value| out.put_i64_le(*value));
                }
                Column::Floats(values) => {
                    out.put_u8(ColumnKind::F64 as u8);
                    values.iter().for_each(|value| out.put_f64_le(*value));
                }
                Column::Spans { kind, ends, bytes } => {
                    out.put_u8(*kind as u8);
                    ends.iter().for_each(|end| out.put_u32_le(*end));
                    out.extend_from_slice(bytes);
                }
            }
        }
        out.freeze()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes are not rows.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let len = bytes.len();
        decode(bytes).ok_or_else(|| Error::corrupt("staged rows", format_args!("{len} bytes that are not rows")))
    }
}

fn decode(mut from: Bytes) -> Option<Rows> {
    let rows = from.try_get_u32_le().ok()? as usize;
    let width = from.try_get_u8().ok()?;
    let mut columns = Vec::with_capacity(width.into());
    for _ in 0..width {
        let kind = match from.try_get_u8().ok()? {
            0 => ColumnKind::I64,
            1 => ColumnKind::F64,
            2 => ColumnKind::Text,
            3 => ColumnKind::Bytes,
            4 => ColumnKind::Time,
            _ => return None,
        };
        let width = if matches!(kind, ColumnKind::Text | ColumnKind::Bytes) { 4 } else { 8 };
        if from.len() < rows.checked_mul(width)? {
            return None;
        }
        columns.push(match kind {
            ColumnKind::F64 => Column::Floats((0..rows).map(|_| from.get_f64_le()).collect()),
            ColumnKind::I64 | ColumnKind::Time => {
                Column::Numbers { kind, values: (0..rows).map(|_| from.get_i64_le()).collect() }
            }
            ColumnKind::Text | ColumnKind::Bytes => {
                let ends: Vec<u32> = (0..rows).map(|_| from.get_u32_le()).collect();
                let total = ends.last().copied().unwrap_or(0) as usize;
                if !ends.is_sorted() || total > from.len() {
                    return None;
                }
                Column::Spans { kind, ends, bytes: from.split_to(total).to_vec() }
            }
        });
    }
    from.is_empty().then_some(Rows { columns, rows })
}

// === impl RowWriter ===

impl RowWriter<'_> {
    /// The next column's value.
    pub fn push<V: IntoValue + ?Sized>(&mut self, value: &V) {
        match (&mut self.rows.columns[self.column], value.value()) {
            (Column::Numbers { values, .. }, Value::I64(number) | Value::Time(number)) => values.push(number),
            (Column::Floats(values), Value::F64(number)) => values.push(number),
            (Column::Spans { ends, bytes, .. }, Value::Text(_) | Value::Bytes(_)) => {
                match value.value() {
                    Value::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                    Value::Bytes(other) => bytes.extend_from_slice(other),
                    _ => {}
                }
                ends.push(bytes.len() as u32);
            }
            _ => debug_assert!(false, "a value's kind is that of its column"),
        }
        self.column += 1;
    }
}

macro_rules! values {
    ($($type:ty => $kind:ident, |$it:ident| $value:expr;)*) => {$(
        impl IntoValue for $type {
            const KIND: ColumnKind = ColumnKind::$kind;
            fn value(&self) -> Value<'_> {
                let $it = self;
                Value::$kind($value)
            }
        }
    )*};
}

values! {
    i64 => I64, |it| *it;
    u64 => I64, |it| i64::try_from(*it).unwrap_or(i64::MAX);
    i32 => I64, |it| i64::from(*it);
    u32 => I64, |it| i64::from(*it);
    f64 => F64, |it| *it;
    String => Text, |it| it;
    Word => Text, |it| it;
    Vec<u8> => Bytes, |it| it;
    Bytes => Bytes, |it| it;
}

macro_rules! tuples {
    ($(($($part:ident $index:tt),+))*) => {$(
        impl<$($part: IntoValue),+> IntoRow for ($($part,)+) {
            const COLUMNS: &'static [ColumnKind] = &[$($part::KIND),+];
            fn write(&self, row: &mut RowWriter<'_>) {
                $(row.push(&self.$index);)+
            }
        }
    )*};
}

tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) (A 0, B 1, C 2, D 3, E 4, F 5) }

macro_rules! single_values {
    ($($type:ty)*) => {$(
        impl IntoRow for $type {
            const COLUMNS: &'static [ColumnKind] = &[<$type>::KIND];
            fn write(&self, row: &mut RowWriter<'_>) {
                row.push(self);
            }
        }
    )*};
}

single_values!(i64 u64 i32 u32 f64 String Word Vec<u8> Bytes);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_from_bytes_and_no_cut_panics() {
        let mut rows = Rows::of::<(String, i64, f64)>();
        rows.push(&("the".to_owned(), 3_i64, 0.5));
        rows.push(&(String::new(), -1_i64, 1.5));
        let mut twice = rows.clone();
        twice.append(&rows);
        let bytes = twice.encode();
        let back = Rows::decode(bytes.clone()).expect("rows");
        assert_eq!(back, twice);
        assert_eq!(back.value(2, 0), Value::Text("the"));
        assert_eq!(back.value(3, 1), Value::I64(-1));
        for cut in 0..bytes.len() {
            assert!(Rows::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}

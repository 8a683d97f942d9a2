//! Rows as lines of text.

use std::fmt::Write;

use millstream_core::{Rows, Value};

/// Appends one row as Spark prints a tuple: `(the,3)`; a single value stands alone.
pub(crate) fn push_tuple(line: &mut String, rows: &Rows, row: usize) {
    let tuple = rows.width() != 1;
    if tuple {
        line.push('(');
    }
    for column in 0..rows.width() {
        if column > 0 {
            line.push(',');
        }
        push_value(line, rows.value(row, column));
    }
    if tuple {
        line.push(')');
    }
}

/// Appends one value. Whole floats keep their `.0`, as in Java; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn push_value(line: &mut String, value: Value<'_>) {
    // Writing to a String cannot fail.
    let _ = match value {
        Value::I64(number) | Value::Time(number) => write!(line, "{number}"),
        Value::F64(number) => write!(line, "{number:?}"),
        Value::Text(text) => line.write_str(text),
        Value::Bytes(bytes) => line.write_str(&String::from_utf8_lossy(bytes)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_as_spark_prints_them() {
        let line = |rows: &Rows| {
            let mut line = String::new();
            push_tuple(&mut line, rows, 0);
            line
        };
        let mut rows = Rows::of::<(String, i64, f64)>();
        rows.push(&("the".to_owned(), 3_i64, 2.0));
        assert_eq!(line(&rows), "(the,3,2.0)");
        let mut rows = Rows::of::<Vec<u8>>();
        rows.push(&b"caf\xE9".to_vec());
        assert_eq!(line(&rows), "caf\u{FFFD}");
    }
}

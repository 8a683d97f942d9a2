//! `print`: the first elements of every batch on standard output, in Spark's form.

use std::io::Write;

use millstream_core::{BatchId, BatchStamp, Error, LogId, Output, Result, Rows, Staged, Value};

const RULE: &str = "-------------------------------------------";

/// Prints up to `elements` of a batch.
pub(crate) struct Print {
    elements: usize,
}

impl Print {
    pub(crate) fn to_stdout(elements: usize) -> Self {
        Self { elements }
    }

    fn page(&self, time_ms: u64, rows: &Rows) -> String {
        let mut page = format!("{RULE}\nTime: {time_ms} ms\n{RULE}\n");
        for row in 0..rows.len().min(self.elements) {
            page.push_str(&element(rows, row));
            page.push('\n');
        }
        if rows.len() > self.elements {
            page.push_str("...\n");
        }
        page.push('\n');
        page
    }
}

impl Output for Print {
    fn stage(&self, _stamp: BatchStamp, rows: &Rows) -> Result<Staged> {
        // Only what is shown goes into the log: the elements, and one more for the dots.
        Ok(Staged { bytes: rows.first(self.elements + 1).encode() })
    }

    fn apply(&self, stamp: BatchStamp, staged: &Staged) -> Result<()> {
        let page = self.page(stamp.time_ms, &Rows::decode(staged.bytes.clone())?);
        let mut out = std::io::stdout().lock();
        let written = out.write_all(page.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Error::io("write", "standard output", error))
    }

    fn last_applied(&self) -> Result<Option<(LogId, BatchId)>> {
        Ok(None)
    }

    fn remembers(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "standard output".into()
    }
}

/// One element as Spark prints a tuple: `(the,3)`; a single value stands alone.
fn element(rows: &Rows, row: usize) -> String {
    let values: Vec<String> = (0..rows.width()).map(|column| text(rows.value(row, column))).collect();
    if values.len() == 1 { values.concat() } else { format!("({})", values.join(",")) }
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::I64(number) | Value::Time(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        Value::Text(text) => text.to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_printed_as_spark_prints_it() {
        let mut rows = Rows::of::<(String, i64)>();
        rows.push(&("the".to_owned(), 3_i64));
        rows.push(&("a".to_owned(), 2_i64));
        let page = Print { elements: 1 }.page(1000, &rows);
        assert_eq!(page, format!("{RULE}\nTime: 1000 ms\n{RULE}\n(the,3)\n...\n\n"));
    }
}

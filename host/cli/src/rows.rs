//! Rows of SQL for people, spreadsheets and scripts.
//!
//! ```text
//!             table, line            csv (RFC 4180: CRLF, quotes doubled, a header)
//!  NULL       NULL                   nothing, without quotes
//!  INTEGER    5                      5, all digits
//!  REAL       1.5  inf  -inf         1.5  inf  -inf
//!  TEXT       text, one line         "text" as it is, always in quotes; "" is the empty text
//!  BLOB       x'00ff', cut           x'00ff', whole, without quotes
//! ```
//! NaN is not among them: SQLite stores NaN as NULL. Only JSON (`--json`) is read back without
//! ambiguity by every reader.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use serde_json::Value as Json;

use super::failure::Failure;
use super::output::{Output, cell, sql_cell, table};

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table
    #[default]
    Table,
    /// RFC 4180: a header, CRLF; texts in quotes, NULL is empty, blobs x'00ff'
    Csv,
    /// A line for each value, an empty line between rows
    Line,
}

/// Prints the rows of an answer, or the number of changes for a statement that returns no rows.
pub(super) fn print(output: Output, format: Format, document: &Json) -> Result<(), Failure> {
    let has_rows = !list(&document["columns"]).is_empty();
    if output.is_json() || !has_rows || format == Format::Table {
        return output.result(document, as_table);
    }
    match format {
        Format::Csv => output.data(&as_csv(document)),
        Format::Line | Format::Table => output.result(document, as_lines),
    }
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[][..], Vec::as_slice)
}

/// Rows as a table; an empty text for a statement that returns no rows.
pub(super) fn as_table(document: &Json) -> String {
    let header: Vec<String> = list(&document["columns"]).iter().map(cell).collect();
    if header.is_empty() {
        return changed(document["changes"].as_u64().unwrap_or(0));
    }
    let rows = list(&document["rows"]);
    table(header, rows.iter().map(|row| list(row).iter().map(sql_cell).collect()).collect())
}

pub(super) fn changed(rows: u64) -> String {
    if rows == 1 { "1 row changed".to_owned() } else { format!("{rows} rows changed") }
}

/// `name = value`, names as wide as the widest.
fn as_lines(document: &Json) -> String {
    let names: Vec<String> = list(&document["columns"]).iter().map(cell).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let rows = list(&document["rows"]).iter().map(|row| {
        let values = names.iter().zip(list(row));
        values.fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name:>width$} = {}", sql_cell(value));
            text
        })
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn as_csv(document: &Json) -> String {
    let header = list(&document["columns"]).iter().map(csv_field);
    let mut text = record(header);
    for row in list(&document["rows"]) {
        text.push_str(&record(list(row).iter().map(csv_field)));
    }
    text
}

fn record(fields: impl Iterator<Item = String>) -> String {
    let mut record = fields.collect::<Vec<_>>().join(",");
    record.push_str("\r\n");
    record
}

fn csv_field(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => format!("\"{}\"", text.replace('"', "\"\"")),
        Json::Object(fields) => match fields.iter().next() {
            Some((kind, Json::String(text))) if kind == "blob" => {
                let bytes = BASE64.decode(text).unwrap_or_default();
                format!("x'{}'", hex::encode(bytes))
            }
            // A number for which JSON has no notation.
            Some((_, Json::String(text))) => text.clone(),
            _ => value.to_string(),
        },
        number => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Json {
        json!({
            "columns": ["a", "b\"c"],
            "rows": [
                [null, ""],
                [1.5, "x,\"y\"\r\nz"],
                [{ "integer": "9007199254740993" }, { "blob": "AP8=" }],
                [{ "real": "-inf" }, "x'00ff'"],
            ],
            "changes": 0,
        })
    }

    #[test]
    fn csv_is_that_of_rfc_4180_and_tells_values_apart() {
        let expected = "\"a\",\"b\"\"c\"\r\n\
                        ,\"\"\r\n\
                        1.5,\"x,\"\"y\"\"\r\nz\"\r\n\
                        9007199254740993,x'00ff'\r\n\
                        -inf,\"x'00ff'\"\r\n";
        assert_eq!(as_csv(&document()), expected);
    }

    #[test]
    fn lines_have_one_value_each() {
        let expected = "  a = NULL\nb\"c = \n\n  a = 1.5\nb\"c = x,\"y\"\\r\\nz\n\n\
                        \u{20} a = 9007199254740993\nb\"c = x'00ff'\n\n  a = -inf\nb\"c = x'00ff'\n";
        assert_eq!(as_lines(&document()), expected);
    }

    #[test]
    fn rows_are_a_table_and_changes_a_sentence() {
        let text = as_table(&json!({ "columns": ["a"], "rows": [[1], [null]], "changes": 0 }));
        assert!(text.contains("NULL") && text.contains('a'), "{text}");
        assert_eq!(as_table(&json!({ "columns": [], "rows": [], "changes": 3 })), "3 rows changed");
    }
}

//! A record as `ringlog topic read` prints it.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use protocol::records::Record;
use serde_json::{Map, Value, json};

use super::args::Format;
use crate::cli::table::shown;

const NULL: &str = "null";

pub(super) fn write_record(
    out: &mut impl Write,
    format: Format,
    topic: &str,
    partition: i32,
    record: &Record<'_>,
) -> io::Result<()> {
    match format {
        Format::Value => {
            out.write_all(record.value.unwrap_or_default())?;
            out.write_all(b"\n")
        }
        Format::Json => writeln!(out, "{}", to_json(topic, partition, record)),
        Format::Text => writeln!(out, "{}", to_line(partition, record, text)),
        Format::Hex => writeln!(out, "{}", to_line(partition, record, hex)),
    }
}

/// With a tab between each.
fn to_line(partition: i32, record: &Record<'_>, bytes: fn(&[u8]) -> String) -> String {
    let shown_bytes = |content: Option<&[u8]>| content.map_or(NULL.to_owned(), bytes);
    let headers = record.headers.iter().map(|header| format!("{}={}", text(header.key), shown_bytes(header.value)));
    let headers: Vec<String> = headers.collect();
    let mut line = format!(
        "{partition}\t{}\t{}\t{}\t{}",
        record.offset,
        time(record.timestamp),
        shown_bytes(record.key),
        shown_bytes(record.value)
    );
    if !headers.is_empty() {
        line.push('\t');
        line.push_str(&headers.join(","));
    }
    line
}

fn text(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        use std::fmt::Write;
        write!(hex, "{byte:02x}").expect("writing to a string");
        hex
    })
}

/// UTC, with milliseconds; `-` for a record that has no time.
fn time(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(moment) if ms >= 0 => moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        _ => "-".to_owned(),
    }
}

/// What is no UTF-8 has its field's name with `_base64` behind it.
fn to_json(topic: &str, partition: i32, record: &Record<'_>) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), topic.into());
    object.insert("partition".to_owned(), partition.into());
    object.insert("offset".to_owned(), record.offset.0.into());
    object.insert("timestamp_ms".to_owned(), record.timestamp.into());
    content(&mut object, "key", record.key);
    content(&mut object, "value", record.value);
    let headers = record.headers.iter().map(|header| {
        let mut object = Map::new();
        content(&mut object, "key", Some(header.key));
        content(&mut object, "value", header.value);
        Value::Object(object)
    });
    object.insert("headers".to_owned(), json!(headers.collect::<Vec<_>>()));
    object.into()
}

fn content(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), text.into()),
        Some(Err(bytes)) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Offset;
    use protocol::records::RecordHeader;

    fn printed(format: Format, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write_record(&mut out, format, "t", 3, record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_printed_in_every_format() {
        let headers = vec![RecordHeader { key: b"h", value: Some(b"1") }, RecordHeader { key: b"n", value: None }];
        let record =
            Record { offset: Offset(7), timestamp: 1_250, key: Some(b"k"), value: Some("vü".as_bytes()), headers };
        assert_eq!(printed(Format::Text, &record), "3\t7\t1970-01-01T00:00:01.250Z\tk\tvü\th=1,n=null\n");
        assert_eq!(printed(Format::Hex, &record), "3\t7\t1970-01-01T00:00:01.250Z\t6b\t76c3bc\th=31,n=null\n");
        assert_eq!(printed(Format::Value, &record), "vü\n");
        assert_eq!(
            serde_json::from_str::<Value>(&printed(Format::Json, &record)).unwrap(),
            json!({
                "topic": "t", "partition": 3, "offset": 7, "timestamp_ms": 1250, "key": "k", "value": "vü",
                "headers": [{ "key": "h", "value": "1" }, { "key": "n", "value": null }],
            })
        );
    }

    #[test]
    fn nothing_of_a_record_moves_the_cursor_and_bytes_that_are_no_text_are_kept() {
        let record =
            Record { offset: Offset(0), timestamp: -1, key: None, value: Some(b"\x1b[2J\n\xff"), headers: vec![] };
        assert_eq!(printed(Format::Text, &record), "3\t0\t-\tnull\t\\u{1b}[2J\\n\u{fffd}\n");
        let json: Value = serde_json::from_str(&printed(Format::Json, &record)).unwrap();
        assert_eq!((&json["key"], &json["value_base64"]), (&Value::Null, &json!("G1sySgr/")));
        assert_eq!(json.get("value"), None);
    }
}

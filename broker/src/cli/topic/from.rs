//! Where reading begins, as it is given.

use std::str::FromStr;

use crate::cli::group::{datetime_ms, duration_ms};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum From {
    Earliest,
    Latest,
    Offset(i64),
    /// So many offsets before the end.
    BeforeEnd(i64),
    /// The first record that is not older, in ms since 1970.
    Timestamp(i64),
    /// The first record that is no older than so many ms.
    Ago(i64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<From, String> {
        match text {
            "earliest" | "beginning" | "start" => return Ok(From::Earliest),
            "latest" | "end" => return Ok(From::Latest),
            _ => {}
        }
        if let Ok(number) = text.parse::<i64>() {
            return Ok(if number < 0 { From::BeforeEnd(number.saturating_neg()) } else { From::Offset(number) });
        }
        if text.starts_with(['P', 'p']) {
            return duration_ms(text).map(From::Ago);
        }
        if text.contains(['T', 't']) && text.starts_with(|letter: char| letter.is_ascii_digit()) {
            return datetime_ms(text).map(From::Timestamp);
        }
        Err(format!(
            "'{text}' is none of earliest, latest, an offset, -N, a time as 2026-03-01T12:00:00 or a duration as PT1H"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_an_offset_or_a_time() {
        for (text, expected) in [
            ("earliest", Some(From::Earliest)),
            ("latest", Some(From::Latest)),
            ("17", Some(From::Offset(17))),
            ("-5", Some(From::BeforeEnd(5))),
            ("1970-01-01T00:00:01", Some(From::Timestamp(1000))),
            ("PT1M", Some(From::Ago(60_000))),
            ("yesterday", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}

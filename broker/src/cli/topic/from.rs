//! Where reading begins, as it is given.

use std::str::FromStr;

use crate::cli::group::{ago_ms, date_ms, datetime_ms};

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
        let begins = |what: fn(char) -> bool| text.starts_with(what);
        // 2h has no T in it, nor any date alone; 2026-03-01t12:00 does.
        let is_time = begins(|letter| letter.is_ascii_digit()) && text.contains('-');
        match is_time {
            true if text.contains(['T', 't', ' ']) => datetime_ms(text).map(From::Timestamp),
            true => date_ms(text).map(From::Timestamp),
            false if begins(|letter| letter.is_ascii_digit() || matches!(letter, 'P' | 'p')) => {
                ago_ms(text).map(From::Ago)
            }
            false => Err(format!(
                "'{text}' is none of earliest, latest, an offset, -N, a time as 2026-03-01T12:00:00, or how long ago as 2h or \
                 PT1H"
            )),
        }
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
            ("1970-01-02", Some(From::Timestamp(86_400_000))),
            ("1970-01-01T01:00:00+01:00", Some(From::Timestamp(0))),
            ("PT1M", Some(From::Ago(60_000))),
            ("2h", Some(From::Ago(7_200_000))),
            ("1h30m", Some(From::Ago(5_400_000))),
            ("1d", Some(From::Ago(86_400_000))),
            ("90s", Some(From::Ago(90_000))),
            ("1mo", None),
            ("2x", None),
            ("2026-13-01", None),
            ("yesterday", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}

//! Reading single values from text: counts, byte sizes, log levels.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::host_port::{HostPort, HostPortError};
use super::nearest::nearest;

/// Why a text is no value of its setting. Messages continue a sentence that has named the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("is empty")]
    Empty,
    #[error("is not a whole number")]
    NotANumber,
    #[error("is not a size in bytes; write a whole number, with KiB, MiB or GiB after it if you like, as in 64MiB")]
    NotASize,
    #[error("is out of range: from {minimum} to {maximum}")]
    OutOfRange { minimum: u64, maximum: u64 },
    #[error("is out of range: 0, or from {minimum} to {maximum}")]
    OutOfRangeOrNone { minimum: u64, maximum: u64 },
    #[error("{0}")]
    HostPort(#[from] HostPortError),
    #[error("is not one of {}{}", allowed.join(", "), did_you_mean(*suggestion))]
    NotOneOf { allowed: &'static [&'static str], suggestion: Option<&'static str> },
    #[error("is not a log filter: {reason}")]
    LogFilter { reason: String },
}

/// `; did you mean "x"?`, or nothing.
pub(super) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// A whole number within `range`.
pub(super) fn count(text: &str, range: RangeInclusive<u64>) -> Result<u64, ValueError> {
    in_range(digits(text.trim()).ok_or(ValueError::NotANumber)?, range)
}

/// A size in bytes within `range`: plain, or in KiB, MiB or GiB. Decimal units are refused, being taken for binary ones
/// too often.
pub fn size_bytes(text: &str, range: RangeInclusive<u64>) -> Result<u64, ValueError> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(ValueError::NotASize),
    };
    let number = digits(number).ok_or(ValueError::NotASize)?;
    // A product past 64 bits is past every range too.
    in_range(number.saturating_mul(1 << shift), range)
}

/// A size in bytes within `range`, or 0 for "none".
pub(super) fn size_bytes_or_none(text: &str, range: RangeInclusive<u64>) -> Result<u64, ValueError> {
    match size_bytes(text, 0..=u64::MAX)? {
        bytes if bytes == 0 || range.contains(&bytes) => Ok(bytes),
        _ => Err(ValueError::OutOfRangeOrNone { minimum: *range.start(), maximum: *range.end() }),
    }
}

fn digits(text: &str) -> Option<u64> {
    // `u64::from_str` takes a leading plus, which nobody means.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // All digits, so the only failure left is a number past 64 bits, which no range includes.
    Some(text.parse().unwrap_or(u64::MAX))
}

fn in_range(number: u64, range: RangeInclusive<u64>) -> Result<u64, ValueError> {
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(ValueError::OutOfRange { minimum: *range.start(), maximum: *range.end() })
    }
}

/// One or more addresses to connect to, separated by commas.
pub(super) fn addresses(text: &str) -> Result<Vec<HostPort>, ValueError> {
    text.split(',').map(|address| address.trim().parse().map_err(ValueError::from)).collect()
}

/// A path; it need not exist.
pub(super) fn path(text: &str) -> Result<PathBuf, ValueError> {
    if text.is_empty() { Err(ValueError::Empty) } else { Ok(PathBuf::from(text)) }
}

/// One of a closed set of words, case ignored.
pub(super) fn word<T: Copy>(text: &str, allowed: &'static [&'static str], values: &[T]) -> Result<T, ValueError> {
    let position = allowed.iter().position(|word| word.eq_ignore_ascii_case(text.trim()));
    position
        .and_then(|at| values.get(at).copied())
        .ok_or_else(|| ValueError::NotOneOf { allowed, suggestion: nearest(text, allowed.iter().copied()) })
}

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// A `tracing-subscriber` filter.
///
/// `EnvFilter` takes a bare unknown word for a module name and would silence everything else; here it is a mistyped
/// level.
pub(super) fn log_filter(text: &str) -> Result<String, ValueError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ValueError::Empty);
    }
    for directive in text.split(',').map(str::trim) {
        let bare = !directive.contains(['=', '[']);
        if bare && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive)) {
            return Err(ValueError::NotOneOf {
                allowed: LEVELS,
                suggestion: nearest(directive, LEVELS.iter().copied()),
            });
        }
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(ValueError::LogFilter { reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_binary_units() {
        let out_of_range = ValueError::OutOfRange { minimum: 0, maximum: 1 << 40 };
        for (text, expected) in [
            ("0", Ok(0)),
            ("4096", Ok(4096)),
            (" 64 MiB ", Ok(64 << 20)),
            ("2GiB", Ok(2 << 30)),
            ("1KiB", Ok(1024)),
            ("7B", Ok(7)),
            ("64MB", Err(ValueError::NotASize)),
            ("64mib", Err(ValueError::NotASize)),
            ("MiB", Err(ValueError::NotASize)),
            ("-1", Err(ValueError::NotASize)),
            ("+1", Err(ValueError::NotASize)),
            ("1.5GiB", Err(ValueError::NotASize)),
            ("", Err(ValueError::NotASize)),
            ("2048GiB", Err(out_of_range.clone())),
            ("18446744073709551615GiB", Err(out_of_range.clone())),
            ("99999999999999999999999", Err(out_of_range)),
        ] {
            assert_eq!(size_bytes(text, 0..=1 << 40), expected, "{text}");
        }
    }

    #[test]
    fn none_is_a_size_where_it_may_be() {
        let out_of_range = ValueError::OutOfRangeOrNone { minimum: 4, maximum: 1024 };
        for (text, expected) in [
            ("0", Ok(0)),
            ("4", Ok(4)),
            ("1KiB", Ok(1024)),
            ("3", Err(out_of_range.clone())),
            ("1025", Err(out_of_range)),
            ("-1", Err(ValueError::NotASize)),
        ] {
            assert_eq!(size_bytes_or_none(text, 4..=1024), expected, "{text}");
        }
    }

    #[test]
    fn counts_keep_to_their_range() {
        let out_of_range = ValueError::OutOfRange { minimum: 1, maximum: 9 };
        for (text, expected) in [
            ("1", Ok(1)),
            ("09", Ok(9)),
            ("0", Err(out_of_range.clone())),
            ("10", Err(out_of_range)),
            ("", Err(ValueError::NotANumber)),
            ("+1", Err(ValueError::NotANumber)),
            ("1 000", Err(ValueError::NotANumber)),
        ] {
            assert_eq!(count(text, 1..=9), expected, "{text}");
        }
    }

    #[test]
    fn log_filters_with_a_mistyped_level_are_refused() {
        for good in ["info", "WARN", "info,ringlog::wal=debug", "off", "warn,[request{id=1}]=trace"] {
            assert_eq!(log_filter(good).as_deref(), Ok(good));
        }
        let mistyped = log_filter("inof").unwrap_err();
        assert_eq!(mistyped.to_string(), "is not one of off, error, warn, info, debug, trace; did you mean \"info\"?");
        assert!(matches!(log_filter("ringlog=loud"), Err(ValueError::LogFilter { .. })));
        assert_eq!(log_filter(" "), Err(ValueError::Empty));
    }
}

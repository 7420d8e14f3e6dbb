//! Moments and durations as operators write them (ISO 8601), in milliseconds.

use jiff::civil::{Date, DateTime};
use jiff::{Span, SpanRelativeTo, Timestamp};

/// Milliseconds since 1970; UTC if the text says nothing else, as in Kafka's tool.
pub(in crate::cli) fn datetime_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("'{text}' is no time such as 2026-03-01T12:00:00, 2026-03-01T12:00:00.5Z or ...+01:00");
    // A date alone would be taken for its midnight, of which nobody can say where.
    if !text.contains(['T', 't']) {
        return Err(wrong());
    }
    let moment = match text.parse::<Timestamp>() {
        Ok(moment) => moment,
        Err(_) => {
            let local: DateTime = text.parse().map_err(|_| wrong())?;
            jiff::tz::Offset::UTC.to_timestamp(local).map_err(|_| wrong())?
        }
    };
    match moment.as_millisecond() {
        ms if ms >= 0 => Ok(ms),
        _ => Err(format!("'{text}' is before 1970")),
    }
}

/// The midnight, in UTC, that a date begins with.
pub(in crate::cli) fn date_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("'{text}' is no date such as 2026-03-01");
    let date: Date = text.parse().map_err(|_| wrong())?;
    let midnight = jiff::tz::Offset::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight()));
    match midnight.map_err(|_| wrong())?.as_millisecond() {
        ms if ms >= 0 => Ok(ms),
        _ => Err(format!("'{text}' is before 1970")),
    }
}

/// Milliseconds; days have 24 hours.
pub(in crate::cli) fn duration_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("'{text}' is no duration such as PT1H30M or P7D (weeks, days, hours, minutes, seconds)");
    if !text.trim_start_matches(['-', '+']).starts_with(['P', 'p']) {
        return Err(wrong());
    }
    match span_ms(text).ok_or_else(wrong)? {
        ms if ms < 0 => Err(format!("'{text}' is negative")),
        ms => Ok(ms),
    }
}

/// The same, or as people write it: `2h`, `1h30m`, `7d`.
pub(in crate::cli) fn ago_ms(text: &str) -> Result<i64, String> {
    let wrong =
        || format!("'{text}' is no time ago such as 2h, 30m, 7d or PT1H30M (weeks, days, hours, minutes, seconds)");
    span_ms(text).filter(|ms| *ms >= 0).ok_or_else(wrong)
}

/// `None` also of months and years, which have no length of their own.
fn span_ms(text: &str) -> Option<i64> {
    let span: Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    i64::try_from(duration.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_utc_unless_it_says_otherwise() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:01", Some(1000)),
            ("1970-01-01T00:00:01.250", Some(1250)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1970-01-02T00:00Z", Some(86_400_000)),
            ("2033-01-01T00:00:00.000", Some(1_988_150_400_000)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-03-01", None),
            ("2026-02-30T00:00:00", None),
            ("yesterday", None),
            ("T", None),
            ("", None),
        ] {
            assert_eq!(datetime_ms(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_duration_has_no_months() {
        for (text, expected) in [
            ("PT1S", Some(1000)),
            ("PT1H30M", Some(5_400_000)),
            ("P7D", Some(604_800_000)),
            ("P1W", Some(604_800_000)),
            ("P1DT0.5S", Some(86_400_500)),
            ("PT0S", Some(0)),
            ("P1M", None),
            ("P1Y", None),
            ("-PT1S", None),
            ("1h", None),
            ("P", None),
            ("", None),
        ] {
            assert_eq!(duration_ms(text).ok(), expected, "{text}");
        }
    }
}

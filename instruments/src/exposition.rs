//! Families as text.
//!
//! Samples come in any order; each family appears once, in the order of the list, with its help and type, whether it has
//! samples or not. So what is missing from a text is missing from the list.

use std::fmt::{self, Write};

use crate::family::{Families, Family, Kind};
use crate::histogram::Reading;

/// What a text is to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0: units, names of counters without their suffix, and a mark at the end.
    OpenMetrics,
}

impl Format {
    /// What a client takes that sent this `Accept` header: OpenMetrics if it names that.
    #[must_use]
    pub fn accepted(accept: &str) -> Format {
        let is_open = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts.next() == Some("application/openmetrics-text");
            named && !parts.any(|part| matches!(part.strip_prefix("q="), Some("0" | "0.0" | "0.00" | "0.000")))
        });
        if is_open { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// The `Content-Type` of it.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A sample's number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl From<u64> for Value {
    fn from(n: u64) -> Value {
        Value::Unsigned(n)
    }
}

impl From<usize> for Value {
    fn from(n: usize) -> Value {
        Value::Unsigned(n as u64)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Signed(n)
    }
}

impl From<f64> for Value {
    fn from(n: f64) -> Value {
        Value::Float(n)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Value {
        Value::Unsigned(is.into())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Unsigned(n) => n.fmt(out),
            Value::Signed(n) => n.fmt(out),
            Value::Float(n) if n.is_nan() => out.write_str("NaN"),
            Value::Float(f64::INFINITY) => out.write_str("+Inf"),
            Value::Float(f64::NEG_INFINITY) => out.write_str("-Inf"),
            Value::Float(n) => n.fmt(out),
        }
    }
}

/// Samples that are gathered for one text. See the module's documentation.
pub struct Exposition<F> {
    format: Format,
    /// Samples of each family, laid out.
    bodies: Vec<String>,
    families: std::marker::PhantomData<F>,
}

impl<F: Families> Exposition<F> {
    #[must_use]
    pub fn new(format: Format) -> Exposition<F> {
        Exposition { format, bodies: vec![String::new(); F::ALL.len()], families: std::marker::PhantomData }
    }

    /// Adds a sample of a counter or a gauge; `labels` are the values of the family's labels, in their order.
    ///
    /// # Panics
    /// If these are not as many.
    pub fn sample(&mut self, family: F, labels: &[&str], value: impl Into<Value>) {
        let (family, body) = self.family(family, labels);
        debug_assert!(family.kind != Kind::Histogram, "{} is a histogram", family.name);
        put(body, family, "", labels, None, value.into());
    }

    /// Adds a histogram.
    ///
    /// # Panics
    /// If the labels' values are not as many as their names.
    pub fn histogram(&mut self, family: F, labels: &[&str], reading: &Reading) {
        let (family, body) = self.family(family, labels);
        debug_assert!(family.kind == Kind::Histogram, "{} is no histogram", family.name);
        let mut so_far = 0;
        let bounds = reading.bounds().map(Some).chain(std::iter::once(None));
        for (bound, count) in bounds.zip(reading.counts()) {
            so_far += count;
            // Always with a point, as OpenMetrics wants it, so that both formats make the same series.
            let bound = bound.map_or("+Inf".to_owned(), |bound| match bound.to_string() {
                whole if !whole.contains('.') => whole + ".0",
                other => other,
            });
            put(body, family, "_bucket", labels, Some(&bound), so_far.into());
        }
        put(body, family, "_sum", labels, None, reading.sum().into());
        put(body, family, "_count", labels, None, so_far.into());
    }

    fn family(&mut self, family: F, labels: &[&str]) -> (&'static Family, &mut String) {
        let (index, family) = (family.index(), &F::ALL[family.index()]);
        assert_eq!(labels.len(), family.labels.len(), "labels of {}", family.name);
        (family, &mut self.bodies[index])
    }

    /// All of it.
    #[must_use]
    pub fn text(self) -> String {
        let headers = F::ALL.iter().map(|family| 64 + 2 * family.name.len() + family.help.len()).sum::<usize>();
        let mut out = String::with_capacity(headers + self.bodies.iter().map(String::len).sum::<usize>());
        for (family, body) in F::ALL.iter().zip(&self.bodies) {
            let (kind, help) = (family.kind.name(), family.help);
            // Writing to a string does not fail.
            let _ = match self.format {
                Format::Prometheus => writeln!(out, "# HELP {0} {help}\n# TYPE {0} {kind}", family.name),
                Format::OpenMetrics => {
                    let name = family.base_name();
                    let _ = writeln!(out, "# TYPE {name} {kind}");
                    if !family.unit().is_empty() {
                        let _ = writeln!(out, "# UNIT {name} {}", family.unit());
                    }
                    writeln!(out, "# HELP {name} {help}")
                }
            };
            out.push_str(body);
        }
        if self.format == Format::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }
}

/// One line.
fn put(out: &mut String, family: &Family, suffix: &str, labels: &[&str], bound: Option<&str>, value: Value) {
    out.push_str(family.name);
    out.push_str(suffix);
    let names = family.labels.iter().copied().chain(bound.map(|_| "le"));
    let values = labels.iter().copied().chain(bound);
    for (at, (name, value)) in names.zip(values).enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        out.push_str(name);
        out.push_str("=\"");
        put_escaped(out, value);
        out.push('"');
    }
    if !labels.is_empty() || bound.is_some() {
        out.push('}');
    }
    // Writing to a string does not fail.
    let _ = writeln!(out, " {value}");
}

/// A label's value: any text may be one.
fn put_escaped(out: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counts, Durations};
    use std::time::Duration;

    #[derive(Clone, Copy)]
    enum Few {
        Sent,
        Open,
        Took,
        Together,
    }

    impl Families for Few {
        const ALL: &'static [Family] = &[
            Family { name: "sent_bytes_total", kind: Kind::Counter, labels: &["to"], help: "Bytes sent." },
            Family { name: "open", kind: Kind::Gauge, labels: &[], help: "Open." },
            Family { name: "took_seconds", kind: Kind::Histogram, labels: &["what"], help: "Time." },
            Family { name: "together", kind: Kind::Histogram, labels: &[], help: "Number." },
        ];

        fn index(self) -> usize {
            self as usize
        }
    }

    #[test]
    fn both_formats_have_every_family_once_in_the_order_of_the_list() {
        let text = |format| {
            let mut exposition = Exposition::new(format);
            exposition.sample(Few::Open, &[], true);
            exposition.sample(Few::Sent, &["a"], 7_u64);
            exposition.sample(Few::Sent, &["b"], 1.5);
            exposition.text()
        };
        assert_eq!(
            text(Format::Prometheus),
            "# HELP sent_bytes_total Bytes sent.\n# TYPE sent_bytes_total counter\n\
             sent_bytes_total{to=\"a\"} 7\nsent_bytes_total{to=\"b\"} 1.5\n\
             # HELP open Open.\n# TYPE open gauge\nopen 1\n\
             # HELP took_seconds Time.\n# TYPE took_seconds histogram\n\
             # HELP together Number.\n# TYPE together histogram\n"
        );
        assert_eq!(
            text(Format::OpenMetrics),
            "# TYPE sent_bytes counter\n# UNIT sent_bytes bytes\n# HELP sent_bytes Bytes sent.\n\
             sent_bytes_total{to=\"a\"} 7\nsent_bytes_total{to=\"b\"} 1.5\n\
             # TYPE open gauge\n# HELP open Open.\nopen 1\n\
             # TYPE took_seconds histogram\n# UNIT took_seconds seconds\n# HELP took_seconds Time.\n\
             # TYPE together histogram\n# HELP together Number.\n# EOF\n"
        );
    }

    #[test]
    fn buckets_count_all_that_is_below_their_bound() {
        let (took, together) = (Durations::new(), Counts::new());
        took.observe(Duration::from_micros(20));
        took.observe(Duration::from_secs(1000));
        together.observe(2);
        let mut exposition = Exposition::new(Format::Prometheus);
        exposition.histogram(Few::Took, &["x"], &took.read());
        exposition.histogram(Few::Together, &[], &together.read());
        let text = exposition.text();
        for line in [
            "took_seconds_bucket{what=\"x\",le=\"0.000016\"} 0",
            "took_seconds_bucket{what=\"x\",le=\"0.000032\"} 1",
            "took_seconds_bucket{what=\"x\",le=\"8.388608\"} 1",
            "took_seconds_bucket{what=\"x\",le=\"+Inf\"} 2",
            "took_seconds_sum{what=\"x\"} 1000.00002",
            "took_seconds_count{what=\"x\"} 2",
            "together_bucket{le=\"1.0\"} 0",
            "together_bucket{le=\"2.0\"} 1",
            "together_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_value_cannot_break_out_of_its_label() {
        let mut exposition = Exposition::new(Format::Prometheus);
        exposition.sample(Few::Sent, &["a\"} 1\n\\"], 2_u64);
        assert!(exposition.text().contains("sent_bytes_total{to=\"a\\\"} 1\\n\\\\\"} 2\n"));
    }

    #[test]
    fn numbers_are_written_as_both_formats_read_them() {
        for (value, text) in [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (0.0, "0"),
            (1e-9, "0.000000001"),
            (-2.5, "-2.5"),
        ] {
            assert_eq!(Value::from(value).to_string(), text);
        }
        assert_eq!(Value::from(-3_i64).to_string(), "-3");
    }

    #[test]
    fn open_metrics_is_for_those_who_name_it() {
        for (accept, expected) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("text/plain;q=0.5, application/openmetrics-text; q=0.9", Format::OpenMetrics),
            ("application/openmetrics-text;q=0,*/*", Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        }
    }
}

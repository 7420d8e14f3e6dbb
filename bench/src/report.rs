//! Markdown and numbers for people; what all reports have in common.

use std::fmt::Write;

use crate::setting::Setting;
use crate::stats::Spread;

/// A load average above this share of the cores is worth a warning.
const BUSY_SHARE_MIN: f64 = 0.25;

/// A table in Markdown; the first column is text, the others are numbers.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    #[must_use]
    pub fn new(header: impl IntoIterator<Item = impl Into<String>>) -> Table {
        Table { rows: vec![header.into_iter().map(Into::into).collect()] }
    }

    /// # Panics
    /// If the row has another number of cells than the header.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) -> &mut Table {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.rows[0].len(), "a table's rows are as long as its header");
        self.rows.push(cells);
        self
    }

    /// Padded, so that it reads well as plain text too.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for (place, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                let cell = if column == 0 { format!("{cell}{padding}") } else { format!("{padding}{cell}") };
                write!(text, "| {cell} ").expect("writing to a string does not fail");
            }
            text.push_str("|\n");
            if place == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let rule = "-".repeat(width + 1);
                    text.push_str(&if column == 0 { format!("|{rule}-") } else { format!("|{rule}:") });
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

/// The head: machine, disk, sides and their promises, and who else used the cores.
#[must_use]
pub fn head(title: &str, setting: &Setting) -> String {
    let machine = &setting.machine;
    let mut text = format!(
        "## {title}\n\n\
         - Machine: {}, {} cores, {:.1} GiB of memory; {}\n\
         - Disk: {}; {}\n\
         - {} share these cores. Load average before the run: {:.2}\n",
        machine.cpu,
        machine.cores,
        machine.memory_bytes as f64 / f64::from(1 << 30),
        machine.kernel,
        machine.disk,
        machine.file_system,
        if setting.has_clusters() { "The client and all brokers of a cluster" } else { "Client and broker" },
        machine.load_average_before,
    );
    if machine.load_average_before > machine.cores as f64 * BUSY_SHARE_MIN {
        text.push_str("- **The machine was busy with something else before the run: these figures are noisy.**\n");
    }
    for side in &setting.sides {
        let brokers =
            if setting.has_clusters() { format!("{} broker(s); ", side.shape.brokers) } else { String::new() };
        writeln!(
            text,
            "- {}: {}; durability {}; {brokers}replication factor {}",
            side.side.title(),
            side.version,
            side.durability,
            side.shape.replication_factor,
        )
        .expect("writing to a string does not fail");
    }
    text.push('\n');
    text
}

/// A number with about three significant digits.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "-".to_owned(),
        size if size >= 1000.0 => thousands(value.round() as i64),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The median, and the range where there was more than one run.
#[must_use]
pub fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => "-".to_owned(),
        Some(Spread { median, runs: 1, .. }) => number(median),
        Some(Spread { median, min, max, .. }) => format!("{} ({}–{})", number(median), number(min), number(max)),
    }
}

/// How many times as much; `None` where that has no meaning.
#[must_use]
pub fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(ratio) if ratio >= 10.0 => format!("{ratio:.0}x"),
        Some(ratio) if ratio >= 1.0 => format!("{ratio:.1}x"),
        Some(ratio) => format!("{ratio:.2}x"),
    }
}

fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        let numbers = [(0.0, "0.000"), (0.0567, "0.057"), (1.234, "1.23"), (56.78, "56.8"), (567.8, "568")];
        for (value, text) in numbers {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(1_234_567.6), "1,234,568");
        assert_eq!(number(-1000.0), "-1,000");
        assert_eq!(number(f64::NAN), "-");
        assert_eq!(ratio(Some(0.333)), "0.33x");
        assert_eq!(ratio(Some(23.4)), "23x");
        assert_eq!(ratio(None), "-");
    }

    #[test]
    fn a_single_run_has_no_range() {
        assert_eq!(spread(Spread::of([2.0])), "2.00");
        assert_eq!(spread(Spread::of([2.0, 1.0, 30.0])), "2.00 (1.00–30.0)");
        assert_eq!(spread(None), "-");
    }

    #[test]
    fn tables_are_markdown_and_aligned() {
        let mut table = Table::new(["what", "a"]);
        table.row(["p99 – ms", "1.5"]).row(["x", "1,000"]);
        let expected = "\
| what     |     a |
|----------|------:|
| p99 – ms |   1.5 |
| x        | 1,000 |
";
        assert_eq!(table.to_markdown(), expected);
    }

    #[test]
    #[should_panic(expected = "as long as its header")]
    fn a_row_of_the_wrong_length_is_a_mistake() {
        Table::new(["a", "b"]).row(["1"]);
    }
}

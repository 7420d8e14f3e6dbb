//! Tables for people: the one look of everything that prints lines with columns.
//!
//! Columns are as wide as their widest cells, two spaces apart; numbers stand at the right of theirs. No line ends in spaces.
//! On a terminal, as [`style_for`] says it is, the header is bold and lines end with … where they would not fit; what goes
//! elsewhere has all of them. What peers named themselves (groups, clients) may hold anything: characters that would move a
//! terminal's cursor are shown as escapes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Whether headers are bold; not in tests.
static HEADERS_ARE_BOLD: AtomicBool = AtomicBool::new(false);
/// Characters that a line may have.
static LINE_WIDTH_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Once in the life of a process that writes to a terminal, of so many columns if it says so.
pub(super) fn style_for(bold: bool, columns: Option<usize>) {
    HEADERS_ARE_BOLD.store(bold, Ordering::Relaxed);
    LINE_WIDTH_MAX.store(columns.unwrap_or(usize::MAX), Ordering::Relaxed);
}

/// What a column is called, and where its cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    name: &'static str,
    is_number: bool,
}

/// A column of words.
pub(super) const fn words(name: &'static str) -> Column {
    Column { name, is_number: false }
}

/// A column of numbers.
pub(super) const fn numbers(name: &'static str) -> Column {
    Column { name, is_number: true }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Every row has a cell for each column.
    pub fn new(columns: impl Into<Vec<Column>>, rows: impl IntoIterator<Item = Vec<String>>) -> Table {
        let columns: Vec<Column> = columns.into();
        let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.iter().map(|cell| shown(cell)).collect()).collect();
        debug_assert!(rows.iter().all(|row| row.len() == columns.len()), "rows are as long as the header");
        Table { columns, rows }
    }

    /// Without the columns of which `is_wanted` says no.
    pub fn retain(mut self, is_wanted: impl Fn(&str) -> bool) -> Table {
        let wanted: Vec<bool> = self.columns.iter().map(|column| is_wanted(column.name)).collect();
        let mut at = wanted.iter();
        self.columns.retain(|_| *at.next().expect("one per column"));
        for row in &mut self.rows {
            let mut at = wanted.iter();
            row.retain(|_| *at.next().expect("one per column"));
        }
        self
    }

    /// Header and rows, a line each.
    pub fn text(&self) -> String {
        self.text_of(LINE_WIDTH_MAX.load(Ordering::Relaxed))
    }

    fn text_of(&self, line_width_max: usize) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| column.name.to_owned()).collect();
        let lines = || std::iter::once(&names).chain(&self.rows);
        let width = |at: usize| lines().map(|row| width(&row[at])).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for (at, row) in lines().enumerate() {
            let line = cut(self.line(row, &widths), line_width_max);
            match at == 0 && HEADERS_ARE_BOLD.load(Ordering::Relaxed) {
                true => text.push_str(&format!("{BOLD}{line}{PLAIN}\n")),
                false => text.push_str(&format!("{line}\n")),
            }
        }
        text
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(&self.columns).zip(widths) {
            match column.is_number {
                true => line.push_str(&format!("{cell:>width$}  ")),
                false => line.push_str(&format!("{cell:width$}  ")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The line, or as much of it as fits.
fn cut(mut line: String, width_max: usize) -> String {
    if width(&line) <= width_max {
        return line;
    }
    let end = line.char_indices().nth(width_max.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    line.truncate(end);
    line.push('…');
    line
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// Text as a terminal may have it: control characters are escaped.
pub(super) fn shown(text: &str) -> String {
    if !text.contains(|letter: char| letter.is_control()) {
        return text.to_owned();
    }
    let mut shown = String::new();
    for letter in text.chars() {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

/// `-` for what is not there.
pub(super) fn known(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

/// `1,2`; `-` for none.
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    known(Some(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_the_right_and_no_line_ends_in_spaces() {
        let rows = [["orders", "2", "yes"], ["a", "10", ""]].map(|row| row.map(str::to_owned).to_vec());
        let table = Table::new([words("TOPIC"), numbers("COUNT"), words("OK")], rows);
        assert_eq!(
            table.text(),
            "TOPIC   COUNT  OK\n\
             orders      2  yes\n\
             a          10\n"
        );
        assert_eq!(table.retain(|name| name != "COUNT").text(), "TOPIC   OK\norders  yes\na\n");
    }

    #[test]
    fn lines_end_where_the_terminal_does() {
        let rows = [["1", "ünlang"], ["2", "b"]].map(|row| row.map(str::to_owned).to_vec());
        let table = Table::new([numbers("NODE"), words("DIRECTORY")], rows);
        assert_eq!(table.text_of(9), "NODE  DI…\n   1  ün…\n   2  b\n");
        assert_eq!(table.text_of(12), "NODE  DIREC…\n   1  ünlang\n   2  b\n");
        assert_eq!(table.text_of(15), table.text());
        assert_eq!(table.text_of(1), "…\n…\n…\n");
    }

    #[test]
    fn nothing_that_a_peer_is_called_moves_the_cursor() {
        let table = Table::new([words("GROUP")], [vec!["a\x1b[2J\nb\u{9b}ü".to_owned()]]);
        assert_eq!(table.text(), "GROUP\na\\u{1b}[2J\\nb\\u{9b}ü\n");
    }

    #[test]
    fn lists_and_what_is_not_there() {
        assert_eq!((list(&[1, 2]), list::<i32>(&[])), ("1,2".to_owned(), "-".to_owned()));
        assert_eq!((known(Some(3)), known(Some("")), known(None::<i32>)), ("3".into(), "-".into(), "-".into()));
    }
}

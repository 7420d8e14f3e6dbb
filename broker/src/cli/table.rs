//! Columns for people.

use std::fmt::Write;

/// Rows as wide as their widest cells; the first names the columns.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let mut text = String::new();
    let widths: Vec<usize> = (0..).map_while(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ").expect("writing to a string");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

//! The manual page ringlog.toml(5), made of the table of settings.

use crate::config::{CONFIG_VARIABLE, SETTINGS, Section, Setting};

/// The file's name, and what it holds.
pub(super) fn page() -> (String, Vec<u8>) {
    let mut page = String::new();
    let version = env!("CARGO_PKG_VERSION");
    page.push_str(&format!(
        ".TH ringlog.toml 5 \"\" \"ringlog {version}\"\n.SH NAME\nringlog.toml \\- settings of a Ringlog broker\n"
    ));
    page.push_str(".SH DESCRIPTION\n");
    page.push_str(&text(&format!(
        "ringlog serve reads the TOML file that --config or {CONFIG_VARIABLE} names. A flag counts more than a variable, a \
         variable more than the file, and the file more than the default, setting by setting. SIGHUP has the file read \
         again: settings that are marked as reloaded change at once, the others at the next start. A file with a mistake \
         in it is refused, and the message says where it is.",
    )));
    page.push_str(".PP\n");
    page.push_str(&text(
        "Broker settings of Kafka stand in the table [kafka] under their own names, as num.partitions = 3; \
         ringlog config describe --broker prints them.",
    ));
    for section in Section::ALL {
        page.push_str(&format!(".SH {}\n", escaped(&section.heading().to_uppercase())));
        SETTINGS.iter().filter(|row| row.section == section).for_each(|row| page.push_str(&setting(row)));
    }
    page.push_str(".SH SEE ALSO\n.BR ringlog\\-serve (1)\n");
    ("ringlog.toml.5".to_owned(), page.into_bytes())
}

fn setting(row: &Setting) -> String {
    let mut about = format!("{}.", row.summary.trim_end_matches('.'));
    if !row.detail.is_empty() {
        about.push_str(&format!(" {}", row.detail));
    }
    if !row.unit.is_empty() {
        about.push_str(&format!(" Counted in {}.", row.unit));
    }
    if row.key.is_reloadable() {
        about.push_str(" Reloaded.");
    }
    about.push_str(&format!(" Default: {}. Variable: {}.", row.default.description(), row.variable()));
    format!(".TP\n.B {} = {}\n{}", escaped(row.name), escaped(row.value_name), text(&about))
}

/// A paragraph on lines of its own.
fn text(words: &str) -> String {
    words.lines().map(|line| format!("{}\n", escaped(line.trim()))).collect()
}

/// For roff(7): no line is taken for a request, and hyphens stay what they are when they are copied.
fn escaped(words: &str) -> String {
    let escaped = words.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_on_the_page() {
        let page = String::from_utf8(page().1).unwrap();
        for row in SETTINGS {
            let begin = format!(".TP\n.B {} = ", escaped(row.name));
            let at = page.find(&begin).unwrap_or_else(|| panic!("{} is missing", row.name));
            let about = page[at..].split(".TP\n").nth(1).unwrap();
            assert!(about.contains(&format!("Variable: {}.", row.variable())), "{about}");
        }
    }

    #[test]
    fn nothing_is_taken_for_a_request() {
        assert_eq!(text(".TH is\n'so a-b\\c"), "\\&.TH is\n\\&'so a\\-b\\ec\n");
    }
}

//! The reference of settings in Markdown, as it stands in `docs/configuration.md`.

use std::fmt::Write;

use super::setting::{DefaultValue, SETTINGS, Section};

/// The generated part of the document: a heading and a list of settings per section. A test holds the document equal to
/// it.
#[must_use]
pub fn settings_markdown() -> String {
    let mut text = String::new();
    for section in Section::ALL {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "### {}\n", section.heading());
        let _ = writeln!(text, "| Flag | Variable | TOML key | Default | Unit |\n|---|---|---|---|---|");
        let settings = || SETTINGS.iter().filter(|setting| setting.section == section);
        for setting in settings() {
            let default = match setting.default {
                DefaultValue::Text(text) => format!("`{text}`"),
                DefaultValue::Derived(text) => text.to_owned(),
            };
            let _ = writeln!(
                text,
                "| `{} {}` | `{}` | `{}` | {default} | {} |",
                setting.flag(),
                setting.value_name,
                setting.variable(),
                setting.name,
                setting.unit,
            );
        }
        text.push('\n');
        for setting in settings() {
            let _ = writeln!(text, "- `{}`: {}. {}", setting.name, setting.summary, setting.detail);
        }
        text.push('\n');
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

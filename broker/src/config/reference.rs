//! Holds `docs/configuration.md` equal to the code: the tables of that document are generated from the tables here.
//!
//! To bring the document up to date: `UPDATE_DOCS=1 cargo test -p ringlog-broker configuration_document`.

use std::fmt::Write;
use std::path::Path;

use metadata::config::{ConfigDef, Dynamic, Effect, broker_configs, group_configs};

use super::setting::{DefaultValue, SETTINGS, Section};

/// What is generated stands between these lines.
const BEGIN: &str = "<!-- generated: begin -->";
const END: &str = "<!-- generated: end -->";

fn generated() -> String {
    let mut text = String::new();
    for section in Section::ALL {
        own_settings(&mut text, section).expect("writing to a string");
    }
    kafka_settings(&mut text).expect("writing to a string");
    group_settings(&mut text).expect("writing to a string");
    text
}

fn own_settings(text: &mut String, section: Section) -> std::fmt::Result {
    writeln!(text, "## {}\n", section.heading())?;
    for setting in SETTINGS.iter().filter(|setting| setting.section == section) {
        writeln!(text, "### `{}`\n\n{}. {}\n", setting.name, setting.summary, setting.detail)?;
        writeln!(text, "| Flag | Variable | TOML key | Default | Unit | Reloaded |\n|---|---|---|---|---|---|")?;
        let default = match setting.default {
            DefaultValue::Text(text) => format!("`{text}`"),
            DefaultValue::Derived(text) => text.to_owned(),
        };
        let (flag, variable, unit) = (setting.flag(), setting.variable(), setting.unit);
        let (name, value_name) = (setting.name, setting.value_name);
        let reloaded = if setting.key.is_reloadable() { "yes" } else { "no" };
        writeln!(text, "| `{flag} {value_name}` | `{variable}` | `{name}` | {default} | {unit} | {reloaded} |\n")?;
    }
    Ok(())
}

fn kafka_settings(text: &mut String) -> std::fmt::Result {
    writeln!(text, "## Kafka's settings\n\n### Acted on\n\n{KAFKA_HEAD}")?;
    for def in settable().filter(|def| def.effect == Effect::Acts) {
        kafka_row(text, def)?;
    }
    writeln!(text, "\n### Accepted and described, without effect\n\n{KAFKA_HEAD}")?;
    for def in settable().filter(|def| def.effect == Effect::KeptOnly) {
        kafka_row(text, def)?;
    }
    writeln!(text, "\n### Given by a flag\n\n| Kafka's name | Flag |\n|---|---|")?;
    for def in broker_configs() {
        if let Some(flag) = def.flag {
            writeln!(text, "| `{}` | `{flag}` |", def.name)?;
        }
    }
    Ok(())
}

fn group_settings(text: &mut String) -> std::fmt::Result {
    writeln!(text, "\n## Settings of single groups\n\n{GROUPS_INTRODUCTION}\n\n{GROUPS_HEAD}")?;
    for def in group_configs() {
        let (name, kind) = (def.name, def.kind.name().to_lowercase());
        let of_brokers: Vec<String> = def.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
        writeln!(text, "| `{name}` | {kind} | {} | {} |", of_brokers.join(", "), def.doc)?;
    }
    Ok(())
}

const GROUPS_INTRODUCTION: &str = "\
Groups of the consumer protocol may have values of their own (KIP-848):

```sh
kafka-configs --bootstrap-server HOST:PORT --alter --entity-type groups --entity-name GROUP \\
    --add-config consumer.session.timeout.ms=50000
```

They hold from a member's next heartbeat on, stay when the group is gone, and are between the broker's
`group.consumer.min.*` and `group.consumer.max.*`. Kafka's `share.*` and `streams.*` are refused, since there are no such groups.";
const GROUPS_HEAD: &str = "| Name | Type | Where it is not set | Meaning |\n|---|---|---|---|";

const KAFKA_HEAD: &str = "| Name | Type | Default | At run time | Meaning |\n|---|---|---|---|---|";

fn settable() -> impl Iterator<Item = &'static ConfigDef> {
    broker_configs().iter().filter(|def| def.flag.is_none())
}

fn kafka_row(text: &mut String, def: &ConfigDef) -> std::fmt::Result {
    let default = match def.default {
        None => "none".to_owned(),
        Some("") => "empty".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    let dynamic = match def.dynamic {
        Dynamic::ReadOnly => "no",
        Dynamic::ClusterWide => "yes",
    };
    let (name, kind) = (def.name, def.kind.name().to_lowercase());
    writeln!(text, "| `{name}` | {kind} | {default} | {dynamic} | {} |", def.doc.replace('|', "\\|"))
}

#[test]
fn the_configuration_document_says_what_the_code_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let document = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (before, rest) = document.split_once(BEGIN).expect("the begin of the generated part");
    let (_, after) = rest.split_once(END).expect("the end of the generated part");
    let expected: String = generated().lines().map(|line| format!("{}\n", line.trim_end())).collect();
    hold_equal(&path, &document, &format!("{before}{BEGIN}\n\n{expected}\n{END}{after}"));
}

/// Writes what is expected into the file if `UPDATE_DOCS` is set; otherwise it must be there already.
pub(super) fn hold_equal(path: &Path, found: &str, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, expected).expect("writing the document");
        return;
    }
    let differing = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{} is out of date, first at {differing:?}: run `UPDATE_DOCS=1 cargo test -p ringlog-broker configuration_document`",
        path.display()
    );
}

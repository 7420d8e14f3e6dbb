//! Holds `deploy/ringlog.toml`, the file that packages install, equal to the code: it has every setting with its default,
//! commented out.
//!
//! To bring it up to date: `UPDATE_DOCS=1 cargo test -p ringlog-broker configuration_document`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use metadata::config::{BrokerConfig, ConfigDef, ConfigKind, ConfigLayers, Dynamic, Effect, broker_configs};

use super::reference::hold_equal;
use super::setting::{DefaultValue, Key, SETTINGS, Section, Setting};
use super::{Flags, Machine, ServeConfig, load};

/// Columns of the file.
const WIDTH: usize = 110;
/// What a package sets.
const SET: &[(Key, &str)] = &[(Key::DataDir, "/var/lib/ringlog")];

const HEAD: &str = "\
# Configuration of a Ringlog broker. docs/configuration.md says the same at greater length.
#
# Every setting is here with its default, commented out, but for what a package sets. To change one, remove the # before its
# name and write another value. A flag on the command line, or a variable (data-dir is RINGLOG_DATA_DIR), counts more than
# this file. Lines with a space after the # are text; where a setting has no fixed default, its line is text too.
#
# `systemctl reload ringlog` (SIGHUP) has the file read again: settings marked \"reloaded\" change at once, and for the others
# the log says that they need a restart. A file with a mistake in it changes nothing.
";

const KAFKA: &str = "\
# ---------------------------------------------------------------------------------------------------- Kafka's settings
#
# Under their own names. Those marked \"reloaded\" can also be changed for one broker or for all by kafka-configs, which
# counts more than what is here.

[kafka]
";

fn generated() -> String {
    let mut text = HEAD.to_owned();
    for section in Section::ALL {
        heading(&mut text, section.heading());
        for setting in SETTINGS.iter().filter(|setting| setting.section == section) {
            own(&mut text, setting);
        }
    }
    text.push('\n');
    text.push_str(KAFKA);
    for def in broker_configs().iter().filter(|def| def.flag.is_none() && def.effect == Effect::Acts) {
        kafka(&mut text, def);
    }
    text.push('\n');
    paragraph(&mut text, "Accepted for the sake of tools made for Kafka, without effect:");
    for def in broker_configs().iter().filter(|def| def.flag.is_none() && def.effect == Effect::KeptOnly) {
        kafka(&mut text, def);
    }
    text
}

fn heading(text: &mut String, heading: &str) {
    let line = format!("# {:->width$}", format!(" {heading}"), width = WIDTH);
    writeln!(text, "\n{line}").expect("writing to a string");
}

fn own(text: &mut String, setting: &Setting) {
    text.push('\n');
    let detail = if setting.detail.is_empty() { String::new() } else { format!(" {}", setting.detail) };
    paragraph(text, &format!("{}.{detail}", setting.summary));
    let unit = if setting.unit.is_empty() { String::new() } else { format!(" In {}.", setting.unit) };
    let reloaded = if setting.key.is_reloadable() { " Reloaded." } else { "" };
    paragraph(text, &format!("Default: {}.{unit}{reloaded}", setting.default.description()));
    let set = SET.iter().find(|(key, _)| *key == setting.key).map(|(_, value)| *value);
    let line = match (set, setting.default) {
        (Some(value), _) => format!("{} = {}", setting.name, quoted(value)),
        (None, DefaultValue::Text(value)) => format!("#{} = {}", setting.name, literal(value)),
        (None, DefaultValue::Derived(_)) => format!("# {} = {}", setting.name, quoted(setting.value_name)),
    };
    writeln!(text, "{line}").expect("writing to a string");
}

fn kafka(text: &mut String, def: &ConfigDef) {
    text.push('\n');
    let dynamic = if def.dynamic == Dynamic::ReadOnly { "" } else { " Reloaded." };
    let kind = def.kind.name().to_lowercase();
    let name = quoted(def.name);
    let (default, line) = match def.default {
        None => ("none".to_owned(), format!("# {name} = \"{}\"", kind.to_uppercase())),
        Some(value) => {
            let is_text = matches!(def.kind, ConfigKind::String | ConfigKind::List | ConfigKind::Password);
            let literal = if is_text { quoted(value) } else { literal(value) };
            (if value.is_empty() { "empty".to_owned() } else { value.to_owned() }, format!("#{name} = {literal}"))
        }
    };
    paragraph(text, def.doc);
    paragraph(text, &format!("Type: {kind}. Default: {default}.{dynamic}"));
    writeln!(text, "{line}").expect("writing to a string");
}

/// As comments of at most [`WIDTH`] columns.
fn paragraph(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
            writeln!(text, "{line}").expect("writing to a string");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(text, "{line}").expect("writing to a string");
}

/// A number or a boolean as it is, anything else quoted.
fn literal(value: &str) -> String {
    match toml::from_str::<toml::Table>(&format!("x = {value}")) {
        Ok(_) => value.to_owned(),
        Err(_) => quoted(value),
    }
}

fn quoted(value: &str) -> String {
    toml::Value::from(value).to_string()
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ringlog.toml")
}

#[test]
fn the_sample_file_says_what_the_configuration_document_does() {
    let found = std::fs::read_to_string(sample()).unwrap_or_default();
    hold_equal(&sample(), &found, &generated());
}

fn loaded(file: &str) -> ServeConfig {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ringlog.toml");
    std::fs::write(&path, file).unwrap();
    let flags = Flags { config: Some(path), ..Flags::default() };
    load(flags, [], Machine { cpus: vec![0, 1, 2], cores: 3 }).unwrap_or_else(|errors| panic!("{errors}"))
}

/// All that a configuration says, but not how it was said.
fn meaning(config: &ServeConfig) -> String {
    let kafka = BrokerConfig::resolve(&ConfigLayers::of_static(&config.static_config));
    let ServeConfig { node_id, data_dir, journal_dir, kafka: listener, internal, http, join, shards, .. } = config;
    let ServeConfig { quorum_voters_max, memory, group_lag, logging, .. } = config;
    format!(
        "{node_id:?} {data_dir:?} {journal_dir:?} {listener:?} {internal:?} {http:?} {join:?} {shards:?} \
         {quorum_voters_max:?} {memory:?} {group_lag:?} {logging:?} {kafka:?}"
    )
}

fn uncommented() -> String {
    let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    generated()
        .lines()
        .map(|line| if is_setting(line) { &line[1..] } else { line })
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_sample_file_sets_what_a_package_sets_and_nothing_else() {
    assert_eq!(meaning(&loaded(&generated())), meaning(&loaded("data-dir = '/var/lib/ringlog'")));
}

#[test]
fn every_line_of_the_sample_file_is_a_default() {
    let text = uncommented().replace("/var/lib/ringlog", "./ringlog-data");
    let config = loaded(&text);
    assert_eq!(meaning(&config), meaning(&loaded("")));
    let fixed = SETTINGS.iter().filter(|setting| matches!(setting.default, DefaultValue::Text(_)));
    let named = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name} = ")));
    fixed.for_each(|setting| assert!(named(setting.name), "{} is not in the file", setting.name));
    for def in broker_configs().iter().filter(|def| def.flag.is_none() && def.default.is_some()) {
        assert!(config.static_config.get(def.name).is_some(), "{} is not in the file", def.name);
    }
}

#[test]
fn every_setting_is_in_the_sample_file() {
    let text = generated();
    SETTINGS.iter().for_each(|setting| assert!(text.contains(&format!("{} = ", setting.name)), "{}", setting.name));
    broker_configs().iter().filter(|def| def.flag.is_none()).for_each(|def| {
        assert!(text.contains(&format!("{} = ", quoted(def.name))), "{}", def.name);
    });
}

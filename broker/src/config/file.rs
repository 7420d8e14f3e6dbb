//! The configuration file: TOML whose keys are the flags' names, and a table `[kafka]` of Kafka's broker settings.
//!
//! Values may be strings, numbers or booleans alike; they are handed on as text, so that a setting is read by one parser
//! wherever it comes from. Dotted Kafka names may be quoted or bare: `"log.retention.ms" = 1` and `log.retention.ms = 1`
//! are the same.

use std::collections::btree_map::Entry;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::error::ConfigError;
use super::nearest::nearest;
use super::origin::{Given, Layer, Origin};
use super::setting::{KAFKA_TABLE, SETTINGS};

/// What a setting's value may be.
const SCALAR: &str = "a string, a number or a boolean";

/// Reads the text of the file `path`, which is used for messages only. `None` of what is not TOML; of what else is wrong the
/// rest is given back.
pub(super) fn parse(path: &Path, text: &str, errors: &mut Vec<ConfigError>) -> Option<Layer> {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            let message = error.message().to_owned();
            errors.push(ConfigError::Syntax { path: path.to_owned(), line, message });
            return None;
        }
    };
    let mut reader = Reader { path, text, layer: Layer::default(), errors };
    for (key, value) in table.get_ref() {
        reader.top_level(key.get_ref(), key.span().start, value);
    }
    Some(reader.layer)
}

/// The line, from 1, that byte `at` is on.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count()
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    layer: Layer,
    errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    fn origin(&self, at: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line: line_of(self.text, at) }
    }

    fn top_level(&mut self, name: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let origin = self.origin(at);
        if name == KAFKA_TABLE {
            match value.get_ref().as_table() {
                Some(table) => self.kafka(String::new(), table),
                None => self.wrong_type(name, origin, value.get_ref(), "a table"),
            }
            return;
        }
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            let names = SETTINGS.iter().map(|setting| setting.name).chain([KAFKA_TABLE]);
            let suggestion = nearest(name, names);
            self.errors.push(ConfigError::UnknownName { name: name.to_owned(), origin, suggestion });
            return;
        };
        match scalar(value.get_ref()) {
            Some(value) => {
                self.layer.settings.insert(setting.key, Given { value, origin });
            }
            None => self.wrong_type(name, origin, value.get_ref(), SCALAR),
        }
    }

    /// TOML reads a bare dotted key as tables within tables: the names are put together again.
    fn kafka(&mut self, prefix: String, table: &DeTable<'_>) {
        for (key, value) in table {
            let name =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            let origin = self.origin(key.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => self.kafka(name, inner),
                other => match scalar(other) {
                    Some(value) => self.insert_kafka(name, Given { value, origin }),
                    None => self.wrong_type(&name, origin, other, SCALAR),
                },
            }
        }
    }

    fn insert_kafka(&mut self, name: String, given: Given) {
        match self.layer.kafka.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(given);
            }
            Entry::Occupied(entry) => {
                self.errors.push(ConfigError::Twice { name: entry.key().clone(), origin: given.origin });
            }
        }
    }

    fn wrong_type(&mut self, name: &str, origin: Origin, found: &DeValue<'_>, expected: &'static str) {
        let found = match found {
            DeValue::Table(_) => "a table",
            DeValue::Array(_) => "an array",
            DeValue::Datetime(_) => "a date",
            DeValue::String(_) => "a string",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "a boolean",
        };
        self.errors.push(ConfigError::WrongType { name: name.to_owned(), origin, found, expected });
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) => Some(decimal(integer)),
        DeValue::Float(float) => Some(float.as_str().to_owned()),
        DeValue::Boolean(boolean) => Some(boolean.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// TOML also has `0x10` and its like; one past 64 bits is left as it is, for the setting's own parser to refuse.
fn decimal(integer: &DeInteger<'_>) -> String {
    i64::from_str_radix(integer.as_str(), integer.radix())
        .map_or_else(|_| integer.as_str().to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::ConfigErrors;
    use crate::config::setting::Key;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Layer, String> {
        let mut errors = Vec::new();
        let layer = parse(Path::new("f.toml"), text, &mut errors);
        match errors.is_empty() {
            true => Ok(layer.expect("nothing is wrong with it")),
            false => Err(ConfigErrors(errors).to_string()),
        }
    }

    #[test]
    fn every_scalar_becomes_the_text_it_stands_for() {
        let layer = read("shards = 0x10\ndata-dir = '/d'\nnode-id = \"3\"\n").unwrap();
        let value = |key| layer.settings.get(&key).map(|given| given.value.as_str());
        assert_eq!(value(Key::Shards), Some("16"));
        assert_eq!(value(Key::DataDir), Some("/d"));
        assert_eq!(value(Key::NodeId), Some("3"));
        assert_eq!(layer.settings[&Key::NodeId].origin.to_string(), "f.toml:3");
    }

    #[test]
    fn kafka_names_may_be_bare_quoted_or_split_into_tables() {
        let expected = [("auto.create.topics.enable", "false"), ("log.retention.ms", "1000"), ("num.partitions", "3")];
        for text in [
            "[kafka]\nnum.partitions = 3\nlog.retention.ms = 1_000\nauto.create.topics.enable = false",
            "[kafka]\n'num.partitions' = '3'\n\"log.retention.ms\" = 1000\n'auto.create.topics.enable' = false",
            "kafka.num.partitions = 3\nkafka.log = { 'retention.ms' = 1000 }\nkafka.auto.create.topics.enable = false",
        ] {
            let layer = read(text).unwrap();
            let found: Vec<_> = layer.kafka.iter().map(|(name, given)| (name.as_str(), given.value.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn refused_files_say_line_and_remedy() {
        for (text, expected) in [
            ("\ndata_dir = 'x'", "f.toml:2: unknown setting \"data_dir\"; did you mean \"data-dir\"?"),
            ("zookeeper = 1", "f.toml:1: unknown setting \"zookeeper\""),
            ("shards = [1]", "f.toml:1: shards is an array where a string, a number or a boolean is expected"),
            ("# c\n[shards]", "f.toml:2: shards is a table where a string, a number or a boolean is expected"),
            ("kafka = 3", "f.toml:1: kafka is a number where a table is expected"),
            ("[kafka]\na.b = 1\n'a.b' = 2", "f.toml:3: a.b is given twice"),
            ("[kafka]\nx = 1979-05-27", "f.toml:2: x is a date where a string, a number or a boolean is expected"),
            ("x = 1\ny = 2", "f.toml:1: unknown setting \"x\"\nf.toml:2: unknown setting \"y\""),
        ] {
            assert_eq!(read(text), Err(expected.to_owned()), "{text}");
        }
        assert!(read("a = 1\nb = = 2").unwrap_err().starts_with("f.toml:2: not TOML: "));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(kafka|shards|\\[|\\]|=|\\.|\"|'|\n|1|x|#|\\{|\\}|é){0,30}") {
            let _ = read(&text);
        }
    }
}

//! Turning a config's text into a typed, checked value and back into the text Kafka shows.

use super::definition::{ConfigDef, ConfigKind};
use super::error::ConfigError;
use crate::shown::shown;

/// A config's value, of the type its definition says.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigValue {
    Boolean(bool),
    String(String),
    Int(i32),
    Short(i16),
    Long(i64),
    Double(f64),
    List(Vec<String>),
    Password(String),
}

/// Longest value accepted, in bytes: room for a list of every replica of 10,000 partitions.
pub(super) const VALUE_BYTES_MAX: usize = 1 << 20;

/// Refuses what is too long for any config, whatever its name.
pub fn check_length(name: &str, text: &str) -> Result<(), ConfigError> {
    match text.len() {
        0..=VALUE_BYTES_MAX => Ok(()),
        bytes => Err(ConfigError::TooLong { name: shown(name), bytes }),
    }
}

/// Reads and checks `text` as a value of `def`, as Kafka's `ConfigDef.parseType` does: surrounding blanks do not count,
/// booleans ignore case, lists are split at commas.
pub fn parse(def: &'static ConfigDef, text: &str) -> Result<ConfigValue, ConfigError> {
    check_length(def.name, text)?;
    let trimmed = text.trim();
    let wrong_type = || ConfigError::WrongType { name: def.name, value: text.to_owned(), kind: def.kind };
    let value = match def.kind {
        ConfigKind::Boolean if trimmed.eq_ignore_ascii_case("true") => ConfigValue::Boolean(true),
        ConfigKind::Boolean if trimmed.eq_ignore_ascii_case("false") => ConfigValue::Boolean(false),
        ConfigKind::Boolean => return Err(wrong_type()),
        ConfigKind::String => ConfigValue::String(trimmed.to_owned()),
        ConfigKind::Password => ConfigValue::Password(trimmed.to_owned()),
        ConfigKind::Int => ConfigValue::Int(trimmed.parse().map_err(|_| wrong_type())?),
        ConfigKind::Short => ConfigValue::Short(trimmed.parse().map_err(|_| wrong_type())?),
        ConfigKind::Long => ConfigValue::Long(trimmed.parse().map_err(|_| wrong_type())?),
        ConfigKind::Double => match trimmed.parse::<f64>() {
            Ok(number) if number.is_finite() => ConfigValue::Double(number),
            _ => return Err(wrong_type()),
        },
        ConfigKind::List => ConfigValue::List(split_list(trimmed)),
    };
    def.validator.check(&value).map_err(|violation| ConfigError::Refused {
        name: def.name,
        value: value.clone(),
        violation,
    })?;
    Ok(value)
}

/// The elements of a list in wire form; blanks around them do not count, and no text is no element.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.is_empty() { Vec::new() } else { text.split(',').map(|e| e.trim().to_owned()).collect() }
}

impl ConfigValue {
    /// The value as a number; 0 for what is none, which no validator asks for.
    pub(super) fn as_number(&self) -> f64 {
        match self {
            ConfigValue::Double(number) => *number,
            other => other.as_integer() as f64,
        }
    }

    pub(crate) fn as_integer(&self) -> i64 {
        match self {
            ConfigValue::Int(number) => i64::from(*number),
            ConfigValue::Short(number) => i64::from(*number),
            ConfigValue::Long(number) => *number,
            _ => 0,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            ConfigValue::String(text) | ConfigValue::Password(text) => text,
            _ => "",
        }
    }

    pub(super) fn as_list(&self) -> &[String] {
        match self {
            ConfigValue::List(elements) => elements,
            _ => &[],
        }
    }

    pub(super) fn as_bool(&self) -> bool {
        matches!(self, ConfigValue::Boolean(true))
    }
}

impl std::fmt::Display for ConfigValue {
    /// The text Kafka's `ConfigDef.convertToString` gives.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfigValue::Boolean(value) => write!(f, "{value}"),
            ConfigValue::String(text) => f.write_str(text),
            ConfigValue::Int(number) => write!(f, "{number}"),
            ConfigValue::Short(number) => write!(f, "{number}"),
            ConfigValue::Long(number) => write!(f, "{number}"),
            ConfigValue::Double(number) => f.write_str(&java_double(*number)),
            ConfigValue::List(elements) => f.write_str(&elements.join(",")),
            ConfigValue::Password(_) => f.write_str("[hidden]"),
        }
    }
}

/// A finite double as Java's `Double.toString` writes it: `0.5`, `1.0`, `1.0E-4`.
fn java_double(number: f64) -> String {
    let magnitude = number.abs();
    if number == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

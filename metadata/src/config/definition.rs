//! What is known about one config: its type, default, check, how it may be changed, and where its value comes from when
//! nobody set it.
//!
//! A [`ConfigDef`] is plain constant data, written with the `const` builder below so that a table row reads as one line.
//! Values are kept in the string form Kafka uses on the wire; [`super::value`] turns them into typed ones.

use super::validator::Validator;

/// Type of a config's value, as DescribeConfigs reports it (`ConfigType` of that message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigKind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Password = 9,
}

impl ConfigKind {
    /// The number DescribeConfigs v3+ carries.
    #[must_use]
    pub fn wire_id(self) -> i8 {
        self as i8
    }

    /// Kafka's name of the type, as its error messages spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ConfigKind::Boolean => "BOOLEAN",
            ConfigKind::String => "STRING",
            ConfigKind::Int => "INT",
            ConfigKind::Short => "SHORT",
            ConfigKind::Long => "LONG",
            ConfigKind::Double => "DOUBLE",
            ConfigKind::List => "LIST",
            ConfigKind::Password => "PASSWORD",
        }
    }
}

/// What a config belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Topic,
    Broker,
    Group,
}

/// How a config may be changed while brokers run (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// Only at the start of a broker.
    ReadOnly,
    /// For one broker, and as the default of the whole cluster. Topic and group configs are always of this kind.
    ClusterWide,
}

/// Whether setting a config changes what the broker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The broker acts on it.
    Acts,
    /// Accepted, stored and described so that tools made for Kafka work, but without influence here.
    KeptOnly,
}

/// A broker config that a topic or group config, or a broker config of a finer unit, falls back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    /// What one unit of the synonym is worth in the unit of the config that falls back to it.
    pub factor: i64,
}

/// The same config under another name, in the same unit.
pub(super) const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

/// A fallback in minutes for a config in milliseconds.
pub(super) const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, factor: 60 * 1000 }
}

/// A fallback in hours for a config in milliseconds.
pub(super) const fn hours(name: &'static str) -> Synonym {
    Synonym { name, factor: 60 * 60 * 1000 }
}

/// One config.
#[derive(Clone, Copy, Debug)]
pub struct ConfigDef {
    /// Kafka's name, or one that starts with `ringlog.` for our own.
    pub name: &'static str,
    pub scope: Scope,
    pub kind: ConfigKind,
    /// The value when nothing sets it, in wire form; `None` is Kafka's `null`.
    pub default: Option<&'static str>,
    pub validator: Validator,
    pub dynamic: Dynamic,
    /// Broker configs asked in this order for a value when this one has none.
    pub synonyms: &'static [Synonym],
    pub effect: Effect,
    /// Not shown by a description unless it was set (Kafka's internal configs).
    pub internal: bool,
    /// The command line flag that owns the value; such a config cannot be given as a setting.
    pub flag: Option<&'static str>,
    /// One or two sentences for operators, with the unit.
    pub doc: &'static str,
}

impl ConfigDef {
    const fn new(scope: Scope, name: &'static str, kind: ConfigKind, default: Option<&'static str>) -> ConfigDef {
        ConfigDef {
            name,
            scope,
            kind,
            default,
            validator: Validator::Any,
            dynamic: Dynamic::ReadOnly,
            synonyms: &[],
            effect: Effect::Acts,
            internal: false,
            flag: None,
            doc: "",
        }
    }

    pub(super) const fn topic(name: &'static str, kind: ConfigKind, default: Option<&'static str>) -> ConfigDef {
        ConfigDef::new(Scope::Topic, name, kind, default).dynamic()
    }

    pub(super) const fn broker(name: &'static str, kind: ConfigKind, default: Option<&'static str>) -> ConfigDef {
        ConfigDef::new(Scope::Broker, name, kind, default)
    }

    pub(super) const fn group(name: &'static str, kind: ConfigKind, default: Option<&'static str>) -> ConfigDef {
        ConfigDef::new(Scope::Group, name, kind, default).dynamic()
    }

    pub(super) const fn check(mut self, validator: Validator) -> ConfigDef {
        self.validator = validator;
        self
    }

    pub(super) const fn dynamic(mut self) -> ConfigDef {
        self.dynamic = Dynamic::ClusterWide;
        self
    }

    pub(super) const fn falls_back_to(mut self, synonyms: &'static [Synonym]) -> ConfigDef {
        self.synonyms = synonyms;
        self
    }

    pub(super) const fn kept_only(mut self) -> ConfigDef {
        self.effect = Effect::KeptOnly;
        self
    }

    pub(super) const fn internal(mut self) -> ConfigDef {
        self.internal = true;
        self
    }

    pub(super) const fn flag(mut self, flag: &'static str) -> ConfigDef {
        self.flag = Some(flag);
        self
    }

    pub(super) const fn doc(mut self, doc: &'static str) -> ConfigDef {
        self.doc = doc;
        self
    }

    /// Whether the value must never be shown.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.kind == ConfigKind::Password
    }
}

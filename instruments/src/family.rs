//! What a family is.

/// How numbers of a family behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One family: a name, and what the numbers below it mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Whole: that of a counter ends in `_total`, and what has a unit has it in its name.
    pub name: &'static str,
    pub kind: Kind,
    /// Names of the labels, in the order in which samples give their values.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Family {
    /// As OpenMetrics has it, where a counter's suffix belongs to its sample.
    #[must_use]
    pub fn base_name(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }

    /// By the name; empty for what is counted in itself.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        let suffix = self.base_name().rsplit('_').next();
        ["seconds", "bytes", "ratio"].into_iter().find(|unit| suffix == Some(*unit)).unwrap_or("")
    }
}

/// A list of families, and a type that names each.
pub trait Families: Copy + 'static {
    const ALL: &'static [Family];

    /// Place in [`Families::ALL`].
    fn index(self) -> usize;
}

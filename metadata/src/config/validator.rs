//! The checks a config's value must pass beyond having the right type, worded as Kafka words them.

use super::value::ConfigValue;

/// The check of one config's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    /// The type is all there is to it.
    Any,
    /// A number of at least this.
    AtLeast(i64),
    /// A number within these, both included.
    Between(i64, i64),
    /// A number within the first two, both included, or the third.
    BetweenOr(i64, i64, i64),
    /// At least 1, or -1 for "no limit".
    PositiveOrUnlimited,
    /// At least 1; where Kafka checks its whole configuration rather than the single value.
    RequiredPositive,
    /// Exactly one of these strings.
    OneOf(&'static [&'static str]),
    /// One of these strings, in whatever case.
    OneOfAnyCase(&'static [&'static str]),
    /// A list of any of these strings.
    ListOf(&'static [&'static str]),
    /// `*`, or a list of `partition:broker` (KIP-73).
    ThrottledReplicas,
    /// A list of `host:count`.
    CountPerHost,
    /// Only `false`; the text says why. A feature that is not here must not seem to be switched on.
    OffOnly(&'static str),
}

/// Why a value of the right type is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("Value must be at least {minimum}")]
    BelowMinimum { minimum: i64 },
    #[error("Value must be no more than {maximum}")]
    AboveMaximum { maximum: i64 },
    #[error("Value must be between {minimum} and {maximum} or equal to {exception}")]
    OutsideRange { minimum: i64, maximum: i64, exception: i64 },
    #[error("must be unlimited (-1) or, greater than or equal to 1")]
    NotPositiveOrUnlimited,
    #[error("must be greater than or equal to 1")]
    NotPositive,
    #[error("String must be one of: {}", allowed.join(", "))]
    NotOneOf { allowed: &'static [&'static str], found: String },
    #[error("String must be one of (case insensitive): {}", allowed.join(", "))]
    NoneOfAnyCase { allowed: &'static [&'static str] },
    #[error("values must not be empty.")]
    EmptyElement,
    #[error(
        "must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    )]
    NotReplicaList,
    #[error("must be a list host:count,host:count,... with counts of at least 0")]
    NotCountPerHost,
    #[error("{why}")]
    MustBeOff { why: &'static str },
}

impl Validator {
    /// Checks a value that already has its config's type.
    pub fn check(&self, value: &ConfigValue) -> Result<(), Violation> {
        match self {
            Validator::Any => Ok(()),
            Validator::AtLeast(minimum) => at_least(value, *minimum),
            Validator::Between(minimum, maximum) => {
                at_least(value, *minimum)?;
                if value.as_number() > *maximum as f64 {
                    return Err(Violation::AboveMaximum { maximum: *maximum });
                }
                Ok(())
            }
            Validator::BetweenOr(minimum, maximum, exception) => {
                let number = value.as_integer();
                if number != *exception && !(*minimum..=*maximum).contains(&number) {
                    return Err(Violation::OutsideRange {
                        minimum: *minimum,
                        maximum: *maximum,
                        exception: *exception,
                    });
                }
                Ok(())
            }
            Validator::PositiveOrUnlimited if value.as_integer() == -1 || value.as_integer() >= 1 => Ok(()),
            Validator::PositiveOrUnlimited => Err(Violation::NotPositiveOrUnlimited),
            Validator::RequiredPositive if value.as_integer() >= 1 => Ok(()),
            Validator::RequiredPositive => Err(Violation::NotPositive),
            Validator::OneOf(allowed) => one_of(value.as_str(), allowed),
            Validator::OneOfAnyCase(allowed) => {
                let found = value.as_str();
                if allowed.iter().any(|name| name.eq_ignore_ascii_case(found)) {
                    return Ok(());
                }
                Err(Violation::NoneOfAnyCase { allowed })
            }
            Validator::ListOf(allowed) => {
                if value.as_list().iter().any(String::is_empty) {
                    return Err(Violation::EmptyElement);
                }
                value.as_list().iter().try_for_each(|element| one_of(element, allowed))
            }
            Validator::ThrottledReplicas if is_replica_list(value.as_list()) => Ok(()),
            Validator::ThrottledReplicas => Err(Violation::NotReplicaList),
            Validator::CountPerHost => match counts_per_host(value.as_str()) {
                Some(_) => Ok(()),
                None => Err(Violation::NotCountPerHost),
            },
            Validator::OffOnly(why) if *value == ConfigValue::Boolean(true) => Err(Violation::MustBeOff { why }),
            Validator::OffOnly(_) => Ok(()),
        }
    }
}

fn at_least(value: &ConfigValue, minimum: i64) -> Result<(), Violation> {
    if value.as_number() < minimum as f64 {
        return Err(Violation::BelowMinimum { minimum });
    }
    Ok(())
}

fn one_of(found: &str, allowed: &'static [&'static str]) -> Result<(), Violation> {
    if allowed.contains(&found) { Ok(()) } else { Err(Violation::NotOneOf { allowed, found: found.to_owned() }) }
}

fn is_replica_list(elements: &[String]) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    elements == ["*"]
        || elements
            .iter()
            .all(|e| e.split_once(':').is_some_and(|(partition, broker)| is_digits(partition) && is_digits(broker)))
}

/// Reads `host:count,host:count`; the host may hold colons itself (IPv6). `None` if it is anything else.
#[must_use]
pub fn counts_per_host(text: &str) -> Option<Vec<(String, i32)>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',')
        .map(|pair| {
            let (host, count) = pair.trim().rsplit_once(':')?;
            let count: i32 = count.trim().parse().ok().filter(|count| *count >= 0)?;
            (!host.trim().is_empty()).then(|| (host.trim().to_owned(), count))
        })
        .collect()
}

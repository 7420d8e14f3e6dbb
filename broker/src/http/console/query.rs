//! Reading what a request's address says. Pure.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};

use super::answer::ConsoleError;

/// Longest text that is taken: no topic's name and hardly a group's id is longer.
const TEXT_BYTES_MAX: usize = 1024;

/// The parameters of a request, each once.
pub struct Parameters(HashMap<String, String>);

pub type RawParameters = Result<Query<HashMap<String, String>>, QueryRejection>;
pub type RawName = Result<Path<String>, PathRejection>;

/// The name in the path.
pub fn name(name: RawName) -> Result<String, ConsoleError> {
    let Path(name) = name.map_err(|error| ConsoleError::BadAddress { reason: error.body_text() })?;
    if name.len() > TEXT_BYTES_MAX {
        return Err(ConsoleError::BadAddress { reason: format!("a name of {} bytes is too long", name.len()) });
    }
    Ok(name)
}

impl Parameters {
    pub fn new(raw: RawParameters) -> Result<Parameters, ConsoleError> {
        let Query(parameters) = raw.map_err(|error| ConsoleError::BadAddress { reason: error.body_text() })?;
        Ok(Parameters(parameters))
    }

    /// As it was given; `None` if it is missing or empty.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, ConsoleError> {
        match self.0.get(name).map(String::as_str) {
            None | Some("") => Ok(None),
            Some(text) if text.len() > TEXT_BYTES_MAX => {
                let found = text.chars().take(40).collect::<String>() + "…";
                Err(ConsoleError::BadParameter {
                    name,
                    found,
                    expected: format!("at most {TEXT_BYTES_MAX} bytes long"),
                })
            }
            Some(text) => Ok(Some(text)),
        }
    }

    pub fn number<T>(&self, name: &'static str, range: RangeInclusive<T>, default: T) -> Result<T, ConsoleError>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.text(name)? else { return Ok(default) };
        match text.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                Err(ConsoleError::BadParameter { name, found: text.to_owned(), expected })
            }
        }
    }

    pub fn flag(&self, name: &'static str) -> Result<bool, ConsoleError> {
        match self.text(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => {
                Err(ConsoleError::BadParameter { name, found: text.to_owned(), expected: "true or false".to_owned() })
            }
        }
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    pub offset: usize,
    pub limit: usize,
}

impl Paging {
    pub fn of(parameters: &Parameters, limit_max: usize) -> Result<Paging, ConsoleError> {
        Ok(Paging {
            offset: parameters.number("offset", 0..=usize::MAX, 0)?,
            limit: parameters.number("limit", 1..=limit_max, limit_max.min(100))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn numbers_keep_to_their_range_and_nonsense_is_refused() {
        let limit = |text: &str| Paging::of(&parameters(&[("limit", text)]), 500).map(|paging| paging.limit);
        assert_eq!(limit(""), Ok(100));
        assert_eq!(limit("500"), Ok(500));
        for bad in ["0", "501", "-1", "1e3", "99999999999999999999999", " 1", "1;2", "\u{0}"] {
            let expected = "a number from 1 to 500".to_owned();
            let error = ConsoleError::BadParameter { name: "limit", found: bad.to_owned(), expected };
            assert_eq!(limit(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn texts_have_a_longest() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert!(parameters(&[("search", &long[1..])]).text("search").is_ok());
        let refused = parameters(&[("search", &long)]).text("search").unwrap_err();
        assert!(refused.to_string().len() < 200, "{refused}");
    }
}

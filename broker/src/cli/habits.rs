//! What people write who come from Kafka's tools: `--topic NAME` and `--group NAME` where names stand by themselves here, and one
//! port's flag where the other's is meant.
//!
//! The first is taken as it is meant, the second is advised on. Neither is in the help: there is one way to write it.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Commands whose names of topics, or of groups, stand by themselves, and the flag that Kafka's tools have for them.
const NAMED: [(&str, &str); 3] = [("topic", "--topic"), ("partition", "--topic"), ("group", "--group")];

/// Those that ask brokers, with the flags of the ports that their subcommands ask.
const ASKING: [&str; 5] = ["topic", "config", "group", "partition", "cluster"];

/// The command line without the flags before names. One that has no name behind it stays, and is refused.
pub(super) fn without_flags_before_names(line: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = line.into_iter().collect();
    let command = words.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    let Some((_, flag)) = NAMED.iter().find(|(named, _)| *named == command) else { return words };
    let with_value = format!("{flag}=");
    // The subcommand comes first.
    let mut at = 3;
    while at < words.len() && words[at] != "--" {
        let is_name = |word: Option<&OsString>| word.is_some_and(|word| !word.as_encoded_bytes().starts_with(b"-"));
        if words[at] == *flag && is_name(words.get(at + 1)) {
            words.remove(at);
        } else if let Some(name) = words[at].to_str().and_then(|word| word.strip_prefix(&with_value))
            && is_name(Some(&OsString::from(name)))
        {
            words[at] = OsString::from(name);
        }
        at += 1;
    }
    words
}

/// Adds what to write instead, where a flag was given that others of the commands have.
pub(super) fn advise(mut error: clap::Error, line: &[OsString]) -> clap::Error {
    let command = line.get(1).map(OsString::as_os_str).and_then(OsStr::to_str).unwrap_or_default();
    if error.kind() != ErrorKind::UnknownArgument || !ASKING.contains(&command) {
        return error;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return error };
    let tip = match given.split('=').next() {
        Some("--bootstrap-server") => {
            "this command asks a broker's internal port: --internal-addr HOST:PORT, 9093 by default"
        }
        Some("--internal-addr") => {
            "this command asks a broker's port for Kafka clients: --bootstrap-server HOST:PORT, 9092 by default"
        }
        _ => return error,
    };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Cli;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn names_may_have_the_flags_of_kafkas_tools() {
        for (line, expected) in [
            ("r topic describe --topic t", "r topic describe t"),
            ("r topic describe --topic=t --json", "r topic describe t --json"),
            ("r topic delete --topic a --topic b -y", "r topic delete a b -y"),
            ("r topic create --partitions 3 --topic t", "r topic create --partitions 3 t"),
            ("r partition show --topic t 0", "r partition show t 0"),
            ("r group describe --group g", "r group describe g"),
            (
                "r group reset-offsets --group g --topic t:0 --to-latest",
                "r group reset-offsets g --topic t:0 --to-latest",
            ),
        ] {
            let found = without_flags_before_names(words(line));
            assert_eq!(found, words(expected), "{line}");
            assert!(Cli::try_parse_from(&found).is_ok(), "{line}");
        }
        for line in [
            "r config describe --topic t",
            "r topic describe --topic",
            "r topic describe --topic --json",
            "r topic write t -- --topic u",
            "r serve --topic t",
            "r",
        ] {
            assert_eq!(without_flags_before_names(words(line)), words(line));
        }
    }

    #[test]
    fn the_flag_of_the_other_port_is_advised_on() {
        let said = |line: &str| {
            let error = Cli::try_parse_from(words(line)).unwrap_err();
            advise(error, &words(line)).to_string()
        };
        for line in ["r cluster status --bootstrap-server a:1", "r partition list --bootstrap-server=a:1"] {
            assert!(said(line).contains("--internal-addr HOST:PORT, 9093"), "{line}: {}", said(line));
        }
        for line in ["r topic list --internal-addr a:1", "r cluster brokers --internal-addr a:1"] {
            assert!(said(line).contains("--bootstrap-server HOST:PORT, 9092"), "{line}: {}", said(line));
        }
        for line in ["r serve --bootstrap-server a:1", "r topic list --no-such-flag"] {
            assert!(!said(line).contains("this command asks"), "{line}: {}", said(line));
        }
    }
}

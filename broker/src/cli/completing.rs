//! What stands for names in command lines that a shell completes: topics and groups of the cluster that would be asked, and
//! configs.
//!
//! The shell's script calls the program for every word, with [`COMPLETE_VARIABLE`] set. A cluster that does not answer at once is
//! no error: then there is nothing to choose from.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::{ArgValueCompleter, CompletionCandidate};

use super::group;
use super::kafka::{BOOTSTRAP_VARIABLE, Client, DEFAULT_BOOTSTRAP};
use crate::config::HostPort;

/// Says that a command line is to be completed, and for which shell.
pub(super) const COMPLETE_VARIABLE: &str = "RINGLOG_COMPLETE";
/// Whoever has pressed a key waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);
/// Names that are offered.
const NAMES_MAX: usize = 1000;

/// Names of topics.
pub(super) fn topics() -> ArgValueCompleter {
    let names = async |client: Client| {
        let response = client.metadata_of_all().await.ok()?.1;
        Some(response.topics.into_iter().filter_map(|topic| Some(topic.name?.0.to_string())).collect())
    };
    ArgValueCompleter::new(move |current: &OsStr| candidates(current, "", asked(names)))
}

/// Names of groups.
pub(super) fn groups() -> ArgValueCompleter {
    let names = async |client: Client| Some(group::names(&client).await);
    ArgValueCompleter::new(move |current: &OsStr| candidates(current, "", asked(names)))
}

/// Names of configs of what the command line is about.
pub(super) fn configs() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| candidates(current, "", config_names()))
}

/// The same, with the equals sign behind.
pub(super) fn config_settings() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| candidates(current, "=", config_names()))
}

fn config_names() -> Vec<String> {
    let line: Vec<String> = std::env::args().collect();
    let has = |flag: &str| line.iter().any(|word| word == flag || word.starts_with(&format!("{flag}=")));
    let table = match () {
        () if has("--broker") => metadata::config::broker_configs(),
        () if has("--group") => metadata::config::group_configs(),
        () => metadata::config::topic_configs(),
    };
    table.iter().map(|config| config.name.to_owned()).collect()
}

fn candidates(current: &OsStr, behind: &str, names: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let mut names: Vec<String> = names.into_iter().filter(|name| name.starts_with(&*current)).collect();
    names.sort_unstable();
    names.truncate(NAMES_MAX);
    names.into_iter().map(|name| CompletionCandidate::new(format!("{name}{behind}"))).collect()
}

/// What the cluster says that the command line names, else the environment.
fn asked(names: impl AsyncFnOnce(Client) -> Option<Vec<String>>) -> Vec<String> {
    let given = bootstrap_of(std::env::args()).or_else(|| std::env::var(BOOTSTRAP_VARIABLE).ok());
    let given = given.unwrap_or_else(|| DEFAULT_BOOTSTRAP.to_owned());
    let addresses: Result<Vec<HostPort>, _> = given.split(',').map(str::parse).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(addresses), Ok(runtime)) = (addresses, runtime) else { return Vec::new() };
    let names = runtime.block_on(names(Client::new(addresses, PATIENCE))).unwrap_or_default();
    runtime.shutdown_background();
    names
}

fn bootstrap_of(words: impl Iterator<Item = String>) -> Option<String> {
    let mut words = words.skip_while(|word| !word.starts_with("--bootstrap-server"));
    match words.next()?.split_once('=') {
        Some((_, address)) => Some(address.to_owned()),
        None => words.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_that_of_the_command_line() {
        let of = |line: &str| bootstrap_of(line.split(' ').map(str::to_owned));
        assert_eq!(of("ringlog topic list --bootstrap-server a:1,b:2 -"), Some("a:1,b:2".to_owned()));
        assert_eq!(of("ringlog topic --bootstrap-server=a:1 list"), Some("a:1".to_owned()));
        assert_eq!(of("ringlog topic list"), None);
        assert_eq!(of("ringlog topic list --bootstrap-server"), None);
    }

    #[test]
    fn names_are_offered_that_begin_so() {
        let names = ["b", "ab", "aa"].map(str::to_owned).to_vec();
        let found = candidates(OsStr::new("a"), "=", names);
        let found: Vec<_> = found.iter().map(|candidate| candidate.get_value().to_string_lossy()).collect();
        assert_eq!(found, ["aa=", "ab="]);
    }
}

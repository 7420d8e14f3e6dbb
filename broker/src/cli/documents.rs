//! `ringlog completion` and `ringlog man`: made of the command line's own definition when they are asked for, so that they
//! are never older than the program. The script of a shell calls the program, which knows the rest ([`super::completing`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory, ValueHint};
use clap_complete::Shell;
use clap_complete::env::Shells;

use super::args::Cli;
use super::completing::COMPLETE_VARIABLE;
use super::{failed, failed_at, print, settings_page};

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell.
    ///
    /// bash: `ringlog completion bash > /usr/share/bash-completion/completions/ringlog`; zsh: `ringlog completion zsh >
    /// /usr/share/zsh/site-functions/_ringlog`; fish: `ringlog completion fish >
    /// /usr/share/fish/vendor_completions.d/ringlog.fish`.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Where to put them: ringlog.1, one page per subcommand, and ringlog.toml.5. The directory is made if need be.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: PathBuf,
}

pub(super) fn completion(args: &CompletionArgs) -> ExitCode {
    let shells = Shells::builtins();
    let name = args.shell.to_string();
    let shell = shells.completer(&name).expect("every shell that the command line names is one of them");
    let mut script = Vec::new();
    match shell.write_registration(COMPLETE_VARIABLE, "ringlog", "ringlog", "ringlog", &mut script) {
        Ok(()) => {
            print(&String::from_utf8_lossy(&script));
            ExitCode::SUCCESS
        }
        Err(error) => failed(&format!("cannot write the script: {error}")),
    }
}

pub(super) fn man(args: &ManArgs) -> ExitCode {
    match write_pages(&args.out) {
        Ok(count) => {
            print(&format!("{count} manual pages were written to {}\n", args.out.display()));
            ExitCode::SUCCESS
        }
        Err(error) => failed_at(&format!("cannot write manual pages to {}: {error}", args.out.display()), &error),
    }
}

fn write_pages(dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    let pages = pages();
    for (name, page) in &pages {
        fs::write(dir.join(name), page)?;
    }
    Ok(pages.len())
}

/// Every page with its file's name, the program's own first.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages);
    pages.push(settings_page::page());
    pages
}

fn add_pages(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) {
    let page = clap_mangen::Man::new(command.clone());
    let mut roff = Vec::new();
    page.render(&mut roff).expect("writing to memory");
    pages.push((page.get_filename(), roff));
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        add_pages(subcommand, pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script() {
        for shell in <Shell as clap::ValueEnum>::value_variants() {
            assert!(Shells::builtins().completer(&shell.to_string()).is_some(), "{shell}");
        }
    }

    #[test]
    fn every_subcommand_has_a_page_and_every_page_says_what_it_is_about() {
        let pages = pages();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["ringlog.1", "ringlog.toml.5", "ringlog-serve.1", "ringlog-topic-create.1", "ringlog-wal-verify.1"]
        {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
        for (name, page) in &pages {
            let text = String::from_utf8_lossy(page);
            assert!(
                text.contains(".SH NAME") && text.contains(".SH SYNOPSIS") != name.ends_with(".5"),
                "{name}: {text}"
            );
        }
    }
}

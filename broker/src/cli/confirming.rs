//! Questions to whoever sits at the terminal, before something that cannot be taken back.

use std::io::{BufRead, IsTerminal, Write};

use super::told::Failure;

/// Whether somebody can be asked; `deed` is what --yes does without asking, as in "delete".
pub(super) fn can_be_asked(deed: &str) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::Usage(format!("nobody can be asked whether to {deed}: --yes does so without asking")))
}

/// Asks; anything but yes is no.
pub(super) fn ask(deed: &str, question: &str) -> Result<(), Failure> {
    can_be_asked(deed)?;
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        true => Ok(()),
        false => Err(Failure::Failed(format!("nothing was {deed}d"))),
    }
}

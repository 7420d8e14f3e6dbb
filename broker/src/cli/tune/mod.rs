//! `ringlog tune`: sets on this machine what `ringlog check` warns of and a file of the kernel's can change.
//!
//! [`plan`] decides (pure), this module writes, [`report`] shows; [`keep`] has the files that do the same at every boot. A
//! second run finds nothing to do. Deliberately absent: what takes a remount, a boot or another service; those are hints.

mod keep;
mod plan;
mod report;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::TuneArgs;
use super::check;
use super::system::{Pinned, System};
use crate::config::{self, Machine};
use plan::Wish;
use report::{Change, KeptFile, Outcome, Report};

pub(super) fn run(args: TuneArgs) -> ExitCode {
    let config = match config::load(args.settings.flags, std::env::vars_os(), Machine::detect()) {
        Ok(config) => config,
        Err(errors) => return super::refuse(&errors),
    };
    let root = &args.system.system_root;
    if let Some(undo) = args.undo.as_deref().filter(|undo| undo.exists()) {
        return super::failed(&format!("{} is there already: run it, or move it away", undo.display()));
    }
    let journal_dir = (config.memory.shard_journal_bytes_max > 0).then_some(&*config.journal_dir);
    let devices = check::devices(&config.data_dir, journal_dir);
    let pinned = Pinned::new(&config.cpus, config.shard_cpus());
    let look = || System::look(root, &devices);
    let system = look();
    let wishes = plan::plan(&system, pinned.as_ref());
    let wrong = wishes.iter().filter(|wish| !wish.will_do).cloned();
    let kept = if args.persist { keep::files(&wishes).to_vec() } else { Vec::new() };
    let mut report = Report {
        changes: wrong.map(|wish| Change { wish, outcome: Outcome::Planned }).collect(),
        files: kept
            .into_iter()
            .filter(|file| !file.text.is_empty() && !holds(&below(root, file.path), &file.text))
            .map(|file| KeptFile { file, outcome: Outcome::Planned })
            .collect(),
        hints: plan::hints(&system, &wishes).into_iter().chain(check::low_limits(&config)).collect(),
    };
    if args.apply && !args.dry_run {
        apply(&mut report, root);
        confirm(&mut report, &plan::plan(&look(), pinned.as_ref()));
        if let Some(undo) = &args.undo
            && let Err(error) = write_undo(&report, undo)
        {
            eprintln!("error: cannot write {}: {error}; the commands are:\n{}", undo.display(), report.undo_script());
        }
    }
    show(&report, args.json)
}

fn show(report: &Report, json: bool) -> ExitCode {
    let shown = if json { report.json().map(|text| text + "\n") } else { Ok(report.text()) };
    match shown {
        Ok(text) => super::print(&text),
        Err(error) => return super::failed(&format!("cannot write the report: {error}")),
    }
    if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn apply(report: &mut Report, root: &Path) {
    for Change { wish, outcome } in &mut report.changes {
        *outcome = outcome_of(std::fs::write(below(root, &wish.path), &wish.wanted));
    }
    for KeptFile { file, outcome } in &mut report.files {
        let path = below(root, file.path);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        *outcome = outcome_of(written.and_then(|()| std::fs::write(&path, &file.text)));
    }
}

fn outcome_of(result: std::io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Outcome::Failed { error: format!("{error}: run it as root, on the machine itself and not in a container") }
        }
        Err(error) => Outcome::Failed { error: error.to_string() },
    }
}

/// Writing may succeed and change nothing: what is wished for once more was not done.
fn confirm(report: &mut Report, after: &[Wish]) {
    for Change { wish, outcome } in report.changes.iter_mut().filter(|change| change.outcome == Outcome::Done) {
        if let Some(now) = after.iter().find(|now| now.path == wish.path && !now.will_do) {
            *outcome = Outcome::Failed { error: format!("the kernel took it and stays with {}", now.current) };
        }
    }
}

fn write_undo(report: &Report, path: &Path) -> std::io::Result<()> {
    let done = |outcome: &Outcome| *outcome == Outcome::Done;
    if !report.changes.iter().any(|change| done(&change.outcome))
        && !report.files.iter().any(|file| done(&file.outcome))
    {
        return Ok(());
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?;
    file.write_all(report.undo_script().as_bytes())?;
    file.sync_all()
}

fn holds(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|found| found == text)
}

/// An absolute path, below another root.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

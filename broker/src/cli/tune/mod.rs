//! `ringlog tune`: sets on this machine what `ringlog check` warns of and a file of the kernel's can change.
//!
//! [`plan`] decides (pure), this module writes, [`report`] shows; [`keep`] has the files that do the same at every boot. A
//! second run finds nothing to do. Deliberately absent: what takes a remount, a boot or another service; those are hints.

mod keep;
mod plan;
mod report;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::TuneArgs;
use super::check;
use super::system::{Pinned, System};
use crate::config::{self, Machine};
use keep::Kept;
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
        files: kept.into_iter().filter_map(|file| planned(file, root)).collect(),
        hints: plan::hints(&system, &wishes).into_iter().chain(check::low_limits(&config)).collect(),
    };
    let mut has_undo = true;
    if args.apply && !args.dry_run && report.has_plans() {
        let undo = match args.undo.as_deref().map(create_undo).transpose() {
            Ok(undo) => undo,
            Err(error) => return super::failed(&format!("{error}; nothing was changed")),
        };
        apply(&mut report, root);
        confirm(&mut report, &plan::plan(&look(), pinned.as_ref()));
        if let Some((path, file)) = undo
            && let Err(error) = finish_undo(&report, path, file)
        {
            eprintln!("error: cannot write {}: {error}; the commands are:\n{}", path.display(), report.undo_script());
            has_undo = false;
        }
    }
    let shown = show(&report, args.json);
    if has_undo { shown } else { ExitCode::FAILURE }
}

/// What is to become of a file, if anything. One that cannot be read could not be brought back, so it is left alone.
fn planned(file: Kept, root: &Path) -> Option<KeptFile> {
    let before = match std::fs::read_to_string(below(root, file.path)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) if file.text.is_empty() => return None,
        Err(error) => {
            let error = format!("what is there cannot be read, and so not be brought back: {error}");
            return Some(KeptFile { file, before: None, outcome: Outcome::Failed { error } });
        }
    };
    file.is_to_change(before.as_deref()).then_some(KeptFile { file, before, outcome: Outcome::Planned })
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
    for KeptFile { file, outcome, .. } in report.files.iter_mut().filter(|kept| kept.outcome == Outcome::Planned) {
        let path = below(root, file.path);
        *outcome = outcome_of(match file.text.is_empty() {
            true => std::fs::remove_file(&path),
            false => replace(&path, &file.text),
        });
    }
}

/// All or nothing: what was there is not to be lost to a full disk. The name of what is unfinished is none that counts there.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let done = std::fs::write(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, path));
    if done.is_err() {
        // The error that counts is the first one.
        let _ = std::fs::remove_file(&unfinished);
    }
    done
}

fn outcome_of(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
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

/// Before anything is changed, so that nothing is that could not be taken back.
fn create_undo(path: &Path) -> Result<(&Path, File), String> {
    let created = File::options().write(true).create_new(true).mode(0o755).open(path);
    created.map(|file| (path, file)).map_err(|error| format!("cannot create {}: {error}", path.display()))
}

fn finish_undo(report: &Report, path: &Path, mut file: File) -> io::Result<()> {
    if !report.has_done() {
        return std::fs::remove_file(path);
    }
    file.write_all(report.undo_script().as_bytes())?;
    file.sync_all()
}

/// An absolute path, below another root.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

//! Shows changes and what came of them: for people, for programs, and as a script that takes them back.

use std::fmt::Write;

use serde::Serialize;

use super::keep::Kept;
use super::plan::Wish;

/// What came of a change, or of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub(super) enum Outcome {
    /// Nothing was tried.
    Planned,
    Done,
    Failed {
        error: String,
    },
}

/// A change.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) wish: Wish,
    pub(super) outcome: Outcome,
}

/// A file that keeps changes over a boot.
#[derive(Debug)]
pub(super) struct KeptFile {
    pub(super) file: Kept,
    /// What was there before.
    pub(super) before: Option<String>,
    pub(super) outcome: Outcome,
}

/// Everything there is to say.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) changes: Vec<Change>,
    pub(super) files: Vec<KeptFile>,
    pub(super) hints: Vec<String>,
}

impl Report {
    pub(super) fn failed(&self) -> bool {
        let outcomes = self.changes.iter().map(|change| &change.outcome);
        let mut outcomes = outcomes.chain(self.files.iter().map(|file| &file.outcome));
        outcomes.any(|outcome| matches!(outcome, Outcome::Failed { .. }))
    }

    /// Whether there is something to try.
    pub(super) fn has_plans(&self) -> bool {
        self.any(&Outcome::Planned)
    }

    /// Whether there is something to take back.
    pub(super) fn has_done(&self) -> bool {
        self.any(&Outcome::Done)
    }

    fn any(&self, outcome: &Outcome) -> bool {
        self.changes.iter().any(|change| change.outcome == *outcome)
            || self.files.iter().any(|file| file.outcome == *outcome)
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        for Change { wish, outcome } in &self.changes {
            let _ = writeln!(text, "{}  {}: {} -> {}", word(outcome), wish.name, wish.current, wish.wanted);
            detail(&mut text, outcome, wish.why, &undo(wish));
        }
        for kept @ KeptFile { file, outcome, .. } in &self.files {
            let (what, why) = match file.text.is_empty() {
                true => ("removed", "nothing of what it sets is set any more"),
                false => ("with", "the next boot is to set the same"),
            };
            let _ = writeln!(text, "{}  {} {what}", word(outcome), file.path);
            for line in file.text.lines() {
                let _ = writeln!(text, "      | {line}");
            }
            detail(&mut text, outcome, why, &restore(kept));
        }
        for hint in &self.hints {
            let _ = writeln!(text, "HINT  {hint}");
        }
        let count = self.changes.len();
        let failed = self.changes.iter().filter(|change| matches!(change.outcome, Outcome::Failed { .. })).count();
        let _ = match self.changes.first().map(|change| &change.outcome) {
            None if self.files.is_empty() => writeln!(text, "Nothing is to be changed."),
            None => writeln!(text, "No setting is to be changed."),
            Some(Outcome::Planned) => writeln!(text, "{count} to change; nothing was: --apply does it, as root."),
            Some(_) => writeln!(text, "{} of {count} changed.", count - failed),
        };
        text
    }

    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        let changes = self.changes.iter().map(|Change { wish, outcome }| ShownChange {
            name: &wish.name,
            path: &wish.path,
            from: &wish.current,
            to: &wish.wanted,
            why: wish.why,
            undo: undo(wish),
            outcome,
        });
        let files = self.files.iter().map(|kept @ KeptFile { file, outcome, .. }| ShownFile {
            path: file.path,
            text: &file.text,
            undo: restore(kept),
            outcome,
        });
        serde_json::to_string(&Shown { changes: changes.collect(), files: files.collect(), hints: &self.hints })
    }

    /// A shell script that takes back what was done, the last first.
    pub(super) fn undo_script(&self) -> String {
        let mut script = "#!/bin/sh\n# Takes back what `ringlog tune --apply` changed.\n".to_owned();
        let done = |outcome: &Outcome| *outcome == Outcome::Done;
        for kept in self.files.iter().rev().filter(|file| done(&file.outcome)) {
            let _ = writeln!(script, "{}", restore(kept));
        }
        for Change { wish, .. } in self.changes.iter().rev().filter(|change| done(&change.outcome)) {
            let _ = writeln!(script, "{}", undo(wish));
        }
        script
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Planned => "PLAN",
        Outcome::Done => "DONE",
        Outcome::Failed { .. } => "FAIL",
    }
}

fn detail(text: &mut String, outcome: &Outcome, why: &str, undo: &str) {
    match outcome {
        Outcome::Failed { error } => {
            let _ = writeln!(text, "      {error}");
        }
        Outcome::Planned | Outcome::Done => {
            let _ = writeln!(text, "      why: {why}");
            let _ = writeln!(text, "      undo: {undo}");
        }
    }
}

/// The command that gives a setting its old value.
fn undo(wish: &Wish) -> String {
    let current = &wish.current;
    let quoted = if current.contains(' ') { format!("'{current}'") } else { current.clone() };
    format!("echo {quoted} > {}", wish.path)
}

/// The command after which a file is as it was. In one line, so that nothing which the file held can end it.
fn restore(kept: &KeptFile) -> String {
    let path = kept.file.path;
    match &kept.before {
        None => format!("rm -f {path}"),
        Some(text) => format!("printf '{}' > {path}", format_of(text)),
    }
}

/// A text as the format of printf(1), within single quotes.
fn format_of(text: &str) -> String {
    let mut format = String::new();
    for (at, character) in text.chars().enumerate() {
        match character {
            '\'' => format.push_str("'\\''"),
            '\\' => format.push_str("\\\\"),
            '%' => format.push_str("%%"),
            '\n' => format.push_str("\\n"),
            // What begins with it were an option.
            '-' if at == 0 => format.push_str("\\055"),
            control if control.is_ascii_control() => {
                // Writing to a string cannot fail.
                let _ = write!(format, "\\{:03o}", u32::from(control));
            }
            character => format.push(character),
        }
    }
    format
}

#[derive(Serialize)]
struct Shown<'a> {
    changes: Vec<ShownChange<'a>>,
    files: Vec<ShownFile<'a>>,
    hints: &'a [String],
}

#[derive(Serialize)]
struct ShownChange<'a> {
    name: &'a str,
    path: &'a str,
    from: &'a str,
    to: &'a str,
    why: &'a str,
    undo: String,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

#[derive(Serialize)]
struct ShownFile<'a> {
    path: &'a str,
    text: &'a str,
    undo: String,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tune::plan::Keeping;

    fn change(name: &str, current: &str, outcome: Outcome) -> Change {
        let wish = Wish {
            name: name.to_owned(),
            path: format!("/proc/sys/{name}"),
            current: current.to_owned(),
            wanted: "10".to_owned(),
            will_do: false,
            why: "it is slow",
            keeping: Keeping::Sysctl,
        };
        Change { wish, outcome }
    }

    fn report(changes: Vec<Change>) -> Report {
        Report { changes, files: Vec::new(), hints: vec!["do more".to_owned()] }
    }

    #[test]
    fn a_plan_says_what_from_to_why_and_how_to_undo_it() {
        let text = report(vec![change("a", "60", Outcome::Planned)]).text();
        let expected = "PLAN  a: 60 -> 10\n      why: it is slow\n      undo: echo 60 > /proc/sys/a\nHINT  do more\n\
                        1 to change; nothing was: --apply does it, as root.\n";
        assert_eq!(text, expected);
        assert_eq!(report(Vec::new()).text(), "HINT  do more\nNothing is to be changed.\n");
    }

    #[test]
    fn only_what_was_done_is_taken_back_and_the_last_first() {
        let error = "no".to_owned();
        let mut report = report(vec![
            change("a", "1 2 3", Outcome::Done),
            change("b", "2", Outcome::Failed { error }),
            change("c", "3", Outcome::Done),
        ]);
        let path = "/etc/sysctl.d/90-ringlog.conf";
        let file = |path, before: Option<&str>, outcome| {
            let file = Kept { path, text: "x = 1\n".to_owned() };
            KeptFile { file, before: before.map(str::to_owned), outcome }
        };
        report.files.push(file(path, None, Outcome::Done));
        report.files.push(file("/etc/b", Some("x = 2\n"), Outcome::Planned));
        report.files.push(file("/etc/c", Some("x = 3\ny = 4\n"), Outcome::Done));
        let script = report.undo_script();
        let commands: Vec<&str> = script.lines().skip(2).collect();
        assert_eq!(
            commands,
            [
                "printf 'x = 3\\ny = 4\\n' > /etc/c",
                "rm -f /etc/sysctl.d/90-ringlog.conf",
                "echo 3 > /proc/sys/c",
                "echo '1 2 3' > /proc/sys/a"
            ]
        );
        assert!(report.failed());
        let text = report.json().unwrap();
        assert!(!text.contains('\n'), "one object on one line: {text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["changes"][1]["outcome"], "failed");
        assert_eq!(value["changes"][1]["error"], "no");
        assert_eq!(value["files"][0]["undo"], "rm -f /etc/sysctl.d/90-ringlog.conf");
    }

    #[test]
    fn whatever_a_file_held_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for text in [
            "",
            "a = 1\nb = 2\n",
            "no line break at the end",
            "-n begins like an option\n",
            "'; rm -rf /nowhere; echo '\n$(false) `false` $HOME ~ * \"\n",
            "%s %d 100% \\n \\055 \\\\ \\c\n",
            "tab\there, a return\r\n, a bell\u{7}, a null\0 and größe\n",
            "\n\n\n",
        ] {
            std::fs::write(&path, "something else").unwrap();
            let command = format!("printf '{}' > \"$0\"", format_of(text));
            assert!(!command.contains('\n'), "{command}");
            let done = std::process::Command::new("sh").args(["-euc", &command]).arg(&path).status().unwrap();
            assert!(done.success(), "{command}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{command}");
        }
    }
}

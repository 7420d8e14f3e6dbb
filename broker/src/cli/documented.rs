//! Holds what documents for operators tell them to type to the command line that there is: every `ringlog …`, flag and
//! variable in them is one. What the commands do is tested elsewhere (tests/clients/test_docs.py, tests/packages).

use std::collections::BTreeSet;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use super::args::Cli;
use super::internal_port::INTERNAL_VARIABLE;
use crate::config::{CONFIG_VARIABLE, SET_VARIABLE, SETTINGS};

const DOCUMENTS: [&str; 12] = [
    "README.md",
    "docs/backup.md",
    "docs/cli.md",
    "docs/cluster.md",
    "docs/configuration.md",
    "docs/console.md",
    "docs/deployment.md",
    "docs/health.md",
    "docs/metrics.md",
    "docs/runbook.md",
    "docs/sizing.md",
    "docs/upgrade.md",
];
/// Flags that documents name of other programs.
const OTHERS_FLAGS: [&str; 4] = ["env", "force-confold", "no-block", "only"];
/// Words of the shell that a command may stand behind.
const LEADING_ON: [&str; 8] = ["do", "then", "exec", "until", "while", "!", "{", "if"];

/// What a document tells somebody to type, and the line where it begins.
#[derive(Debug, PartialEq)]
struct Typed {
    line: usize,
    words: Vec<String>,
    /// In the middle of a sentence: arguments may be left out.
    in_passing: bool,
}

/// Every `ringlog …` of a document: in its blocks, and between backticks.
fn commands(text: &str) -> Vec<Typed> {
    let mut found = Vec::new();
    let (mut block, mut prose, mut prose_line) = (None::<String>, String::new(), 1);
    let mut pending: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(fence) = line.trim_start().strip_prefix("```") {
            match block.take() {
                Some(_) => {
                    found.extend(pending.take().into_iter().flat_map(|(line, text)| in_shell(line, &text)));
                    (prose, prose_line) = (String::new(), number + 1);
                }
                None => {
                    found.extend(in_prose(prose_line, &prose));
                    block = Some(fence.split_whitespace().next().unwrap_or_default().to_owned());
                }
            }
            continue;
        }
        match block.as_deref() {
            None => {
                prose.push_str(line);
                prose.push('\n');
            }
            Some(kind @ ("sh" | "console")) => {
                let line = line.trim_start();
                let goes_on = pending.as_ref().is_some_and(|(_, text)| text.ends_with('\\'));
                let more = match kind {
                    "sh" => goes_on.then_some(line),
                    _ => line.strip_prefix("> "),
                };
                if let (Some(more), Some((_, text))) = (more, &mut pending) {
                    if goes_on {
                        text.pop();
                    }
                    text.push_str(if goes_on { " " } else { "\n" });
                    text.push_str(more);
                    continue;
                }
                let typed = if kind == "sh" { Some(line) } else { after_prompt(line) };
                // Else it is output.
                let done = std::mem::replace(&mut pending, typed.map(|typed| (number, typed.to_owned())));
                found.extend(done.into_iter().flat_map(|(line, text)| in_shell(line, &text)));
            }
            Some(_) => {}
        }
    }
    found.extend(in_prose(prose_line, &prose));
    found
}

/// What stands behind `$ `, `broker-1# ` and the like.
fn after_prompt(line: &str) -> Option<&str> {
    let (prompt, typed) = line.split_once(' ')?;
    let name = prompt.strip_suffix('$').or_else(|| prompt.strip_suffix('#').filter(|name| !name.is_empty()))?;
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-').then_some(typed)
}

/// The commands of a line of shell that are `ringlog`'s. Quotes, comments, separators and redirections are understood as far as
/// documents use them.
fn in_shell(line: usize, text: &str) -> Vec<Typed> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote, mut chars) = (None::<String>, None, text.chars().peekable());
    while let Some(c) = chars.next() {
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(c),
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            ('\\', None) if chars.peek() == Some(&'\n') => drop(chars.next()),
            (' ', None) => commands.last_mut().expect("one").extend(word.take()),
            ('|' | ';' | '&' | '(' | ')' | '\n', None) => {
                commands.last_mut().expect("one").extend(word.take());
                commands.push(Vec::new());
            }
            // Where output goes is no argument; `2>` neither.
            ('<' | '>', None) => {
                word.take_if(|word| word.chars().all(|c| c.is_ascii_digit()));
                commands.last_mut().expect("one").extend(word.take());
                while chars.next_if(|c| "<>& ".contains(*c)).is_some() {}
                while chars.next_if(|c| !" ;|&)\n".contains(*c)).is_some() {}
            }
            (_, None) => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut().expect("one").extend(word.take());
    let ours = |words: Vec<String>| {
        let first = words.iter().position(|word| word == "ringlog" || word.ends_with("/ringlog"))?;
        let before = &words[..first];
        let leads_on = |word: &String| word.contains('=') || LEADING_ON.contains(&&**word);
        let is_in_container = before.iter().take(2).map(String::as_str).eq(["docker", "exec"]);
        let is_command = before.iter().all(leads_on) || is_in_container;
        let words = without_what_stands_for_words(words[first..].iter().map(String::as_str));
        is_command.then_some(Typed { line, words, in_passing: false })
    };
    commands.into_iter().filter_map(ours).collect()
}

/// Without `...`, and `$2` where it is no flag's value: whatever somebody puts there.
fn without_what_stands_for_words<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let is_number = |word: &str| word.strip_prefix('$').is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
    words.fold(Vec::new(), |mut kept: Vec<String>, word| {
        let is_value = kept.last().is_some_and(|before| before.starts_with("--"));
        if !matches!(word, "..." | "…") && (is_value || !is_number(word)) {
            kept.push(word.to_owned());
        }
        kept
    })
}

/// What is between backticks, over the ends of lines too, with values for `NODE` and the like.
fn in_prose(first_line: usize, text: &str) -> Vec<Typed> {
    let mut line = first_line;
    let mut found = Vec::new();
    for (position, piece) in text.split('`').enumerate() {
        let at = line;
        line += piece.matches('\n').count();
        if position % 2 == 0 || !piece.starts_with("ringlog ") || piece.contains("COMMAND") {
            continue;
        }
        let words = without_what_stands_for_words(piece.split_whitespace());
        let choices = words.iter().map(|word| word.split('|').count()).max().unwrap_or(1);
        found.extend((0..choices).map(|choice| {
            let chosen = words.iter().map(|word| value(word.split('|').nth(choice).unwrap_or(word)));
            Typed { line: at, words: chosen.collect(), in_passing: true }
        }));
    }
    found
}

/// Something that a placeholder may stand for.
fn value(word: &str) -> String {
    let is_placeholder = word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || "_:,…".contains(c));
    match word {
        "HOST:PORT" | "HOST:PORT,…" => "broker-1:9093",
        "NODE" | "ID" | "PARTITION" | "N" | "BYTES" | "SECONDS" => "1",
        "KEY=VALUE" => "retention.ms=1",
        "SHELL" => "bash",
        _ if is_placeholder => "x",
        _ => word,
    }
    .to_owned()
}

fn flags(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned);
    own.chain(command.get_subcommands().flat_map(flags)).collect()
}

/// Why this is no command line of ours.
fn wrong(typed: &Typed) -> Option<String> {
    let error = Cli::command().try_get_matches_from(&typed.words).err()?;
    let is_less = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let is_shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // The shell puts the value there.
    let is_variable =
        error.kind() == ErrorKind::ValueValidation && typed.words.iter().any(|word| word.starts_with('$'));
    let is_fine = is_shown || is_variable || (is_less && typed.in_passing);
    (!is_fine).then(|| error.to_string())
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn documents_tell_people_to_type_what_there_is() {
    let (mut all, mut wrongs) = (0, Vec::new());
    for name in DOCUMENTS {
        for typed in commands(&read(name)) {
            all += 1;
            if let Some(why) = wrong(&typed) {
                wrongs.push(format!("{name}:{}: {}\n{why}", typed.line, typed.words.join(" ")));
            }
        }
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    assert!(all > 150, "only {all} commands were found");
}

#[test]
fn documents_name_flags_and_variables_that_there_are() {
    let flags = flags(&Cli::command());
    let mut variables: BTreeSet<String> = SETTINGS.iter().map(crate::config::Setting::variable).collect();
    variables.extend([CONFIG_VARIABLE, SET_VARIABLE, INTERNAL_VARIABLE, "RINGLOG_BOOTSTRAP_SERVER"].map(str::to_owned));
    for name in DOCUMENTS {
        let text = read(name);
        for flag in text.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("--")) {
            let flag = flag.split([' ', '=', '\n']).next().unwrap_or_default();
            assert!(flags.contains(flag) || OTHERS_FLAGS.contains(&flag), "{name}: there is no flag --{flag}");
        }
        for (at, _) in text.match_indices("RINGLOG_") {
            let variable: String = text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let is_prefix = text[at + variable.len()..].starts_with(['*', '…']);
            assert!(is_prefix || variables.contains(&variable), "{name}: there is no variable {variable}");
        }
    }
}

#[test]
fn commands_are_found_in_blocks_and_sentences() {
    let text = "Run `ringlog cluster drain\nNODE` or `ringlog wal dump|verify DIR`, `ls`.\n\n```sh\nX=1 ringlog serve --set 'a=b c' ... # ringlog no\n\
                until ringlog check > /dev/null 2>&1; do sleep 1; done && ringlog topic list --json | cat\n```\n\n\
                ```console\n$ node() { exec ringlog serve --node-id $1 \\\n>     $2 > log; }\nringlog was here\n\
                a-1# docker build --tag ringlog --file f\nb$ docker exec C ringlog man --out D\n```\n";
    let found = commands(text).into_iter().map(|typed| (typed.line, typed.words.join(" "))).collect::<Vec<_>>();
    let expected = [
        (1, "ringlog cluster drain 1"),
        (2, "ringlog wal dump x"),
        (2, "ringlog wal verify x"),
        (5, "ringlog serve --set a=b c"),
        (6, "ringlog check"),
        (6, "ringlog topic list --json"),
        (10, "ringlog serve --node-id $1"),
        (14, "ringlog man --out D"),
    ];
    assert_eq!(found, expected.map(|(line, words)| (line, words.to_owned())));
}

#[test]
fn what_does_not_exist_is_found() {
    let typed =
        |words: &str, in_passing| Typed { line: 1, words: words.split(' ').map(str::to_owned).collect(), in_passing };
    for words in ["ringlog cluster forget 1", "ringlog wal dump --records x", "ringlog partition show orders x"] {
        assert!(wrong(&typed(words, true)).is_some(), "{words}");
    }
    assert!(wrong(&typed("ringlog partition show orders", true)).is_none(), "the number is left out");
    assert!(wrong(&typed("ringlog partition show orders", false)).is_some());
}

#[test]
fn sizing_adds_up_what_the_limits_add_up_to() {
    let config =
        crate::config::load(crate::config::Flags::default(), [], crate::config::Machine::detect()).expect("defaults");
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let [none, one] = [0, 1].map(|shards| config.memory.total_bytes_max(shards));
    let beyond = (config.memory_bytes_max() - config.memory.total_bytes_max(config.shards)) / config.shards as u64;
    let text = read("docs/sizing.md").split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        format!("add up to {} for each shard and {} for {} connections", mib(one - none), mib(none), "10,000"),
        format!("go beyond that by {} for each shard", mib(beyond)),
    ] {
        assert!(text.contains(&said), "docs/sizing.md does not say: {said}");
    }
}

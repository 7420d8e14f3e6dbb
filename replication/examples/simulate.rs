//! Runs seeds of the replication's simulation, and says what they found.
//!
//! `cargo run -p ringlog-replication --example simulate -- --seeds 10000 [--first 1] [--bug NAME|all] [--only CHECKER]
//! [--trace]`

#[path = "../tests/simulation/sim/mod.rs"]
mod sim;

use sim::{Bug, Checker, Options, Report, run};
use std::collections::BTreeMap;
use std::time::Instant;

struct Args {
    first: u64,
    seeds: u64,
    bugs: Vec<Bug>,
    options: Options,
}

const USAGE: &str = "usage: simulate [--seeds N] [--first SEED] [--bug NAME|all] [--only CHECKER] [--trace]

Runs partitions of a whole cluster in virtual time, under faults that are drawn from the seed: brokers that crash, stop, come back,
lose records or disks; networks that break; replicas that move; elections of every kind. Without --bug nothing may be found, and
the exit status is 1 if anything is.

  --seeds N       so many seeds (1000)
  --first SEED    from this one on (1); --first SEED --seeds 1 runs one again exactly
  --bug NAME      with this mistake built in, or with all of them one after the other; says who finds it in how many seeds
  --only CHECKER  what the other checkers find is let pass
  --trace         says on stderr what happens
  --help          says this";

fn help() -> String {
    format!("{USAGE}\n\nmistakes: {:?}\n\ncheckers: {:?}", Bug::ALL, Checker::ALL)
}

fn usage(error: &str) -> ! {
    eprintln!("{error}\n{}", help());
    std::process::exit(2)
}

fn named<T: Copy + std::fmt::Debug>(all: &[T], name: &str) -> Option<T> {
    all.iter().copied().find(|one| format!("{one:?}").eq_ignore_ascii_case(name))
}

fn args() -> Args {
    let mut parsed = Args { first: 1, seeds: 1000, bugs: Vec::new(), options: Options::default() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| usage(&format!("{arg} needs a value")));
        let number = |text: String| text.parse().unwrap_or_else(|_| usage(&format!("'{text}' is no number")));
        match arg.as_str() {
            "--seeds" => parsed.seeds = number(value()),
            "--first" => parsed.first = number(value()),
            "--trace" => parsed.options.trace = true,
            "--help" => {
                println!("{}", help());
                std::process::exit(0)
            }
            "--only" => {
                let name = value();
                let checker = named(&Checker::ALL, &name).unwrap_or_else(|| usage(&format!("no checker '{name}'")));
                parsed.options.only = Some(checker);
            }
            "--bug" => match value().as_str() {
                "all" => parsed.bugs = Bug::ALL.to_vec(),
                name => parsed.bugs.push(named(&Bug::ALL, name).unwrap_or_else(|| usage(&format!("no bug '{name}'")))),
            },
            other => usage(&format!("unknown argument '{other}'")),
        }
    }
    parsed
}

fn main() {
    let Args { first, seeds, bugs, options } = args();
    if bugs.is_empty() {
        let begin = Instant::now();
        let reports: Vec<Report> = (first..first + seeds).map(|seed| run(seed, options)).collect();
        let mut sound = true;
        for report in reports.iter().filter(|report| report.violation.is_some()).take(10) {
            println!("seed {}: {:?}", report.seed, report.violation);
            sound = false;
        }
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        println!(
            "{seeds} seeds in {:.1} s; of each {} events, {} acknowledged, {} read, {} elections, {} ISR changes, {} restarts, \
             {} cuts",
            begin.elapsed().as_secs_f64(),
            sum(|report| report.events) / seeds,
            sum(|report| report.acknowledged as u64) / seeds,
            sum(|report| report.read as u64) / seeds,
            sum(|report| report.elections as u64) / seeds,
            sum(|report| report.isr_changes as u64) / seeds,
            sum(|report| report.restarts) / seeds,
            sum(|report| report.cuts) / seeds,
        );
        println!(
            "of all {} reassignments complete, {} replicas removed, {} stops in order, {} reports of lost records, {} disks \
             replaced, {} elections by log, {} answers kept for want of a lease, {} times loss was allowed, {} of them to the \
             last leader",
            sum(|report| report.counts.reassigned),
            sum(|report| report.counts.removed),
            sum(|report| report.counts.stops),
            sum(|report| report.counts.reports_of_loss),
            sum(|report| report.counts.disks),
            sum(|report| report.counts.by_log),
            sum(|report| report.counts.without_lease),
            sum(|report| report.losses),
            sum(|report| report.counts.last_known),
        );
        if !sound {
            let mut found: BTreeMap<Checker, Vec<u64>> = BTreeMap::new();
            for report in &reports {
                if let Some((checker, _)) = &report.violation {
                    found.entry(*checker).or_default().push(report.seed);
                }
            }
            println!("violations, by checker and seed: {found:?}");
        }
        std::process::exit(i32::from(!sound));
    }
    for bug in bugs {
        let begin = Instant::now();
        let (mut found, mut first_seed) = (BTreeMap::new(), None);
        for seed in first..first + seeds {
            if let Some((checker, text)) = run(seed, Options { bug: Some(bug), ..options }).violation {
                *found.entry(checker).or_insert(0) += 1;
                first_seed.get_or_insert((seed, checker, text));
            }
        }
        println!("{bug:?}: {found:?} of {seeds} in {:.1} s, first {first_seed:?}", begin.elapsed().as_secs_f64());
    }
}

//! `cargo xtask`: the project's chores, each one command.
//!
//! - `cargo xtask test [--against ringlog|kafka] [--only rust|clients|packages]`: installs what the tests need and runs
//!   all of them: unit, property and crash tests, tests of the real binary, real Kafka clients against it, and the packages
//!   in a Debian of their own.
//! - `cargo xtask package deb|tarball|all`: what is given to users, below target/package; see [`package`].
//! - `cargo xtask bench-quick`: a comparison with real Kafka of a few minutes, which fails below the stated floors.
//! - `cargo xtask ci`: what continuous integration runs: formatting, lints with warnings denied, all tests, and the quick
//!   comparison.

mod documents;
mod package;

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Instant;

use package::PackageOptions;

const USAGE: &str = "usage: cargo xtask test [--against ringlog|kafka] [--only rust|clients|packages]
       cargo xtask package deb|tarball|all [--profile PROFILE] [--revision NUMBER]
       cargo xtask bench-quick
       cargo xtask ci";

/// Both programs at once, always: one alone has other features of their common packages, and would be built again.
const RELEASE: [&str; 6] = ["build", "--release", "--package", "ringlog-broker", "--package", "ringlog-bench"];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.split_first() {
        Some((&"test", rest)) => TestOptions::parse(rest).and_then(|options| test(&options)),
        Some((&"package", rest)) => PackageOptions::parse(rest, USAGE).and_then(|options| package::package(&options)),
        Some((&"bench-quick", [])) => bench_quick(),
        Some((&"ci", [])) => ci(),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Which tests to run, and against what.
struct TestOptions {
    rust: bool,
    clients: bool,
    packages: bool,
    against: String,
}

impl TestOptions {
    fn parse(args: &[&str]) -> Result<TestOptions, String> {
        let mut options = TestOptions { rust: true, clients: true, packages: true, against: "ringlog".to_owned() };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            match (*flag, args.next()) {
                ("--against", Some(&peer @ ("ringlog" | "kafka"))) => options.against = peer.to_owned(),
                ("--only", Some(&"rust")) => (options.clients, options.packages) = (false, false),
                ("--only", Some(&"clients")) => (options.rust, options.packages) = (false, false),
                ("--only", Some(&"packages")) => (options.rust, options.clients) = (false, false),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

fn ci() -> Result<(), String> {
    run(cargo(&["fmt", "--all", "--check"]))?;
    run(cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    test(&TestOptions::parse(&[])?)?;
    bench_quick()
}

fn bench_quick() -> Result<(), String> {
    let out = "target/bench-quick";
    run(cargo(&RELEASE))?;
    let mut compare = Command::new(root().join("target/release/ringlog-bench"));
    compare.args(["compare", "--quick", "--out", out]);
    run(compare)
}

fn test(options: &TestOptions) -> Result<(), String> {
    // They are Ringlog's own, whatever the clients are run against.
    let packages = options.packages && options.against == "ringlog";
    if options.rust {
        run(cargo(&["test", "--workspace"]))?;
    }
    if options.clients {
        if options.against == "ringlog" {
            run(cargo(&RELEASE))?;
        }
        let packing = if packages { Some(Packing::start()?) } else { None };
        let mut clients = Command::new(root().join("tests/clients/run.sh"));
        clients.args(["--against", &options.against]);
        run(clients)?;
        packing.map_or(Ok(()), Packing::wait)?;
    } else if packages {
        package::package(&PackageOptions::parse(&["all"], USAGE)?)?;
    }
    if packages {
        package::package(&PackageOptions::parse(&["deb", "--revision", "2"], USAGE)?)?;
        run(Command::new(root().join("tests/packages/run.sh")))?;
    }
    Ok(())
}

/// `cargo xtask package all` beside the clients' tests, which wait half of their time and come first when they do not.
struct Packing(Child);

impl Packing {
    const LOG: &str = "target/packing.log";

    fn start() -> Result<Packing, String> {
        let failed = |error: io::Error| format!("cannot pack into {}: {error}", Packing::LOG);
        let log = File::create(root().join(Packing::LOG)).map_err(failed)?;
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(env::current_exe().map_err(failed)?).args(["package", "all"]);
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        eprintln!("xtask: {command:?}, which tells of itself in {}", Packing::LOG);
        Ok(Packing(command.spawn().map_err(failed)?))
    }

    fn wait(mut self) -> Result<(), String> {
        eprintln!("xtask: waiting for the packages");
        let status = self.0.wait().map_err(|error| format!("cannot wait for the packages: {error}"))?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(root().join(Packing::LOG)).unwrap_or_default();
        Err(format!("{log}cargo xtask package all failed: {status}"))
    }
}

impl Drop for Packing {
    /// Where the tests failed. A compiler that it has started ends by itself.
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// The workspace's root: the folder above this crate's.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Runs a command in the workspace's root, showing it first and then how long it took.
fn run(mut command: Command) -> Result<(), String> {
    eprintln!("xtask: {command:?}");
    let began = Instant::now();
    let status = command
        .current_dir(root())
        .status()
        .map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
    eprintln!("xtask: {:?} took {} s", command.get_program(), began.elapsed().as_secs());
    if status.success() { Ok(()) } else { Err(format!("{:?} failed: {status}", command.get_program())) }
}

//! What a command has to say in the end, and how it is said: the same way by all that ask brokers.
//!
//! Standard output holds what was asked for: a table, or with `--json` one JSON object on one line, whose names are in
//! snake_case and stay. Standard error holds what is to be said of it. The exit status is 0, 1 if anything that was asked for
//! is missing or was not done, and 2 if the command line is wrong.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value};

use super::kafka::{Client, KafkaArgs};
use super::table::shown;
use super::{EXIT_USAGE, failed, print};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// For standard output.
    pub text: String,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// What is missing or was not done.
    pub problems: Vec<String>,
}

impl Told {
    pub fn text(text: String) -> Told {
        Told { text, ..Told::default() }
    }

    /// One object.
    pub fn json(value: &Value) -> Told {
        Told::text(format!("{value}\n"))
    }
}

/// Why a command ended without what was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    Failed(String),
    /// The command line asks for what cannot be.
    Usage(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Failed(why)
    }
}

impl From<super::kafka::ClientError> for Failure {
    fn from(why: super::kafka::ClientError) -> Failure {
        Failure::Failed(why.to_string())
    }
}

/// Carries out what asks brokers through their Kafka ports, and says what came of it.
pub(super) fn ask_kafka<F: Into<Failure>>(
    args: &KafkaArgs,
    asking: impl AsyncFnOnce(&Client) -> Result<Told, F>,
) -> ExitCode {
    let client = Client::new(args.bootstrap_server.clone(), Duration::from_secs(args.timeout.into()));
    carry_out(async { asking(&client).await })
}

/// Carries out what asks other processes, and says what came of it.
pub(super) fn carry_out<F: Into<Failure>>(asking: impl Future<Output = Result<Told, F>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot set up a runtime: {error}")),
    };
    let outcome = runtime.block_on(asking);
    // A resolver that still blocks, or a reader of standard input, is not waited for.
    runtime.shutdown_background();
    match outcome.map_err(Into::into) {
        Ok(told) => say(&told),
        Err(Failure::Failed(why)) => failed(&why),
        Err(Failure::Usage(why)) => {
            failed(&why);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn say(told: &Told) -> ExitCode {
    print(&told.text);
    told.notes.iter().for_each(|note| eprintln!("{}", shown(note)));
    told.problems.iter().for_each(|problem| {
        failed(problem);
    });
    if told.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What became of each of several things that were to be done: a line each, or an object each under `name`.
pub(super) struct Deeds {
    name: &'static str,
    as_json: bool,
    text: String,
    objects: Vec<Value>,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Deeds {
    pub fn new(name: &'static str, as_json: bool) -> Deeds {
        Deeds { name, as_json, text: String::new(), objects: Vec::new(), problems: Vec::new(), notes: Vec::new() }
    }

    /// It was done; or why it was not. `what` says which it is about, as `{"topic": "t"}`.
    pub fn add(&mut self, what: Value, outcome: Result<String, String>) {
        let mut object = match what {
            Value::Object(object) => object,
            other => Map::from_iter([("name".to_owned(), other)]),
        };
        object.insert("done".to_owned(), outcome.is_ok().into());
        match outcome {
            Ok(line) => {
                self.text.push_str(&line);
                self.text.push('\n');
                object.insert("error".to_owned(), Value::Null);
            }
            Err(why) => {
                object.insert("error".to_owned(), why.as_str().into());
                self.problems.push(why);
            }
        }
        self.objects.push(object.into());
    }

    /// For people.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub fn told(self) -> Told {
        let Deeds { name, as_json, text, objects, problems, notes } = self;
        match as_json {
            true => Told { problems, ..Told::json(&Map::from_iter([(name.to_owned(), objects.into())]).into()) },
            false => Told { text, notes, problems },
        }
    }
}

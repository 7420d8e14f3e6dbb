//! Kafka's jars: fetched once from Maven Central by `mvn`, at the versions of the client tests' pom, into the cache that
//! those tests use too.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::process::{ProcessError, run_tool};

/// The list of jars, shared with the client tests so that both run against the very same Kafka.
const POM: &str = include_str!("../../tests/clients/kafka/pom.xml");
const COPY_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// Written last into the folder of jars: the SHA-256 of the pom they came from.
const STAMP: &str = ".stamp";
const DOWNLOAD_TIME_MAX: Duration = Duration::from_secs(20 * 60);
const DIGEST_TIME_MAX: Duration = Duration::from_secs(60);

/// Why there are no jars.
#[derive(Debug, thiserror::Error)]
pub enum JarsError {
    #[error("{path}: {action} failed: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{dir} holds no kafka_2.13-VERSION.jar")]
    NoBrokerJar { dir: PathBuf },
    #[error("Kafka's jars cannot be fetched (Java 17 and Maven are needed, and Maven Central): {0}")]
    Tool(#[from] ProcessError),
}

/// A folder of jars with a whole Kafka in it.
#[derive(Clone, Debug)]
pub struct Jars {
    dir: PathBuf,
    /// As in the broker's jar.
    version: String,
}

impl Jars {
    /// Takes the jars that lie in `dir`, as they are.
    pub fn at(dir: &Path) -> Result<Jars, JarsError> {
        let io_error = |source| JarsError::Io { path: dir.to_owned(), action: "listing", source };
        for entry in fs::read_dir(dir).map_err(io_error)? {
            let name = entry.map_err(io_error)?.file_name();
            if let Some(version) = name.to_str().and_then(broker_jar_version) {
                return Ok(Jars { dir: dir.to_owned(), version: version.to_owned() });
            }
        }
        Err(JarsError::NoBrokerJar { dir: dir.to_owned() })
    }

    /// Takes the jars in `cache/kafka-libs`, and fetches them first if they are not there or of another pom.
    pub fn in_cache(cache: &Path, interrupt: &Interrupt) -> Result<Jars, JarsError> {
        let io_error = |action| move |source| JarsError::Io { path: cache.to_owned(), action, source };
        fs::create_dir_all(cache).map_err(io_error("creating"))?;
        // The lock of the client tests' installation: two at once must not write over each other.
        let lock = File::create(cache.join(".lock")).map_err(io_error("creating the lock file"))?;
        lock.lock().map_err(io_error("locking"))?;
        let pom = cache.join("bench-pom.xml");
        fs::write(&pom, POM).map_err(io_error("writing the pom"))?;
        let mut digest = Command::new("sha256sum");
        digest.arg(&pom);
        let digest = run_tool("sha256sum", digest, &cache.join("sha256sum.log"), DIGEST_TIME_MAX, interrupt)?;
        let digest = digest.split(' ').next().unwrap_or_default();
        let dir = cache.join("kafka-libs");
        let stamp = dir.join(STAMP);
        if fs::read_to_string(&stamp).is_ok_and(|found| found.trim() == digest) {
            return Jars::at(&dir);
        }
        eprintln!("fetching Kafka's jars from Maven Central into {}", dir.display());
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(io_error("removing old jars"))?;
        }
        fs::create_dir_all(&dir).map_err(io_error("creating the folder of jars"))?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom).arg(COPY_GOAL).arg("-DincludeScope=runtime");
        maven.arg(format!("-DoutputDirectory={}", dir.display()));
        run_tool("mvn", maven, &cache.join("mvn.log"), DOWNLOAD_TIME_MAX, interrupt)?;
        let jars = Jars::at(&dir)?;
        fs::write(&stamp, format!("{digest}\n")).map_err(io_error("writing the stamp"))?;
        Ok(jars)
    }

    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// For java's `-cp`.
    #[must_use]
    pub fn class_path(&self) -> String {
        format!("{}/*", self.dir.display())
    }
}

fn broker_jar_version(file_name: &str) -> Option<&str> {
    file_name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_version_is_that_of_its_jar() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Jars::at(dir.path()), Err(JarsError::NoBrokerJar { .. })));
        fs::write(dir.path().join("kafka-clients-9.9.9.jar"), "").unwrap();
        fs::write(dir.path().join("kafka_2.13-4.3.0.jar"), "").unwrap();
        let jars = Jars::at(dir.path()).unwrap();
        assert_eq!(jars.version(), "4.3.0");
        assert!(jars.class_path().ends_with("/*"));
    }

    #[test]
    fn jars_with_the_stamp_of_the_pom_are_not_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        let libs = cache.path().join("kafka-libs");
        fs::create_dir(&libs).unwrap();
        fs::write(libs.join("kafka_2.13-0.0.1.jar"), "").unwrap();
        let pom = cache.path().join("pom.xml");
        fs::write(&pom, POM).unwrap();
        // As tests/clients/run.sh writes it.
        let output = Command::new("sha256sum").arg(&pom).output().unwrap();
        fs::write(libs.join(STAMP), &output.stdout[..64]).unwrap();
        let jars = Jars::in_cache(cache.path(), &Interrupt::default()).unwrap();
        assert_eq!(jars.version(), "0.0.1");
    }
}

//! `cargo xtask package`: what is given to users, below `target/package`.
//!
//! - `deb`: `ringlog_VERSION_ARCH.deb` and `ringlog-bench_VERSION_ARCH.deb`, by cargo-deb after the metadata in
//!   broker/Cargo.toml and bench/Cargo.toml.
//! - `tarball`: `ringlog-VERSION-ARCH-linux.tar.gz` with a binary that needs no library, and `container/`, the folder from
//!   which deploy/container/Containerfile makes an image of the same binary.
//!
//! The same sources and compiler give the same bytes: names are sorted, times are those of the last commit
//! (`SOURCE_DATE_EPOCH`, where it is set), owners are root.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{cargo, documents, root, run};

const CARGO_DEB: &str = "3.8.0";
/// glibc in the binary. Its static form cannot look for a newer getrandom at run time, so that is called directly; every
/// kernel with io_uring has it.
const STATIC_FLAGS: &str = "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"";
const SHELLS: [(&str, &str); 3] = [("bash", "bash/ringlog"), ("zsh", "zsh/_ringlog"), ("fish", "fish/ringlog.fish")];

/// What to make, and how.
pub struct PackageOptions {
    deb: bool,
    tarball: bool,
    /// Cargo's, `release` but for trying out.
    profile: String,
    /// The number behind the version of a Debian package.
    revision: String,
}

impl PackageOptions {
    pub fn parse(args: &[&str], usage: &str) -> Result<PackageOptions, String> {
        let (deb, tarball, rest) = match args.split_first() {
            Some((&"deb", rest)) => (true, false, rest),
            Some((&"tarball", rest)) => (false, true, rest),
            Some((&"all", rest)) => (true, true, rest),
            _ => return Err(usage.to_owned()),
        };
        let mut options = PackageOptions { deb, tarball, profile: "release".to_owned(), revision: "1".to_owned() };
        let mut rest = rest.iter();
        while let Some(flag) = rest.next() {
            match (*flag, rest.next()) {
                ("--profile", Some(&profile)) => options.profile = profile.to_owned(),
                ("--revision", Some(&revision)) => options.revision = revision.to_owned(),
                _ => return Err(usage.to_owned()),
            }
        }
        Ok(options)
    }

    /// Where cargo puts what it builds with this profile.
    fn folder(&self) -> &str {
        if self.profile == "dev" { "debug" } else { &self.profile }
    }
}

pub fn package(options: &PackageOptions) -> Result<(), String> {
    if options.deb {
        deb(options)?;
    }
    if options.tarball {
        tarball(options)?;
    }
    Ok(())
}

fn deb(options: &PackageOptions) -> Result<(), String> {
    let cargo_deb = cargo_deb()?;
    build(options, &["ringlog-broker", "ringlog-bench"], None)?;
    let broker = target().join(options.folder()).join("ringlog");
    let folder = out().join("documents");
    generated(&broker, &folder)?;
    documents::write(&folder.join("doc"))?;
    for package in ["ringlog-broker", "ringlog-bench"] {
        let mut command = Command::new(&cargo_deb);
        command.env("SOURCE_DATE_EPOCH", epoch()?);
        command.args(["--package", package, "--no-build", "--profile", &options.profile]);
        // It would keep the line tables that the profile asks for.
        command.args(["--strip", "--deb-revision", &options.revision, "--output"]).arg(out());
        run(command)?;
    }
    Ok(())
}

/// cargo-deb at the version that is known to work, installed once.
fn cargo_deb() -> Result<PathBuf, String> {
    let tools = root().join(".cache/tools");
    let program = tools.join("bin/cargo-deb");
    let version = Command::new(&program).arg("--version").output();
    let right = |text: &[u8]| String::from_utf8_lossy(text).trim().ends_with(CARGO_DEB);
    if !version.is_ok_and(|output| right(&output.stdout)) {
        let mut install = cargo(&["install", "cargo-deb", "--version", CARGO_DEB, "--locked", "--force", "--root"]);
        install.arg(&tools);
        run(install)?;
    }
    Ok(program)
}

fn tarball(options: &PackageOptions) -> Result<(), String> {
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    build(options, &["ringlog-broker"], Some(&triple))?;
    let broker = target().join(&triple).join(options.folder()).join("ringlog");
    let name = format!("ringlog-{}-{}-linux", env!("CARGO_PKG_VERSION"), env::consts::ARCH);
    let folder = out().join(&name);
    fresh(&folder)?;
    strip(&broker, &folder.join("bin/ringlog"))?;
    generated(&folder.join("bin/ringlog"), &folder.join("share"))?;
    for (from, to) in [
        ("deploy/ringlog.toml", "etc/ringlog.toml"),
        ("deploy/systemd/ringlog.service", "systemd/ringlog.service"),
        ("deploy/systemd/ringlog.sysusers", "systemd/ringlog.sysusers"),
        ("deploy/systemd/ringlog.tmpfiles", "systemd/ringlog.tmpfiles"),
        ("deploy/container/seccomp.json", "container/seccomp.json"),
        ("deploy/prometheus/prometheus.yml", "share/prometheus/prometheus.yml"),
        ("deploy/prometheus/rules.yml", "share/prometheus/rules.yml"),
        ("deploy/grafana/ringlog-broker.json", "share/grafana/ringlog-broker.json"),
        ("deploy/grafana/ringlog-cluster.json", "share/grafana/ringlog-cluster.json"),
        ("LICENSE", "LICENSE"),
        ("CHANGELOG.md", "CHANGELOG.md"),
    ] {
        copy(&root().join(from), &folder.join(to))?;
    }
    documents::write(&folder.join("doc"))?;
    pack(&name)?;
    container(&folder)
}

/// Packs a folder of [`out`], the same way every time.
fn pack(name: &str) -> Result<(), String> {
    let tar = out().join(format!("{name}.tar"));
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"]);
    command.arg(format!("--mtime=@{}", epoch()?)).arg("--create").arg("--file").arg(&tar);
    command.arg("--directory").arg(out()).arg(name);
    run(command)?;
    let mut compress = Command::new("gzip");
    compress.args(["--no-name", "--best", "--force"]).arg(&tar);
    run(compress)
}

/// The folder that deploy/container/Containerfile is built from.
fn container(unpacked: &Path) -> Result<(), String> {
    let folder = out().join("container");
    fresh(&folder)?;
    copy(&unpacked.join("bin/ringlog"), &folder.join("root/usr/bin/ringlog"))?;
    for name in ["passwd", "group", "nsswitch.conf"] {
        copy(&root().join("deploy/container").join(name), &folder.join("root/etc").join(name))?;
    }
    copy(&root().join("LICENSE"), &folder.join("root/usr/share/doc/ringlog/LICENSE"))?;
    make(&folder.join("data"))?;
    copy(&root().join("deploy/container/Containerfile"), &folder.join("Containerfile"))
}

/// Manual pages and completions, by the program that they are of.
fn generated(broker: &Path, folder: &Path) -> Result<(), String> {
    fresh(folder)?;
    // Pages lie by their sections, where `man` looks for them.
    let (pages, man) = (folder.join("pages"), folder.join("man"));
    let mut write = Command::new(broker);
    write.args(["man", "--out"]).arg(&pages);
    run(write)?;
    let failed = |error: std::io::Error| format!("cannot sort manual pages into {}: {error}", man.display());
    for page in fs::read_dir(&pages).map_err(failed)? {
        let page = page.map_err(failed)?.path();
        let section = man.join(format!("man{}", page.extension().unwrap_or_default().display()));
        make(&section)?;
        fs::rename(&page, section.join(page.file_name().unwrap_or_default())).map_err(failed)?;
    }
    fs::remove_dir(&pages).map_err(failed)?;
    for (shell, name) in SHELLS {
        let file = folder.join("completions").join(name);
        make(file.parent().unwrap_or(folder))?;
        let output = Command::new(broker).args(["completion", shell]).output();
        let output = output.map_err(|error| format!("cannot run {}: {error}", broker.display()))?;
        if !output.status.success() {
            return Err(format!("ringlog completion {shell} failed: {}", output.status));
        }
        fs::write(&file, output.stdout).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(())
}

fn build(options: &PackageOptions, packages: &[&str], static_for: Option<&str>) -> Result<(), String> {
    let mut command = cargo(&["build", "--profile", &options.profile]);
    command.args(packages.iter().flat_map(|package| ["--package", *package]));
    if let Some(triple) = static_for {
        command.args(["--target", triple]).env("RUSTFLAGS", STATIC_FLAGS);
    }
    run(command)
}

/// Debugging information is for those who build; symbols stay, for backtraces.
fn strip(from: &Path, to: &Path) -> Result<(), String> {
    copy(from, to)?;
    let mut command = Command::new("strip");
    command.arg("--strip-debug").arg(to);
    run(command)
}

/// Seconds since 1970 that files are to be from.
fn epoch() -> Result<String, String> {
    if let Ok(epoch) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let output = Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()).output();
    let output = output.map_err(|error| format!("cannot ask git for the last commit's time: {error}"))?;
    let epoch = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if epoch.is_empty() { Err("no commit to take the time from: set SOURCE_DATE_EPOCH".to_owned()) } else { Ok(epoch) }
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn out() -> PathBuf {
    root().join("target/package")
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    make(folder)
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    if let Some(folder) = to.parent() {
        make(folder)?;
    }
    fs::copy(from, to).map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))?;
    Ok(())
}

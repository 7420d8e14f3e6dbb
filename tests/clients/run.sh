#!/usr/bin/env bash
# Runs the client compatibility suite: real Kafka clients against a real broker process.
#
#   tests/clients/run.sh [--against ringlog|kafka] [--install-only] [pytest arguments ...]
#
# What the tests need (Python clients, Kafka's jars, kcat, promtool, a franz-go program) is fetched at pinned versions from the
# ordinary package registries into .cache/clients, once: a later run finds it there. Needs python3, a JDK 17, mvn, go;
# installs kcat and python3-venv by apt-get when they are missing and it runs as root.
# See tests/README.md for the environment variables.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache="$repo/.cache/clients"

against=${RINGLOG_TEST_AGAINST:-ringlog}
install_only=false
pytest_args=()
while [ $# -gt 0 ]; do
  case "$1" in
    --against) against=${2:?--against needs ringlog or kafka}; shift 2 ;;
    --against=*) against=${1#*=}; shift ;;
    --install-only) install_only=true; shift ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) pytest_args+=("$1"); shift ;;
  esac
done
case "$against" in
  ringlog | kafka) ;;
  *) echo "run.sh: --against must be ringlog or kafka, found '$against'" >&2; exit 2 ;;
esac

say() { echo "run.sh: $*" >&2; }

need() { # need COMMAND WHAT-TO-INSTALL
  command -v "$1" >/dev/null 2>&1 || { say "$1 is missing: install $2"; exit 1; }
}

apt_install() { # apt_install PACKAGE: only as root, otherwise say what to do
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    say "please install the Debian package $1 (or run once as root)"; exit 1
  fi
  say "installing $1 by apt-get"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >/dev/null 2>&1 || {
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >/dev/null
  }
}

# fresh STAMP FILE...: true when STAMP was written for exactly these files' contents.
digest() { cat "$@" | sha256sum | cut -d' ' -f1; }
fresh() { [ -e "$1" ] && [ "$(cat "$1")" = "$(digest "${@:2}")" ]; }

install_python() {
  local stamp="$cache/venv/.stamp"
  fresh "$stamp" "$here/requirements.txt" && "$cache/venv/bin/python" -c '' 2>/dev/null && return
  need python3 "python3 (3.11 or newer)"
  say "installing the Python clients into $cache/venv"
  rm -rf "$cache/venv"
  if ! python3 -m venv "$cache/venv" >/dev/null 2>&1; then
    rm -rf "$cache/venv"
    apt_install python3-venv
    python3 -m venv "$cache/venv"
  fi
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  digest "$here/requirements.txt" >"$stamp"
}

install_kafka() {
  local libs="$cache/kafka-libs"
  fresh "$libs/.stamp" "$here/kafka/pom.xml" && return
  need java "a Java 17 runtime (openjdk-17-jre-headless)"
  need mvn "maven"
  say "fetching Kafka's jars into $libs"
  rm -rf "$libs"
  mkdir -p "$libs"
  mvn -q -B -Dstyle.color=never -f "$here/kafka/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$libs" -DincludeScope=runtime >&2
  archive_classes "$libs" || say "no class data archive: Kafka's tools will start more slowly"
  digest "$here/kafka/pom.xml" >"$libs/.stamp"
}

# The program that runs members of groups with Kafka's own consumer.
install_group_members() {
  local classes="$cache/java" sources=("$here"/java/*.java "$here/kafka/pom.xml")
  fresh "$classes/.stamp" "${sources[@]}" && return
  need javac "a Java 17 JDK (openjdk-17-jdk-headless)"
  say "compiling the Java members of groups"
  rm -rf "$classes"
  mkdir -p "$classes"
  javac -Xlint:all -Werror -cp "$cache/kafka-libs/*" -d "$classes" "$here"/java/*.java
  digest "${sources[@]}" >"$classes/.stamp"
}

# The suite starts Kafka's tools hundreds of times: an archive of their loaded classes halves what a start costs. It is
# made by one run of a tool that finds no broker.
archive_classes() {
  local libs=$1 config
  config=$(mktemp)
  printf 'request.timeout.ms=1000\ndefault.api.timeout.ms=1000\n' >"$config"
  java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit="$libs/tools.jsa" \
    -Dlog4j2.configurationFile="$here/kafka/log4j2.properties" -cp "$libs/*" \
    org.apache.kafka.tools.TopicCommand --bootstrap-server 127.0.0.1:1 --list --command-config "$config" \
    >/dev/null 2>&1 || true
  rm -f "$config"
  [ -s "$libs/tools.jsa" ]
}

install_go() { # install_go PROGRAM: one of ours, by the name of its folder
  local name=$1
  local sources=("$here/$name"/*.go "$here/$name/go.mod" "$here/$name/go.sum")
  [ -x "$cache/bin/$name" ] && fresh "$cache/bin/$name.stamp" "${sources[@]}" && return
  need go "Go (the version that $name/go.mod names, or any newer than 1.21, which fetches it)"
  say "building $name"
  mkdir -p "$cache/bin"
  (cd "$here/$name" && go build -trimpath -mod=readonly -o "$cache/bin/$name" .)
  digest "${sources[@]}" >"$cache/bin/$name.stamp"
}

# Prometheus' own tool alone, out of the Debian package: the server is not installed, and nothing is started.
install_promtool() {
  [ -x "$cache/bin/promtool" ] && return
  if command -v promtool >/dev/null 2>&1; then ln -sf "$(command -v promtool)" "$cache/bin/promtool"; return; fi
  need apt-get "promtool (part of Prometheus)"
  say "fetching promtool"
  local unpacked
  unpacked=$(mktemp -d)
  mkdir -p "$cache/bin"
  (
    cd "$unpacked"
    apt-get download -qq prometheus >/dev/null 2>&1 || { apt-get update -qq >&2; apt-get download -qq prometheus >/dev/null; }
    dpkg-deb -x prometheus_*.deb .
    cp usr/bin/promtool "$cache/bin/promtool"
  )
  rm -rf "$unpacked"
}

mkdir -p "$cache"
(
  flock 9 # two runs at once must not install over each other
  install_python
  install_kafka
  install_group_members
  install_go franz
  install_go groupload
  install_go keyedload
  install_promtool
  command -v kcat >/dev/null 2>&1 || apt_install kcat
  # For the console's tests in a browser; without it, or without root, they are skipped.
  if [ "$(id -u)" = 0 ] && ! command -v chromium >/dev/null 2>&1; then apt_install chromium || true; fi
  # For completion in shells other than bash; without them, or without root, they are skipped.
  for shell in zsh fish; do
    if [ "$(id -u)" = 0 ] && ! command -v $shell >/dev/null 2>&1; then apt_install $shell || true; fi
  done
  # For tests that cut links; without it, or without root, they are skipped.
  if [ "$(id -u)" = 0 ] && ! command -v nft >/dev/null 2>&1; then apt_install nftables || true; fi
) 9>"$cache/.lock"
$install_only && exit 0

export RINGLOG_TEST_AGAINST=$against
cd "$here"
exec "$cache/venv/bin/python" -m pytest "${pytest_args[@]}"

#!/usr/bin/env bash
# Tests what `cargo xtask package all` and `cargo xtask package deb --revision 2` have made.
#
#   tests/packages/run.sh [pytest arguments ...]
#
# Needs root and a Debian: packages are installed in one that debootstrap makes (kept in .cache/packages), booted with
# systemd in namespaces. Installs by apt-get what is missing. Without root all tests are skipped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/../clients/run.sh" --install-only

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  missing=()
  for package in debootstrap lintian systemd buildah python3-seccomp; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "run.sh: installing ${missing[*]} by apt-get" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
fi

cd "$here"
exec "$here/../../.cache/clients/venv/bin/python" -m pytest "$@"

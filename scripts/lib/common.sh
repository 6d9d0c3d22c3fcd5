# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What every script shares: messages, the top of the tree, the cache directory, the machine's Debian release.
# Source it: . "$(dirname "$0")/lib/common.sh"

set -Eeuo pipefail
# A command that fails where nobody looks ends the script: say which.
trap 'printf "error: %s:%s: \"%s\" failed\n" "${BASH_SOURCE[0]}" "$LINENO" "$BASH_COMMAND" >&2' ERR

# shellcheck disable=SC2034  # for the scripts that source this file
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
acma_cache=${ACMA_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/acma}
export ACMA_CACHE=$acma_cache
log_dir=$acma_cache/log
mkdir -p "$log_dir"

say() { printf '== %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command with its output in a log; shows the end of the log only if the command fails.
# logged NAME COMMAND...
logged() {
    local log="$log_dir/$1.log" status=0
    shift
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if ((status != 0)); then
        printf 'error: "%s" failed with status %d; the end of %s:\n' "$*" "$status" "$log" >&2
        tail -n 30 "$log" >&2
    fi
    return "$status"
}

# unpacking FOLDER COMMAND...: what is downloaded into FOLDER of the cache is unpacked in FOLDER/.new-XXXXXX and renamed when
# complete, by one run at a time; what an interrupted run left is removed.
unpacking() {
    local folder="$acma_cache/$1" lock
    shift
    mkdir -p "$folder"
    exec {lock}>"$folder/.lock"
    flock "$lock"
    rm -rf "$folder"/.new-*
    "$@"
    exec {lock}>&-
}

need_root() { [[ $(id -u) == 0 ]] || die "this must run as root ($1)"; }

# "bookworm" or "trixie"; anything else is refused: packages are known for these two only.
debian_codename() {
    local name=""
    if [[ -r /etc/os-release ]]; then
        # shellcheck disable=SC1091
        name=$(. /etc/os-release && printf '%s %s' "${ID:-}" "${VERSION_CODENAME:-}")
    fi
    case $name in
    "debian bookworm" | "debian trixie") printf '%s\n' "${name#debian }" ;;
    *) die "this needs Debian 12 (bookworm) or Debian 13 (trixie), not '${name:-unknown}'" ;;
    esac
}

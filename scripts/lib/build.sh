# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Configuring, building and testing one build directory with meson.

# configure_build DIRECTORY MESON-OPTIONS...
configure_build() {
    local directory=$1
    shift
    if [[ ! -e $directory/build.ninja ]]; then
        say "configuring $directory"
        logged "meson-$(basename "$directory")" meson setup "$directory" "$top" -Dwerror=true "$@" ||
            die "meson setup failed"
    fi
}

# build_all DIRECTORY [TARGETS...]: everything, or only these
build_all() {
    local directory=$1
    say "building $directory"
    ninja -C "$directory" "${@:2}" >"$log_dir/ninja.log" 2>&1 || {
        grep -a -E -B 2 -A 12 'FAILED|error:' "$log_dir/ninja.log" | head -n 80 >&2
        return 1
    }
}

# Runs every meson test of a directory and appends its counts to the tally file.
# meson_tests DIRECTORY TALLY ARGUMENTS...
meson_tests() {
    local directory=$1 tally=$2 status=0
    shift 2
    rm -f "$directory/meson-logs/testlog.json"
    meson test -C "$directory" --no-rebuild --print-errorlogs "$@" || status=$?
    /usr/bin/python3 "$top/scripts/lib/meson_tally.py" "$directory/meson-logs/testlog.json" "$tally" || status=1
    exit "$status"
}

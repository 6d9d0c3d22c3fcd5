# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Each step of a script runs as a job of its own, so that an interruption ends all of it. Who sources this calls end_job in
# its EXIT trap.
job=""
exec {never}<> <(:)
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# SIGINT, since apt and ninja know how to stop at a good point then; but a script that was started in the background may have
# to ignore it, and its jobs with it.
ending=INT
[[ $(trap -p INT) != "trap -- '' "* ]] || ending=TERM

# Not in a condition (start_job ... || ...): `set -e` would not hold in the job.
start_job() {
    set -m
    (trap - EXIT && "$@") </dev/null &
    job=$!
    set +m
}

# Its exit status.
wait_for_job() {
    local status=0
    wait "$job" || status=$?
    job=""
    return "$status"
}

end_job() {
    [[ -n $job ]] || return 0
    kill "-$ending" -- "-$job" 2>/dev/null || true
    wait "$job" 2>/dev/null || true
    job=""
}

# A step that writes to logs, and without which nothing else can run; every ten seconds it shows what the newest log says.
# reporting FUNCTION ARGUMENTS...
reporting() {
    local start=$SECONDS said=$SECONDS newest
    start_job "$@"
    while kill -0 "$job" 2>/dev/null; do
        read -r -t 0.2 -u "$never" || true
        if ((SECONDS - said >= 10)); then
            said=$SECONDS
            newest=$(find "$log_dir" -name '*.log' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2-)
            printf '   %3d s: %s\n' $((SECONDS - start)) "$(tail -n 1 "${newest:-/dev/null}" | tr -d '\r' | cut -c 1-100)"
        fi
    done
    wait_for_job || exit 1
}

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Packages of a Debian suite that the machine's own sources do not name, through an apt configuration of our own: its
# source list, package lists and archives live in the cache directory, so that the machine's apt is left as it is.
# The mirror is the one that the machine already uses.

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The machine's own Debian sources, one "URI SUITE" a line (deb822 and one-line files alike: apt itself reads them).
machine_debian_sources() {
    local format='$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)'
    apt-get indextargets --format "$format" "Created-By: Packages" 2>/dev/null |
        awk '$3 == "main" && $4 == "Debian" && !seen[$1 $2]++ { print $1, $2 }'
}

have_machine_lists() { [[ -n $(machine_debian_sources) ]]; }

apt_update_machine() {
    need_root "apt-get update"
    say "updating the package lists (apt-get update)"
    logged apt-update apt-get -q update || die "apt-get update failed: is there a network?"
}

# The machine's mirror of Debian's main archive (not of security updates).
debian_mirror() {
    have_machine_lists || apt_update_machine
    local mirror
    mirror=$(machine_debian_sources | awk -v suite="$(debian_codename)" '$2 == suite { print $1; exit }')
    [[ -n $mirror ]] || die "no Debian mirror for $(debian_codename) main found in the machine's apt sources"
    printf '%s\n' "$mirror"
}

# Options that make apt use the configuration in directory $1. Installed packages stay the machine's own.
config_options() {
    local dir=$1
    printf '%s\n' -o "Dir::Etc::sourcelist=$dir/sources.list" -o "Dir::Etc::sourceparts=$dir/none" \
        -o "Dir::Etc::preferencesparts=$dir/none" -o "Dir::Etc::preferences=$dir/none/preferences" \
        -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o "APT::Sandbox::User=root" \
        -o "APT::Update::Post-Invoke-Success::=" -o "APT::Update::Post-Invoke::="
}

# suite_source SUITE: its line for a source list, at the machine's mirror
suite_source() {
    local mirror
    mirror=$(debian_mirror)
    printf 'deb [signed-by=%s] %s %s main\n' "$debian_keyring" "$mirror" "$1"
}

# prepare_config NAME SOURCE-LINE...: a configuration with these sources and fresh package lists.
prepare_config() {
    local name=$1 dir="$acma_cache/apt/$1"
    local -a options
    shift
    [[ -r $debian_keyring ]] || die "$debian_keyring is missing (package debian-archive-keyring)"
    mkdir -p "$dir/none" "$dir/lists/partial" "$dir/cache/archives/partial"
    printf '%s\n' "$@" >"$dir/sources.list"
    mapfile -t options < <(config_options "$dir")
    say "reading the package lists of $name"
    logged "apt-update-$name" apt-get -q "${options[@]}" update ||
        die "cannot read the package lists of $name from the machine's Debian mirror"
}

# One suite alone: what comes from it does not depend on what else the machine uses.
prepare_suite() { prepare_config "$1" "$(suite_source "$1")"; }

# A suite on top of the machine's own Debian sources: to install from it with dependencies that fit the machine.
prepare_suite_to_install() {
    local -a own
    mapfile -t own < <(machine_debian_sources |
        awk -v key="$debian_keyring" '{ print "deb [signed-by=" key "] " $1 " " $2 " main" }')
    prepare_config "$1-install" "$(suite_source "$1")" "${own[@]}"
}

# with_config NAME apt-get|apt-cache ARGUMENTS...
with_config() {
    local name=$1 tool=$2
    local -a options
    shift 2
    mapfile -t options < <(config_options "$acma_cache/apt/$name")
    "$tool" "${options[@]}" "$@"
}

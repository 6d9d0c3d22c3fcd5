# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Packages of a Debian suite that the machine's own sources do not name, through an apt configuration of our own: its
# source list, package lists and archives live in the cache directory, so that the machine's apt is left as it is.
# The mirror is the one that the machine already uses.

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

# Options that make apt use our configuration for SUITE. Installed packages stay the machine's own.
suite_options() {
    local dir="$acma_cache/apt/$1"
    printf '%s\n' -o "Dir::Etc::sourcelist=$dir/sources.list" -o "Dir::Etc::sourceparts=$dir/none" \
        -o "Dir::Etc::preferencesparts=$dir/none" -o "Dir::Etc::preferences=$dir/none/preferences" \
        -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o "APT::Sandbox::User=root" \
        -o "APT::Update::Post-Invoke-Success::=" -o "APT::Update::Post-Invoke::="
}

# Makes SUITE usable: its source list beside the machine's own Debian sources, and fresh package lists.
prepare_suite() {
    local suite=$1 dir="$acma_cache/apt/$1" keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror
    local -a options
    mirror=$(debian_mirror)
    [[ -r $keyring ]] || die "$keyring is missing (package debian-archive-keyring)"
    mkdir -p "$dir/none" "$dir/lists/partial" "$dir/cache/archives/partial"
    {
        printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite"
        # A suite of another release stands alone: mixing them would offer this machine packages that do not fit it.
        if [[ $suite == "$(debian_codename)"* ]]; then
            machine_debian_sources | awk -v key="$keyring" '{ print "deb [signed-by=" key "] " $1 " " $2 " main" }'
        fi
    } >"$dir/sources.list"
    mapfile -t options < <(suite_options "$suite")
    say "reading the package lists of $suite"
    logged "apt-update-$suite" apt-get -q "${options[@]}" update ||
        die "cannot read the package lists of $suite from the machine's Debian mirror"
}

# in_suite SUITE apt-get|apt-cache ARGUMENTS...
in_suite() {
    local suite=$1 tool=$2
    local -a options
    shift 2
    mapfile -t options < <(suite_options "$suite")
    "$tool" "${options[@]}" "$@"
}

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian's udev for test guests, unpacked in the cache; it is not installed, since its package would start it on the
# machine. Result: $ACMA_CACHE/udev with udevadm and rules.d/.

fetch_udev() { unpacking udev unpack_udev; }

unpack_udev() {
    local root="$acma_cache/udev" work
    [[ ! -e $root/udevadm ]] || return 0
    have_machine_lists || apt_update_machine
    work=$(mktemp -d "$root/.new-XXXXXX")
    say "downloading udev into $root"
    if ! (cd "$work" && logged udev apt-get -q -o APT::Sandbox::User=root download udev); then
        apt_update_machine # older package lists name files that are gone
        (cd "$work" && logged udev apt-get -q -o APT::Sandbox::User=root download udev) || die "cannot download udev"
    fi
    dpkg -x "$work"/udev_*.deb "$work/tree"
    rm -rf "$root/rules.d"
    mv "$(find "$work/tree" -type d -path '*/lib/udev/rules.d' -print -quit)" "$root/rules.d"
    # Last, since it says that all is there.
    mv "$(find "$work/tree" -path '*/bin/udevadm' -print -quit)" "$root/udevadm"
    rm -rf "$work"
}

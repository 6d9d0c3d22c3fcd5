# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian's udev, kmod and QEMU guest agent for test guests, unpacked in the cache; they are not installed, since their packages
# would start them on the machine. Result: $ACMA_CACHE/udev with udevadm and rules.d/, $ACMA_CACHE/kmod with kmod,
# $ACMA_CACHE/qemu-ga with qemu-ga.

fetch_udev() {
    unpacking udev unpack_udev
    unpacking kmod unpack_kmod
    unpacking qemu-ga unpack_guest_agent
}

# unpack_package PACKAGE DIRECTORY: the machine's release's, its files in DIRECTORY/tree.
unpack_package() {
    local package=$1 work=$2
    have_machine_lists || apt_update_machine
    if ! (cd "$work" && logged "$package" apt-get -q -o APT::Sandbox::User=root download "$package"); then
        apt_update_machine # older package lists name files that are gone
        (cd "$work" && logged "$package" apt-get -q -o APT::Sandbox::User=root download "$package") ||
            die "cannot download $package"
    fi
    dpkg -x "$work/${package}"_*.deb "$work/tree"
}

unpack_udev() {
    local root="$acma_cache/udev" work
    [[ ! -e $root/udevadm ]] || return 0
    work=$(mktemp -d "$root/.new-XXXXXX")
    say "downloading udev into $root"
    unpack_package udev "$work"
    rm -rf "$root/rules.d"
    mv "$(find "$work/tree" -type d -path '*/lib/udev/rules.d' -print -quit)" "$root/rules.d"
    # Last, since it says that all is there.
    mv "$(find "$work/tree" -path '*/bin/udevadm' -print -quit)" "$root/udevadm"
    rm -rf "$work"
}

unpack_kmod() {
    local root="$acma_cache/kmod" work
    [[ ! -e $root/kmod ]] || return 0
    work=$(mktemp -d "$root/.new-XXXXXX")
    say "downloading kmod into $root"
    unpack_package kmod "$work"
    mv "$(find "$work/tree" -path '*/bin/kmod' -print -quit)" "$root/kmod"
    rm -rf "$work"
}

unpack_guest_agent() {
    local root="$acma_cache/qemu-ga" work
    [[ ! -e $root/qemu-ga ]] || return 0
    work=$(mktemp -d "$root/.new-XXXXXX")
    say "downloading the QEMU guest agent into $root"
    unpack_package qemu-guest-agent "$work"
    mv "$(find "$work/tree" -path '*/sbin/qemu-ga' -print -quit)" "$root/qemu-ga"
    rm -rf "$work"
}

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian's udev, kmod and QEMU guest agent for test guests, unpacked in the cache; they are not installed, since their packages
# would start them on the machine. Result: $ACMA_CACHE/udev with udevadm and rules.d/, $ACMA_CACHE/kmod with kmod,
# $ACMA_CACHE/qemu-ga with qemu-ga.

fetch_udev() {
    unpacking udev unpack_program udev udev udevadm lib/udev/rules.d
    unpacking kmod unpack_program kmod kmod kmod
    unpacking qemu-ga unpack_program qemu-guest-agent qemu-ga qemu-ga
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

# unpack_program PACKAGE FOLDER PROGRAM [DIRECTORY]: one program of a package and, where named, one of its directories (by as much of its
# path as makes it the only one: /etc has an empty rules.d), in FOLDER of the cache. The program comes last, since it says that all is there.
unpack_program() {
    local package=$1 root="$acma_cache/$2" name=$3 directory=${4:-} work
    if [[ -e $root/$name && (-z $directory || -n $(ls -A "$root/${directory##*/}")) ]]; then
        return 0
    fi
    work=$(mktemp -d "$root/.new-XXXXXX")
    say "downloading $package into $root"
    unpack_package "$package" "$work"
    if [[ -n $directory ]]; then
        rm -rf "${root:?}/${directory##*/}"
        mv "$(find "$work/tree" -type d -path "*/$directory" -print -quit)" "$root/${directory##*/}"
    fi
    mv "$(find "$work/tree" -type f -path "*bin/$name" -print -quit)" "$root/$name"
    rm -rf "$work"
}

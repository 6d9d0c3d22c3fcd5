# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What a script needs before it can work, from a fresh machine on.
. "$top/scripts/lib/apt.sh"
. "$top/scripts/lib/packages.sh"
. "$top/scripts/lib/kernels.sh"
. "$top/scripts/lib/udev.sh"
. "$top/scripts/lib/module.sh"
. "$top/scripts/lib/build.sh"

setup_build() { install_packages "${build_packages[@]}"; }

setup_lint() {
    install_packages "${lint_packages[@]}"
    unpacking checkpatch fetch_checkpatch
}

setup_fuzz() { install_packages "${fuzz_packages[@]}"; }

setup_counting() { install_packages "${count_packages[@]}"; }

# To run guests: QEMU and a libvirt daemon (which we start by hand and only for ourselves), and the guests' kernels.
# setup_guests SERIES...
setup_guests() {
    # QEMU first: what comes later must not pull in Debian 12's own.
    install_qemu
    install_packages "${guest_packages[@]}"
    fetch_kernels "$@"
}

setup_e2e() {
    setup_guests "${kernel_series[@]}"
    install_packages "${page_packages[@]}"
    fetch_udev
    setup_modules "${kernel_series[@]}"
}

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The Debian packages that building, testing and running guests need. Installing them is the only change that our
# scripts make to the machine, and they say so. What is there already is not touched, but for a QEMU that is too old.

build_packages=(meson ninja-build g++ pkg-config libjsoncpp-dev libboost-dev libspdlog-dev libgtest-dev libgmock-dev
    libcli11-dev libtomlplusplus-dev libpugixml-dev prometheus-cpp-dev librapidcheck-dev
    libsqlite3-dev libvirt-dev systemd) # systemd: its systemd-analyze checks the unit files; nothing of it is started
guest_packages=(libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients busybox-static xz-utils zstd cpio python3
    gnuplot-nox debian-archive-keyring makedumpfile e2fsprogs libkmod2) # libkmod2: for the guests' udev (scripts/lib/udev.sh)
page_packages=(chromium) # to look at the operator's page
lint_packages=(clang-format clang-tidy shellcheck git perl xz-utils debian-archive-keyring)
fuzz_packages=(clang libclang-rt-dev)
count_packages=(valgrind) # counts instructions where the CPU's own counters are not to be had

# QEMU 7.2 (Debian 12's own) crashes 6.12 guests at random under TCG: a double fault at cmpxchg16b.
qemu_packages=(qemu-system-x86 qemu-utils)
qemu_minimum=1:9
# QEMU of Debian 12's backports brings their libelf1; libdw1, which makedumpfile needs, has to be of the same version.
with_backports_qemu=(libdw1)

installed_version() { dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p' || true; }

missing_packages() {
    local package
    for package in "$@"; do
        [[ -n $(installed_version "$package") ]] || printf '%s\n' "$package"
    done
}

# True if apt knows a version of every package to install.
all_have_candidates() { apt-get -qq --simulate --no-install-recommends install "$@" >/dev/null 2>&1; }

# run_install LOG COMMAND...
run_install() {
    local log=$1
    shift
    DEBIAN_FRONTEND=noninteractive logged "$log" "$@"
}

# Installs what is missing of the given packages from the machine's own sources.
install_packages() {
    local -a missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]} > 0)) || return 0
    need_root "to install ${missing[*]}"
    if ! all_have_candidates "${missing[@]}"; then
        apt_update_machine
    fi
    say "installing ${#missing[@]} Debian packages: ${missing[*]}"
    if ! run_install apt-install apt-get -y -q --no-install-recommends install "${missing[@]}"; then
        # Package lists that are older than the mirror name files that are gone.
        apt_update_machine
        run_install apt-install apt-get -y -q --no-install-recommends install "${missing[@]}" ||
            die "cannot install: ${missing[*]}"
    fi
}

# QEMU 9 or newer: from the machine's own release where that has one (Debian 13), else from its backports.
install_qemu() {
    local version package wanted=0 suite
    for package in "${qemu_packages[@]}"; do
        version=$(installed_version "$package")
        if [[ -z $version ]] || dpkg --compare-versions "$version" lt "$qemu_minimum"; then
            wanted=1
        fi
    done
    if [[ $(debian_codename) != bookworm ]]; then
        ((wanted == 0)) || install_packages "${qemu_packages[@]}"
        return
    fi
    ((wanted)) || [[ -n $(missing_packages "${with_backports_qemu[@]}") ]] || return 0
    need_root "to install ${qemu_packages[*]}"
    suite=bookworm-backports
    prepare_suite_to_install "$suite"
    say "installing from $suite: ${qemu_packages[*]} ${with_backports_qemu[*]}"
    run_install apt-install-qemu with_config "$suite-install" apt-get -y -q --no-install-recommends -t "$suite" \
        install "${qemu_packages[@]}" "${with_backports_qemu[@]}" || die "cannot install QEMU from $suite"
}

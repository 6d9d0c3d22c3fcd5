# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Builds acma_balloon.ko for the guests' kernels, each in a root of the Debian release that its kernel comes from: a kernel's
# build tools are programs too (7.3's need a newer C library than Debian 12 has), and a module needs the compiler that built
# its kernel. The roots are in the cache; nothing but debootstrap is installed on the machine.
# Result: $ACMA_BUILD/kmod/6.12/acma_balloon.ko and .../7.3/...

module_packages=(debootstrap)

# module_suite 6.12|7.3: the release whose tools build modules for this kernel.
module_suite() {
    local suite
    suite=$(kernel_suite "$1")
    printf '%s\n' "${suite%-backports}"
}

# in_root ROOT COMMAND...: with /proc, which objtool wants, and without leaving a mount.
in_root() {
    local root=$1
    shift
    unshare --mount -- sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" "$@"
}

# How the machine's apt reaches its mirror, for the apt in a root.
apt_proxies() { apt-config dump | grep -E '^Acquire::(http|https)::.*[Pp]roxy' || true; }

# The compiler, make and sparse of a suite in $acma_cache/roots/SUITE.
make_root() {
    local suite=$1 root="$acma_cache/roots/$1" work mirror
    [[ ! -e $root/etc/debian_version ]] || return 0
    mirror=$(debian_mirror)
    work=$(mktemp -d "$acma_cache/roots/.new-XXXXXX")
    say "making a root of Debian $suite to build modules in ($root)"
    logged "debootstrap-$suite" debootstrap --variant=minbase --keyring="$debian_keyring" \
        --include=make,gcc,libc6-dev,sparse "$suite" "$work/root" "$mirror" || die "debootstrap of $suite failed"
    chmod 755 "$work/root"
    apt_proxies >"$work/root/etc/apt/apt.conf.d/90proxy"
    printf 'deb %s %s-backports main\n' "$mirror" "$suite" >"$work/root/etc/apt/sources.list.d/backports.list"
    rm -rf "$root"
    mv "$work/root" "$root"
    rm -rf "$work"
}

# make_headers SERIES: the headers of the cached kernel in its root.
make_headers() {
    local series=$1 suite release root
    suite=$(module_suite "$series")
    release=$(cat "$acma_cache/kernels/$series/release")
    root=$acma_cache/roots/$suite
    make_root "$suite"
    [[ ! -e $root/usr/src/linux-headers-$release/Makefile ]] || return 0
    say "installing the headers of kernel $release in it"
    logged "headers-update-$series" in_root "$root" apt-get -q update || die "apt-get update failed in $root"
    # Without the tools that make an initramfs, which a kernel's package would ask for.
    logged "headers-$series" in_root "$root" env DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-install-recommends \
        install "linux-headers-$release" || die "cannot install linux-headers-$release"
}

make_each_headers() {
    local series
    for series in "$@"; do
        make_headers "$series"
    done
}

# The newest kernel's checkpatch.pl. It comes only with all of the kernel's source, of which nothing else is kept.
checkpatch_series=7.3

fetch_checkpatch() {
    local suite package=linux-source-$checkpatch_series root="$acma_cache/checkpatch" work
    [[ ! -e $root/scripts/checkpatch.pl ]] || return 0
    suite=$(kernel_suite "$checkpatch_series")
    prepare_suite "$suite"
    work=$(mktemp -d "$root/.new-XXXXXX")
    say "downloading $package for its checkpatch.pl ($root)"
    (cd "$work" && logged checkpatch-download with_config "$suite" apt-get -q download "$package") ||
        die "cannot download $package"
    dpkg --fsys-tarfile "$work/$package"_*.deb | tar -xO "./usr/src/$package.tar.xz" |
        tar -xJ -C "$work" --strip-components=1 "$package/scripts/checkpatch.pl" "$package/scripts/spelling.txt" \
            "$package/scripts/const_structs.checkpatch" || die "$package lacks checkpatch.pl"
    rm -rf "$root/scripts"
    mv "$work/scripts" "$root/scripts"
    rm -rf "$work"
}

# setup_modules SERIES...
setup_modules() {
    install_packages "${module_packages[@]}"
    unpacking roots make_each_headers "$@"
}

# build_module SERIES [MAKE-ARGUMENTS...]: into $ACMA_BUILD/kmod/SERIES. In a subshell, so that what is copied into the root
# is removed however this ends.
build_module() (
    local series=$1 release root work
    shift
    release=$(cat "$acma_cache/kernels/$series/release")
    root=$acma_cache/roots/$(module_suite "$series")
    work=$(mktemp -d "$root/tmp/acma-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    cp -r "$top/kmod-balloon-shim/." "$work/"
    logged "module-$series" in_root "$root" make -C "/usr/src/linux-headers-$release" M="${work#"$root"}" "$@" modules || exit 1
    mkdir -p "$ACMA_BUILD/kmod/$series"
    # As Debian's own: with its types (BTF), without what only a debugger reads.
    chroot "$root" strip --strip-debug "${work#"$root"}/acma_balloon.ko"
    mv "$work/acma_balloon.ko" "$ACMA_BUILD/kmod/$series/"
)

# build_modules SERIES...
build_modules() {
    local series
    for series in "$@"; do
        say "building acma_balloon.ko for $(cat "$acma_cache/kernels/$series/release")"
        build_module "$series" || die "the module does not build for $series"
    done
}

# The same with all of the kernel's warnings and with sparse; any warning is an error.
check_modules() {
    local series
    for series in "$@"; do
        say "building acma_balloon.ko for $(cat "$acma_cache/kernels/$series/release"), with W=1 and sparse"
        # 7.3's build does without sparse: Debian's, 0.6.4, does not know its headers' __typeof_unqual__.
        build_module "$series" W=1 C=1 || die "the module does not build for $series"
        if grep -E ': (warning|error): ' "$log_dir/module-$series.log" >&2; then
            die "the module builds with warnings for $series"
        fi
    done
}

# dkms_module SERIES: what an installation does (docs/operations.md), by Debian's dkms in the root of this kernel, and back.
dkms_module() (
    local series=$1 release root version name aliases
    release=$(cat "$acma_cache/kernels/$series/release")
    root=$acma_cache/roots/$(module_suite "$series")
    version=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' "$top/kmod-balloon-shim/dkms.conf")
    name=acma-balloon/$version
    aliases=$root/lib/modules/$release/modules.alias
    trap 'remove_dkms_module "$root" "$name" "$release"' EXIT
    # One chain, since in a condition, as here, errors do not end a function by themselves. The first depmod is the kernel
    # package's, of which only the headers are here; the others are dkms's, and have to know the balloon's driver.
    in_root "$root" depmod "$release" &&
        cp -r "$top/kmod-balloon-shim" "$root/tmp/acma-dkms" &&
        in_root "$root" make -C /tmp/acma-dkms install &&
        in_root "$root" dkms add "$name" &&
        in_root "$root" dkms build "$name" -k "$release" &&
        in_root "$root" dkms install "$name" -k "$release" &&
        in_root "$root" dkms status "$name" -k "$release" | grep -w installed &&
        in_root "$root" modinfo -k "$release" -F vermagic acma_balloon | grep -F "$release " &&
        grep -x 'alias virtio:d00000005v\* acma_balloon' "$aliases" &&
        in_root "$root" dkms remove "$name" -k "$release" &&
        ! grep -s acma_balloon "$aliases"
)

# Whatever of it is left when a step failed.
remove_dkms_module() {
    local root=$1 name=$2 release=$3
    rm -rf "$root/tmp/acma-dkms" "$root/usr/src/${name/\//-}" "$root/var/lib/dkms/${name%/*}" "$root/etc/modprobe.d/acma-balloon.conf"
    rm -f "$root/lib/modules/$release/updates/dkms"/acma_balloon.ko*
}

# setup_dkms SERIES...: dkms in their roots.
setup_dkms() {
    local series root
    for series in "$@"; do
        root=$acma_cache/roots/$(module_suite "$series")
        [[ ! -e $root/usr/sbin/dkms ]] || continue
        say "installing dkms in $root"
        logged "dkms-setup-$series" in_root "$root" sh -c 'apt-get -q update &&
            DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-install-recommends install dkms' || die "cannot install dkms"
    done
}

# dkms_modules TALLY SERIES...
dkms_modules() {
    local series passed=0 failed=0 file=$1
    shift
    unpacking roots setup_dkms "$@"
    for series in "$@"; do
        say "dkms builds and installs acma_balloon for $(cat "$acma_cache/kernels/$series/release")"
        if logged "dkms-$series" dkms_module "$series"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
    done
    echo "$passed $failed 0" >>"$file"
    return $((failed > 0))
}

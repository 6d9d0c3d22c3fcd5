# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian kernels for test guests, downloaded and unpacked in the cache; nothing is installed on the machine.
# Result: $ACMA_CACHE/kernels/6.12 and .../7.3, each a link to a directory named by the kernel's release that holds
# vmlinuz, config and modules/. The cloud flavour has DAMON, PSI, zram and every virtio driver that a guest needs.

# The series that are tested.
# shellcheck disable=SC2034  # for the scripts that source this file
kernel_series=(6.12 7.3)

# kernel_suite 6.12|7.3: the Debian suite that has this kernel for the machine's release.
kernel_suite() {
    case $1/$(debian_codename) in
    6.12/bookworm) echo bookworm-backports ;;
    6.12/trixie) echo trixie ;;
    7.3/*) echo trixie-backports ;;
    *) die "no kernel $1 is known (6.12 and 7.3 are)" ;;
    esac
}

# The oldest release of a series that we accept: 7.3.4 has the DAMON files that we use in their final form.
kernel_minimum() { case $1 in 7.3) echo 7.3.4 ;; *) echo "$1" ;; esac; }

# The newest image package of series $1 in suite $2. Signed packages have the plain name, and come a bit later than
# the "-unsigned" ones; debugging symbols end in "-dbg".
newest_image() {
    with_config "$2" apt-cache pkgnames "linux-image-$1." | grep -E -- '-cloud-amd64$' | sort -V | tail -n 1
}

# The packages that hold the kernel and its modules: the image itself, and for split packages (since 7.0) those that
# it depends on under the same release.
image_parts() {
    local suite=$1 image=$2 release=${2#linux-image-}
    printf '%s\n' "$image"
    with_config "$suite" apt-cache depends --important "$image" | sed -n 's/^ *\(Pre\)\?Depends: //p' |
        grep -F -- "-$release" || true
}

# Brings one series into the cache unless it is there. With ACMA_REFRESH=1 looks for a newer one.
fetch_kernel() {
    local series=$1 root="$acma_cache/kernels" suite image release work
    local -a parts
    if [[ -e $root/$series/vmlinuz && ${ACMA_REFRESH:-0} != 1 ]]; then
        return
    fi
    suite=$(kernel_suite "$series")
    prepare_suite "$suite"
    image=$(newest_image "$series" "$suite")
    [[ -n $image ]] || die "$suite has no linux-image-$series.*-cloud-amd64"
    release=${image#linux-image-}
    dpkg --compare-versions "${release%%[+-]*}" ge "$(kernel_minimum "$series")" ||
        die "the newest $series kernel of $suite is $release; $(kernel_minimum "$series") or newer is needed"
    if [[ ! -e $root/$release/vmlinuz ]]; then
        work=$(mktemp -d "$root/.new-XXXXXX")
        mapfile -t parts < <(image_parts "$suite" "$image")
        say "downloading kernel $release into $root"
        (cd "$work" && logged "kernel-$series" with_config "$suite" apt-get -q download "${parts[@]}") ||
            die "cannot download ${parts[*]}"
        unpack_kernel "$work" "$release"
        rm -rf "${root:?}/$release"
        mv "$work/kernel" "$root/$release"
        rm -rf "$work"
    fi
    ln -sfn "$release" "$root/$series"
}

# Turns the .deb files in directory $1 into $1/kernel. A split kernel has vmlinuz and config beside its modules.
unpack_kernel() {
    local work=$1 release=$2 deb modules vmlinuz config
    for deb in "$work"/*.deb; do
        dpkg -x "$deb" "$work/tree"
    done
    modules=$(find "$work/tree" -type d -path "*/modules/$release" -print -quit)
    vmlinuz=$(find "$work/tree" -name vmlinuz -o -name "vmlinuz-$release" | head -n 1)
    config=$(find "$work/tree" -name config -o -name "config-$release" | head -n 1)
    [[ -n $modules && -n $vmlinuz && -n $config ]] || die "the packages of kernel $release lack vmlinuz, config or modules"
    mkdir "$work/kernel"
    mv "$vmlinuz" "$work/kernel/vmlinuz"
    mv "$config" "$work/kernel/config"
    mv "$modules" "$work/kernel/modules"
    printf '%s\n' "$release" >"$work/kernel/release"
}

fetch_each_kernel() {
    local series
    for series in "$@"; do
        fetch_kernel "$series"
        say "guest kernel $(cat "$acma_cache/kernels/$series/release") ($acma_cache/kernels/$series)"
    done
}

# fetch_kernels SERIES...
fetch_kernels() { unpacking kernels fetch_each_kernel "$@"; }

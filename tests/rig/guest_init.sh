#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# /init of a test guest: mounts, modules, swap as asked on the kernel command line, the test's own boot script, then
# commands from the host. Commands come over the port org.acma.rig.0, one a line: "ID BASE64-OF-A-SCRIPT"; each runs
# on its own, and its answer is "ID STATUS LENGTH" and a newline, followed by LENGTH bytes of its output.

echo "guest: init runs"  # the kernel is quiet: from here on what goes wrong is ours
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
ip link set lo up

while read -r module; do
    insmod "/lib/modules/$module.ko" || echo "cannot load $module"
done </etc/modules

# The node of the virtio port named $1; waits for it, as a hot-plugged or slow device may come later than we do.
port() {
    for _ in $(seq 100); do
        for name in /sys/class/virtio-ports/*/name; do
            if [ "$(cat "$name" 2>/dev/null)" = "$1" ]; then
                basename "$(dirname "$name")"
                return 0
            fi
        done
        usleep 50000
    done
    return 1
}

# udev would make these links.
for name in /sys/class/virtio-ports/*/name; do
    [ -e "$name" ] || continue
    mkdir -p /dev/virtio-ports
    ln -s "../$(basename "$(dirname "$name")")" "/dev/virtio-ports/$(cat "$name")"
done

# acma.swap=disk: the virtio disk with the serial "swap", marked as one that does not rotate, as udev does with the agent's
# rules; acma.swap=rotating: the same without; acma.swap=zram:SIZE:ALGORITHM: compressed memory.
swap_on() {
    case $1 in
    disk | rotating)
        for disk in /sys/block/vd*; do
            [ "$(cat "$disk/serial" 2>/dev/null)" = swap ] || continue
            [ "$1" = rotating ] || echo 0 >"$disk/queue/rotational"
            mkswap "/dev/${disk##*/}" >/dev/null && swapon "/dev/${disk##*/}"
            return
        done
        echo "no disk with the serial 'swap'"
        ;;
    zram:*)
        sizes=${1#zram:}
        echo "${sizes#*:}" >/sys/block/zram0/comp_algorithm
        echo "${sizes%%:*}" >/sys/block/zram0/disksize
        mkswap /dev/zram0 >/dev/null && swapon /dev/zram0
        ;;
    esac
}
for word in $(cat /proc/cmdline); do
    case $word in
    acma.swap=*) swap_on "${word#acma.swap=}" ;;
    esac
done

[ -x /etc/boot ] && /etc/boot

answer() {
    sh "/tmp/.rig/$1.sh" >"/tmp/.rig/$1.out" 2>&1 </dev/null 3>&-
    status=$?
    # Debian's busybox has no flock.
    until mkdir /tmp/.rig/lock 2>/dev/null; do usleep 1000; done
    printf '%s %s %s\n' "$1" "$status" "$(stat -c %s "/tmp/.rig/$1.out")" >&3
    cat "/tmp/.rig/$1.out" >&3
    rmdir /tmp/.rig/lock
    rm -f "/tmp/.rig/$1.sh" "/tmp/.rig/$1.out"
}

serve_commands() {
    if ! node=$(port org.acma.rig.0); then
        echo "no port org.acma.rig.0; this guest takes no commands"
        exec sleep 1000000
    fi
    exec 3<>"/dev/$node"
    printf 'ready 0 0\n' >&3
    while :; do
        # Without a host at the other end a read returns at once with nothing.
        if ! read -r id script <&3; then
            usleep 50000
            continue
        fi
        echo "$script" | base64 -d >"/tmp/.rig/$id.sh"
        answer "$id" &
    done
}

mkdir -p /tmp/.rig
serve_commands &
# A test may bring a real one. Else process 1 does nothing but reap what others leave behind.
[ -x /sbin/init ] && exec /sbin/init
while :; do
    wait
    sleep 1
done

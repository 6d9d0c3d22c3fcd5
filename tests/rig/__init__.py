# SPDX-License-Identifier: Apache-2.0
"""Guests for tests, benches and the demo: kernels, initramfs, raw QEMU, a private libvirt. Standard library only."""

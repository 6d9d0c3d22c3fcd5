# SPDX-License-Identifier: Apache-2.0
"""Tests of the real programs on real guests. Run by scripts/test e2e."""

# SPDX-License-Identifier: Apache-2.0
"""Benches: ours and its peers, measured side by side in one run. docs/benchmarks.md says what each figure is."""

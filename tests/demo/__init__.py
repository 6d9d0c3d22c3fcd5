# SPDX-License-Identifier: Apache-2.0
"""The main job on real guests, shown live: memory follows the work from one VM to the other. Standard library only."""

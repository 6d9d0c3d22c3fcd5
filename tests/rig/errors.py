# SPDX-License-Identifier: Apache-2.0
"""The one exception of the rig: something that the test needs did not come about."""


class RigError(Exception):
    pass

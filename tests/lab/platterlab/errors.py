# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the lab itself, as opposed to in what is tested there."""

from __future__ import annotations


class LabUnavailable(Exception):
    """The lab cannot run on this machine; the text says what is missing and how to get it."""


class LabError(Exception):
    """A machine of the lab did not do what was asked of it."""

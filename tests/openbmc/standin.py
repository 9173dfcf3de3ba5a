# SPDX-License-Identifier: Apache-2.0
"""What the stand-in for bmcweb (bmcweb.c) says, wherever it runs."""

from __future__ import annotations

import json
import re

MESSAGE_MAX = 131088  # bytes of one message, at most
UNREAD_MAX = 524352  # bytes that the program behind it has not read, at most


def sessions(text: str) -> list[dict]:
    """How each session that is over ended, from what the stand-in has printed."""
    return [json.loads(line) for line in re.findall(r"^\{.*\}$", text, re.MULTILINE)]

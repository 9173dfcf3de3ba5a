# SPDX-License-Identifier: Apache-2.0
"""test-relay, as a test sees it: see the fixtures far_end and relay in conftest.py."""
import json
import re
import signal

import nbd

from harness import wait_until

RELAY = "tests/integration/test-relay"


class Relay:
    """A running relay: where its drive is, and what it said."""

    def __init__(self, program, path):
        self.program, self.socket = program, path
        self.uri = f"nbd+unix:///?socket={path}"

    def connect(self, structured=True):
        handle = nbd.NBD()
        handle.set_request_structured_replies(structured)
        handle.connect_uri(self.uri)
        return handle

    def counters(self):
        """What its engine has counted so far."""
        def told():
            return re.findall(r"^({.*})$", self.program.text(), re.MULTILINE)
        before = len(told())
        self.program.process.send_signal(signal.SIGUSR1)
        return json.loads(wait_until(lambda: told()[before:], "the relay tells its counters")[0])

# SPDX-License-Identifier: Apache-2.0
"""Inside the virtual BMC: one login shell on a pseudo-terminal, for one TCP connection.

Arguments: the port to listen on, the terminal's rows and columns, its TERM.
"""

import fcntl
import os
import pty
import select
import socket
import struct
import sys
import termios


def relay(connection, terminal):
    """Carries bytes both ways until either side has ended."""
    ends = {connection.fileno(): terminal, terminal: connection.fileno()}
    while True:
        for ready in select.select(list(ends), [], [])[0]:
            try:
                data = os.read(ready, 65536)
            except OSError:
                data = b""  # how a pseudo-terminal says that its shell has ended
            if not data:
                return
            while data:
                data = data[os.write(ends[ready], data) :]


def main():
    port, rows, columns, term = sys.argv[1:]
    with socket.create_server(("0.0.0.0", int(port))) as server:
        print("listening", flush=True)
        connection, _ = server.accept()
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM=term, PS1=r"virtual-bmc:\w# ")
        os.execlp("bash", "bash", "--norc", "-i")
    size = struct.pack("HHHH", int(rows), int(columns), 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
    relay(connection, terminal)


main()

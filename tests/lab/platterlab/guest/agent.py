# SPDX-License-Identifier: Apache-2.0
"""Runs commands inside the virtual BMC for the tests outside.

It speaks over a virtio-serial port, one JSON object a line, in both directions. The outer side
numbers its commands; many run at once.

    to the guest      {"id": 7, "run": ["sh", "-c", "ls"], "env": {}, "stdin": "<base64>"}
                      {"id": 7, "signal": 15}        to the command's whole process group
    from the guest    {"ready": true}                once, when the agent listens
                      {"id": 7, "pid": 123}
                      {"id": 7, "out": "<base64>"}   or "err"
                      {"id": 7, "exit": 0}           -N when signal N ended it

A command is over when its own process has ended and its output is closed, or one second after its
end: a daemon it left behind may keep its output open for ever.
"""

import base64
import json
import os
import signal
import subprocess
import threading

PORT_NAME = "platter.lab"


def open_port():
    ports = "/sys/class/virtio-ports"
    for port in os.listdir(ports):
        with open(f"{ports}/{port}/name") as name:
            if name.read().strip() == PORT_NAME:
                return os.open(f"/dev/{port}", os.O_RDWR)
    raise SystemExit("agent: there is no virtio-serial port for me")


class Agent:
    def __init__(self):
        self.port = open_port()
        self.writing = threading.Lock()
        self.running = {}

    def send(self, **message):
        line = json.dumps(message).encode() + b"\n"
        with self.writing:
            while line:
                line = line[os.write(self.port, line) :]

    def lines(self):
        kept = b""
        while True:
            got = os.read(self.port, 65536)
            if not got:
                raise SystemExit("agent: the outer side has hung up")
            *whole, kept = (kept + got).split(b"\n")
            yield from whole

    def serve(self):
        self.send(ready=True)
        for line in self.lines():
            message = json.loads(line)
            if "run" in message:
                threading.Thread(target=self.run, args=(message,), daemon=True).start()
            else:
                self.signal(message["id"], message["signal"])

    def signal(self, number, which):
        process = self.running.get(number)
        if process:
            try:
                os.killpg(process.pid, which)
            except ProcessLookupError:
                pass

    def pump(self, number, name, pipe):
        while got := os.read(pipe.fileno(), 32768):
            self.send(id=number, **{name: base64.b64encode(got).decode()})

    def run(self, message):
        number = message["id"]
        try:
            process = subprocess.Popen(
                message["run"],
                env={**os.environ, **message["env"]},
                cwd="/tmp",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self.send(id=number, err=base64.b64encode(str(error).encode()).decode())
            self.send(id=number, exit=127)
            return
        self.running[number] = process
        self.send(id=number, pid=process.pid)
        pumps = [
            threading.Thread(target=self.pump, args=(number, name, pipe), daemon=True)
            for name, pipe in (("out", process.stdout), ("err", process.stderr))
        ]
        for pump in pumps:
            pump.start()
        try:
            process.stdin.write(base64.b64decode(message["stdin"]))
            process.stdin.close()
        except BrokenPipeError:
            pass
        status = process.wait()
        for pump in pumps:
            pump.join(timeout=1)
        del self.running[number]
        self.send(id=number, exit=status)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Agent().serve()

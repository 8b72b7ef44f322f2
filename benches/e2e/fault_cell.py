"""One cell of the matrix: a container, a receiver, a fault; what arrived, how long things took."""

import json
import socket
import subprocess
import threading
import time

from bench import seconds
from fault_peers import Got, Peer
from fault_programs import Program

PROBE = "trap 'exit 0' TERM; n=0; while [ $n -lt 20 ]; do echo probe; n=$((n+1)); done; while :; do sleep 0.05; done"


def call(engine, *words, timeout=15):
    """(seconds, exit status or None, output) of a client's call."""
    begun = time.monotonic()
    try:
        done = subprocess.run(engine.cli(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
        return time.monotonic() - begun, done.returncode, (done.stdout if done.returncode == 0 else done.stderr).decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        return timeout, None, ""


class Cell:
    def __init__(self, lane, driver, fault, options):
        self.lane, self.driver, self.fault, self.network = lane, driver, fault, options.network
        self.lines, self.deadline, self.rate = options.lines, options.deadline, options.rate or fault.rate
        self.got = Got()
        self.result = {"engine": lane.engine.name, "driver": driver.name, "fault": fault.name, "lines": self.lines, "rate": self.rate, "calls": {}}
        self.host = "localhost" if driver.tls else "127.0.0.1"
        if fault.name.startswith("name-"):
            self.host = f"{lane.name}.faults.test"
            lane.hosts.set(self.host, "127.0.0.1")
            # Go's resolver looks at the file every 5 s.
            time.sleep(6)
        lane.number += 1
        self.name, self.probe = f"cell{lane.number}", f"probe{lane.number}"
        if driver.program:
            self.peer = driver.program(self.got, lane.folder / self.name)
        else:
            self.peer = Peer(self.got, driver.protocol, certificates=lane.certificates)

    def run(self):
        try:
            if self.fault.prepare:
                self.fault.prepare(self)
            self.peer.open()
            self.measure()
        except Exception as error:  # one cell must not take the others with it
            self.result["error"] = f"{type(error).__name__}: {error}"
        finally:
            for name in (self.name, self.probe):
                call(self.lane.engine, "rm", "-f", name, timeout=30)
            self.peer.end()
            self.result["breaches"] = self.got.breaches[:5]
        return self.result

    def create(self, name, command):
        words = self.driver.words(self.host, self.peer, self.lane.folder)
        for option in self.fault.options[self.lane.engine.name]:
            words += ["--log-opt", option]
        took, status, said = call(self.lane.engine, "create", "--name", name, "--network", self.network, *words, "bench", *command, timeout=20)
        if status == 0:
            self.lane.ids.append(said)
        return status == 0, said

    def measure(self):
        fault, engine, result = self.fault, self.lane.engine, self.result
        made, said = self.create(self.name, ["workload", "lines", f"lines={self.lines}", f"size={fault.size}", f"rate={self.rate}"])
        if not made:
            result["refused"] = said
            return
        probe = fault.calls and not fault.remove and self.create(self.probe, ["sh", "-c", PROBE])[0]
        if fault.first:
            fault.begin(self)
        elif probe:
            probe = call(engine, "start", self.probe)[1] == 0
        begun = time.monotonic()
        took, status, said = call(engine, "start", self.name, timeout=30)
        result["start"] = took
        if status != 0:
            result["refused"] = said or "no answer for 30 s"
            return
        if fault.first:
            probe = probe and call(engine, "start", self.probe)[1] == 0
        else:
            time.sleep(max(0, begun + 1 - time.monotonic()))
            fault.begin(self)
        # Counted from the fault's beginning: what it does itself (kills) takes time, too.
        over = time.monotonic() + fault.lasts
        caller = None
        if probe:
            caller = threading.Thread(target=self.calls)
            caller.start()
        if not fault.remove:
            time.sleep(max(0, over - time.monotonic()))
            if fault.over:
                fault.over(self)
        self.settle(begun)
        if caller:
            caller.join(60)

    def calls(self):
        time.sleep(1)
        took = self.result["calls"]
        for words in (("inspect", self.name), ("logs", "--tail", "10", self.name), ("stop", "-t", "5", self.probe), ("rm", self.probe)):
            elapsed, status, _ = call(self.lane.engine, *words, timeout=20)
            took[words[0]] = elapsed
            if status != 0:
                self.result.setdefault("failed calls", []).append(words[0])

    def settle(self, begun):
        """Waits for the container's end, removes it if that is the fault, then for what is still to come."""
        until = begun + self.deadline
        ended = False
        while time.monotonic() < until and not ended:
            ended = self.look()
            if self.fault.remove and not ended and time.monotonic() > begun + 15:
                break
            time.sleep(0.3)
        self.result["ended"] = ended
        if not ended:
            self.result["run"] = time.monotonic() - begun
        if self.fault.remove:
            took, status, said = call(self.lane.engine, "rm", "-f", self.name, timeout=20)
            self.result["calls"]["rm"] = took
            if status != 0:
                self.result["failed calls"] = [f"rm: {said}"]
            time.sleep(2)
            self.peer.open()
        last, changed = -1, time.monotonic()
        patience = 8 if self.lane.engine.name == "dockerd" else self.deadline
        while True:
            if isinstance(self.peer, Program):
                self.peer.refresh()
            if not self.fault.remove:
                self.look()
            now = time.monotonic()
            if self.got.different != last:
                last, changed = self.got.different, now
            if last + self.counted() >= self.lines and self.pending() == 0 or now > until or now - changed > patience:
                break
            # Everything is settled as far as the engine knows.
            if self.lane.engine.name == "taffrail" and ended and self.pending() == 0 and now - changed > 3:
                break
            time.sleep(0.3)
        time.sleep(0.3)
        if isinstance(self.peer, Program):
            self.peer.refresh()
        pending = self.pending()
        lost = self.lines - self.got.different - self.counted()
        self.result.update(arrived=self.got.different, twice=self.got.twice, counted=self.counted(), told=self.got.told,
                           pending=pending, lost=max(0, lost - pending), took=time.monotonic() - begun)

    def look(self):
        """Whether the container has ended; keeps what inspect says."""
        _, status, said = call(self.lane.engine, "inspect", self.name, timeout=10)
        if status != 0:
            return False
        found = json.loads(said)[0]
        self.result["sink"] = (found.get("LogSinks") or [None])[0]
        state = found["State"]
        if state["Status"] != "exited":
            return False
        self.result["run"] = seconds(state["FinishedAt"]) - seconds(state["StartedAt"])
        self.result["exit"] = state["ExitCode"]
        return True

    def counted(self):
        sink = self.result.get("sink") or {}
        # The rejected are among the dropped.
        return max(self.got.told, sink.get("DroppedRecords", 0))

    def pending(self):
        """Records that still wait: told by the container's sink, or of a removed container by the list of spools."""
        if self.lane.engine.name == "dockerd":
            return 0
        if not self.fault.remove:
            return (self.result.get("sink") or {}).get("PendingRecords", 0)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.lane.engine.socket))
            connection.sendall(b"GET /spool HTTP/1.0\r\nHost: x\r\n\r\n")
            answer = b""
            while part := connection.recv(65536):
                answer += part
        spools = json.loads(answer.partition(b"\r\n\r\n")[2])
        self.result["spool"] = spools
        return self.lines - self.got.different if spools else 0

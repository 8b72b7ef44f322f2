"""Real receivers as programs of their own: rsyslog with RELP, systemd-journald. Each is ended by its own process id."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from fault_peers import NOTICE, NUMBER

JOURNALD = "/lib/systemd/systemd-journald"


class Program:
    """Looks like `fault_peers.Peer`; what it wrote is read by `refresh`."""

    def __init__(self, got, folder):
        self.got, self.folder, self.process = got, Path(folder), None
        self.folder.mkdir(parents=True)
        self.small_buffers = False
        self.frozen = False

    def open(self):
        with open(self.folder / "program.log", "ab") as log:
            self.process = subprocess.Popen(self.command(), env={**os.environ, **self.environment()}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def environment(self):
        return {}

    def close(self):
        if self.process is None:
            return
        self.stalled = False
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    @property
    def stalled(self):
        return self.frozen

    @stalled.setter
    def stalled(self, yes):
        if yes != self.frozen and self.process:
            self.process.send_signal(signal.SIGSTOP if yes else signal.SIGCONT)
        self.frozen = yes

    def end(self):
        self.close()
        self.refresh()
        shutil.rmtree(self.folder, ignore_errors=True)

    def refresh(self):
        data = self.everything()
        numbers = {}
        for number in NUMBER.findall(data):
            numbers[number] = numbers.get(number, 0) + 1
        with self.got.lock:
            self.got.numbers = numbers
            self.got.told = sum(int(told) for told in NOTICE.findall(data))


class Relp(Program):
    """rsyslog acknowledges what it has written: its queue is none. Resets come from a proxy in front of it."""

    def __init__(self, got, folder):
        super().__init__(got, folder)
        with socket.socket() as probe, socket.socket() as second:
            probe.bind(("127.0.0.1", 0))
            second.bind(("127.0.0.1", 0))
            self.inner, self.port = probe.getsockname()[1], second.getsockname()[1]
        self.proxy = None

    def command(self):
        config = self.folder / "rsyslog.conf"
        config.write_text(f"""global(workDirectory="{self.folder}" maxMessageSize="64k")
main_queue(queue.type="Direct")
module(load="imrelp")
input(type="imrelp" address="127.0.0.1" port="{self.port if self.proxy is None else self.inner}" maxDataSize="64k")
template(name="raw" type="string" string="%msg%\\n")
action(type="omfile" file="{self.folder}/out" template="raw")
""")
        return ["/usr/sbin/rsyslogd", "-n", "-f", str(config), "-i", str(self.folder / "pid")]

    def everything(self):
        try:
            return (self.folder / "out").read_bytes()
        except OSError:
            return b""

    @property
    def reset_every(self):
        return self.proxy.every

    @reset_every.setter
    def reset_every(self, every):
        self.proxy.every = every

    def with_proxy(self):
        self.proxy = Proxy(self.port, self.inner)

    def end(self):
        super().end()
        if self.proxy:
            self.proxy.end()


class Proxy:
    """Passes bytes both ways and resets both sides after `every` bytes from the sender."""

    def __init__(self, port, inner):
        self.every, self.inner, self.over = 0, inner, threading.Event()
        self.listener = socket.create_server(("127.0.0.1", port))
        self.listener.settimeout(0.1)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.over.is_set():
            try:
                ours, _ = self.listener.accept()
            except TimeoutError:
                continue
            try:
                theirs = socket.create_connection(("127.0.0.1", self.inner))
            except OSError:
                ours.close()
                continue
            threading.Thread(target=self.copy, args=(ours, theirs, True), daemon=True).start()
            threading.Thread(target=self.copy, args=(theirs, ours, False), daemon=True).start()
        self.listener.close()

    def copy(self, source, target, counts):
        passed = 0
        try:
            while data := source.recv(65536):
                target.sendall(data)
                passed += len(data)
                if counts and self.every and passed >= self.every:
                    for side in (source, target):
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    break
        except OSError:
            pass
        for side in (source, target):
            try:
                side.shutdown(socket.SHUT_RD)
            except OSError:
                pass
            side.close()

    def end(self):
        self.over.set()


class Journald(Program):
    def __init__(self, got, folder):
        super().__init__(got, folder)
        (self.folder / "run").mkdir()
        (self.folder / "logs").mkdir()
        self.socket = self.folder / "run" / "socket"
        self.port = 0

    def command(self):
        self.socket.unlink(missing_ok=True)
        return [JOURNALD, f"faults-{os.getpid()}"]

    def environment(self):
        return {"RUNTIME_DIRECTORY": str(self.folder / "run"), "LOGS_DIRECTORY": str(self.folder / "logs")}

    def open(self):
        super().open()
        until = time.monotonic() + 10
        while not self.socket.exists() and time.monotonic() < until:
            time.sleep(0.02)

    def close(self):
        super().close()
        self.socket.unlink(missing_ok=True)

    def everything(self):
        done = subprocess.run(["journalctl", "-o", "cat", "--directory", str(self.folder / "logs"), "_TRANSPORT=journal"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout

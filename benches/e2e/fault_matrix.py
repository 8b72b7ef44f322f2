"""The matrix: drivers with their receivers and options, faults with what they do and when."""

import ssl
import subprocess
import time
from pathlib import Path

from fault_peers import Collector, Forward, Gelf, Lines, Peer, TOKEN
from fault_programs import Journald, Relp

BOTH = ("taffrail", "dockerd")


class Driver:
    """`options` have {host}, {port}, {ca} and {socket} for what is known later."""

    def __init__(self, name, options, protocol=None, program=None, engines=BOTH, acknowledged=False, tls=False, of=None):
        self.name, self.options, self.protocol, self.program = name, options, protocol, program
        self.engines, self.acknowledged, self.tls = engines, acknowledged, tls
        self.docker = of or name

    def words(self, host, peer, folder):
        words = ["--log-driver", self.docker]
        place = {"host": host, "port": peer.port, "ca": Path(folder) / "ca.pem", "socket": getattr(peer, "socket", "")}
        for option in self.options:
            words += ["--log-opt", option.format(**place)]
        return words


HEC = ["splunk-token=" + TOKEN.decode().split()[1]]
SYSLOG = ["syslog-format=rfc5424"]
FLUENTD = ["fluentd-address={host}:{port}", "fluentd-request-ack=true"]
DRIVERS = [
    Driver("syslog tcp", ["syslog-address=tcp://{host}:{port}", *SYSLOG], Lines, of="syslog"),
    Driver("syslog relp", ["syslog-address=relp://{host}:{port}", *SYSLOG], program=Relp, engines=("taffrail",), acknowledged=True, of="syslog"),
    Driver("journald", ["journald-socket={socket}"], program=Journald, engines=("taffrail",)),
    Driver("fluentd", FLUENTD, Forward, acknowledged=True),
    Driver("fluentd async", [*FLUENTD, "fluentd-async=true"], Forward, engines=("dockerd",), acknowledged=True, of="fluentd"),
    Driver("splunk", ["splunk-url=http://{host}:{port}", *HEC], Collector, acknowledged=True),
    Driver("gelf tcp", ["gelf-address=tcp://{host}:{port}"], Gelf, of="gelf"),
    Driver("syslog tls", ["syslog-address=tcp+tls://{host}:{port}", "syslog-tls-ca-cert={ca}", *SYSLOG], Lines, tls=True, of="syslog"),
    Driver("splunk https", ["splunk-url=https://{host}:{port}", "splunk-capath={ca}", *HEC], Collector, acknowledged=True, tls=True, of="splunk"),
]
PLAIN = [driver.name for driver in DRIVERS if not driver.tls]
TCP = [driver.name for driver in DRIVERS if driver.protocol and not driver.tls]
TLS = [driver.name for driver in DRIVERS if driver.tls]


class Fault:
    """`begin(cell)` and, after `lasts` seconds, `over(cell)`; with `first` it begins before the container starts."""

    def __init__(self, name, text, drivers, begin, over=None, lasts=0.0, first=False, size=100, rate=4000, prepare=None,
                 taffrail=(), dockerd=(), calls=True, remove=False, may_lose=False, overflows=False):
        self.name, self.text, self.drivers = name, text, drivers
        self.begin, self.over, self.lasts, self.first = begin, over, lasts, first
        self.size, self.rate, self.prepare = size, rate, prepare
        self.options = {"taffrail": taffrail, "dockerd": dockerd}
        self.calls, self.remove = calls, remove
        # Without acknowledgement, what the peer's kernel took and the peer did not read is lost, and nobody can know.
        self.may_lose = may_lose
        self.overflows = overflows


def nothing(_):
    pass


def close(cell):
    cell.peer.close()


def reopen(cell):
    cell.peer.open()


def stall(cell):
    cell.peer.stalled = True


def read_again(cell):
    cell.peer.stalled = False


def small_buffers(cell):
    cell.peer.small_buffers = True


def resets(cell):
    cell.peer.reset_every = 200_000


def no_resets(cell):
    cell.peer.reset_every = 0


def through_a_proxy(cell):
    if hasattr(cell.peer, "with_proxy"):
        cell.peer.with_proxy()


def answers(status, code, text, headers=""):
    def begin(cell):
        cell.peer.answer = lambda method, body: (status, {"text": text, "code": code}, headers)
    return begin


def good_answers(cell):
    cell.peer.answer = None


def one_bad_event(cell):
    """Splunk does not say whether it keeps the events before the bad one: this receiver keeps none."""
    def answer(_method, body):
        at = body.find(b"o 0000007777 ")
        if at >= 0:
            return 400, {"text": "Invalid data format", "code": 6, "invalid-event-number": body[:at].count(b'"event":') - 1}
        return None
    cell.peer.answer = answer


def certificate(name):
    def begin(cell):
        cell.peer.certificate = name
    return begin


def no_name(cell):
    cell.lane.hosts.set(cell.host, None)


def name_comes(cell):
    cell.lane.hosts.set(cell.host, "127.0.0.1")


def name_moves(cell):
    """The service moves: the old address is left, the name means the new one."""
    second = Peer(cell.got, cell.driver.protocol, "127.0.0.2", cell.peer.port)
    second.open()
    cell.lane.hosts.set(cell.host, "127.0.0.2")
    cell.peer.end()
    cell.peer = second


def kills(cell, times=10):
    for _ in range(times):
        cell.lane.engine.kill()
        cell.lane.engine.start()
        time.sleep(0.3)


def kills_meanwhile(cell):
    cell.peer.close()
    kills(cell, 3)
    cell.peer.open()


BOUNDS = ("max-spool-size=500k", "cache-max-size=200k", "cache-max-file=2")
FAULTS = [
    Fault("none", "no fault", PLAIN + TLS, nothing, lasts=3),
    Fault("absent", "absent at the start, comes after 5 s", PLAIN, close, reopen, 5, first=True),
    Fault("down", "stopped for 10 s in mid-stream", PLAIN, close, reopen, 10),
    Fault("stall", "does not read for 10 s", PLAIN, stall, read_again, 10, size=400, prepare=small_buffers),
    Fault("reset", "resets connections after 200 kB each, 8 s long", [n for n in PLAIN if n != "journald"], resets, no_resets, 8,
          prepare=through_a_proxy, may_lose=True),
    Fault("400", "400 for one event, naming it", ["splunk"], one_bad_event, lasts=4, first=True),
    Fault("401", "401 for 8 s", ["splunk"], answers(401, 2, "Token is required"), good_answers, 8),
    Fault("403", "403 for 8 s", ["splunk"], answers(403, 4, "Invalid token"), good_answers, 8),
    Fault("429", "429 for 8 s", ["splunk"], answers(429, 9, "Server is busy", "Retry-After: 2\r\n"), good_answers, 8),
    Fault("503", "503 for 8 s", ["splunk"], answers(503, 9, "Server is busy"), good_answers, 8),
    Fault("expired", "expired certificate for 6 s", TLS, certificate("expired"), certificate("good"), 6, first=True),
    Fault("wrong-name", "certificate of another name for 6 s", TLS, certificate("other"), certificate("good"), 6, first=True),
    Fault("name-late", "its name resolves after 5 s", TCP, no_name, name_comes, 5, first=True),
    Fault("name-moves", "moves to another address, its name follows", TCP, name_moves, lasts=2),
    Fault("spool-full", "does not read for 10 s, small bounds", PLAIN, stall, read_again, 10, size=800, prepare=small_buffers,
          taffrail=BOUNDS, dockerd=("mode=non-blocking", "max-buffer-size=500k"), overflows=True),
    Fault("kill", "the daemon is killed 10 times", PLAIN, kills, rate=2000, calls=False),
    Fault("down-kill", "stopped, and meanwhile the daemon is killed 3 times", PLAIN, kills_meanwhile, rate=2000, calls=False),
    Fault("removed", "stopped; container ends and is removed, 2 s later the receiver is back", PLAIN, close, remove=True),
]


def certificates(folder):
    """A CA of its own and three certificates, as contexts of a server."""
    folder = Path(folder)

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-days", 30, "-subj", "/CN=faults")
    found = {}
    for name, host, days in (("good", "localhost", 30), ("expired", "localhost", -1), ("other", "other.test", 30)):
        key, request, certificate, names = (folder / f"{name}.{end}" for end in ("key", "csr", "pem", "names"))
        names.write_text(f"subjectAltName=DNS:{host}\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={host}")
        openssl("x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", days,
                "-extfile", names, "-out", certificate)
        found[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found[name].load_cert_chain(certificate, key)
    return found

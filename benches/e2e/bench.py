#!/usr/bin/env python3
"""Taffrail beside `cat`, Docker Engine and Podman: interleaved rounds in one run, one table at the end.

Wall times on a shared machine say little by themselves: read the ratios, and the CPU seconds. Standard library only.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

HERTZ = os.sysconf("SC_CLK_TCK")


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout.decode(errors="replace").strip()


def processes():
    """pid -> (parent, start, user + system seconds of it and of its waited-for children, command line)."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_text()
            line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        fields = stat[stat.rindex(")") + 2:].split()
        ticks = sum(int(fields[i]) for i in (11, 12, 13, 14))
        found[int(name)] = (int(fields[1]), fields[19], ticks / HERTZ, line)
    return found


def pss_kib(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def seconds(stamp):
    """RFC 3339 with any number of digits, as seconds since 1970."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    digits = rest.split("+")[0]
    moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp() + float(f"0.{digits or 0}")


# An engine in a network namespace of its own: its bridge and rules do not touch the host's.
NAMESPACE = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]


class Engine:
    """One engine on roots of its own; `mark` finds its processes."""

    supervisor = None
    drivers = ("json-file", "local")
    # With a default network; else none, and the host's namespace.
    bridge = False

    def __init__(self, name, base):
        self.name = name
        self.root = Path(base) / name
        self.root.mkdir()
        self.socket = self.root / "docker.sock"
        self.mark = str(self.root)
        self.process = None
        self.error = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def start(self):
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen([*(NAMESPACE if self.bridge else []), *self.command()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment())
        end = time.monotonic() + 30
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not start: {(self.root / 'log').read_text(errors='replace')[-800:]}")
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.settimeout(2)
                    probe.connect(str(self.socket))
                    probe.sendall(b"GET /_ping HTTP/1.0\r\nHost: x\r\n\r\n")
                    if b" 200 " in probe.recv(64):
                        return
            except OSError:
                pass
            time.sleep(0.05)

    def stop(self):
        if self.process is None:
            return
        try:
            ids = self.docker("ps", "-aq").split()
            if ids:
                self.docker("rm", "-f", *ids)
        except RuntimeError as error:
            print(f"{self.name}: {error}", file=sys.stderr)
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for line in Path("/proc/self/mountinfo").read_text().splitlines()[::-1]:
            point = line.split()[4]
            if point.startswith(self.mark):
                subprocess.run(["umount", "-l", point], check=False)

    def cli(self, *words):
        return ["docker", "-H", f"unix://{self.socket}", *words]

    def docker(self, *words, **options):
        return run(self.cli(*words), **options)

    def members(self):
        """Pids of the engine: all that name its root, and their children that are no containers' programs."""
        table = processes()
        mine = {pid for pid, row in table.items() if self.mark in row[3] and pid != os.getpid()}
        if self.process:
            mine.add(self.process.pid)
        grown = True
        while grown:
            grown = False
            for pid, row in table.items():
                if pid not in mine and row[0] in mine and "workload" not in row[3] and "sleep" not in row[3]:
                    mine.add(pid)
                    grown = True
        return {pid: table[pid] for pid in mine if pid in table and not table[pid][3].startswith("docker ")}


class Taffrail(Engine):
    supervisor = "taffrail-monitor"

    def __init__(self, base, binaries):
        super().__init__("taffrail", base)
        self.binaries = Path(binaries)

    def command(self):
        config = self.root / "daemon.json"
        config.write_text("{}" if self.bridge else '{"bridge": "none"}')
        return [self.binaries / "taffrail", "daemon", "--config-file", config, "--data-root", self.root / "data", "--exec-root",
                self.root / "exec", "--host", f"unix://{self.socket}", "--pidfile", self.root / "pid"]


class Dockerd(Engine):
    supervisor = "containerd-shim"

    def __init__(self, base):
        super().__init__("dockerd", base)

    def command(self):
        return ["dockerd", "--data-root", self.root / "data", "--exec-root", self.root / "exec", "-H", f"unix://{self.socket}",
                "-p", self.root / "pid", *(["--bip", "10.213.77.1/24"] if self.bridge else ["--bridge", "none", "--iptables=false"])]


class Podman(Engine):
    supervisor = "conmon"
    drivers = ("json-file",)

    def __init__(self, base):
        super().__init__("podman", base)

    def environment(self):
        config = self.root / "containers.conf"
        config.write_text('[engine]\nruntime = "runc"\n[containers]\nlog_driver = "k8s-file"\n'
                          'default_ulimits = ["nofile=20000:20000","nproc=32768:32768"]\n')
        policy = self.root / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        return {**os.environ, "CONTAINERS_CONF": str(config)}

    def command(self):
        return ["podman", "--root", self.root / "data", "--runroot", self.root / "run", "--cgroup-manager", "cgroupfs",
                "system", "service", "-t", "0", f"unix://{self.socket}"]


def image_tar(workload):
    folder = Path(tempfile.mkdtemp(prefix="taffrail-bench-image."))
    path = folder / "image.tar"
    busybox = shutil.which("busybox") or "/bin/busybox"
    with tarfile.open(path, "w") as tar:
        tar.add(busybox, "bin/busybox")
        tar.add(workload, "bin/workload")
        for applet in ("sh", "true", "sleep", "cat"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(link)
    return path


def cat_round(workload, mode, lines, folder):
    """`workload | cat > file`: seconds, CPU seconds of cat, bytes."""
    target = folder / "cat.out"
    begun = time.monotonic()
    with open(target, "wb") as out:
        source = subprocess.Popen([workload, "lines", f"lines={lines}", "size=100", f"mode={mode}"], stdout=subprocess.PIPE)
        cat = subprocess.Popen(["cat"], stdin=source.stdout, stdout=out)
        source.stdout.close()
        source.wait()
        _, _, usage = os.wait4(cat.pid, 0)
        cat.returncode = 0
    took = time.monotonic() - begun
    size = target.stat().st_size
    target.unlink()
    return took, usage.ru_utime + usage.ru_stime, size


class Sampler:
    """CPU seconds of an engine while something runs, also of processes that come and go."""

    def __init__(self, engine):
        self.engine = engine
        self.first = {}
        self.last = {}
        self.done = threading.Event()

    def sample(self):
        for pid, row in self.engine.members().items():
            key = (pid, row[1])
            self.first.setdefault(key, row[2] if not self.first else 0.0)
            self.last[key] = row[2]

    def __enter__(self):
        for pid, row in self.engine.members().items():
            self.first[(pid, row[1])] = row[2]
            self.last[(pid, row[1])] = row[2]
        self.first[None] = self.last[None] = 0.0
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.done.wait(0.25):
            self.sample()

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.sample()
        self.seconds = sum(self.last[key] - self.first.get(key, 0.0) for key in self.last)


def capture_round_of(engine, driver, mode, lines, name):
    """A container that writes `lines` lines: seconds of its life, CPU seconds of the engine."""
    engine.docker("create", "--name", name, "--network", "none", "--log-driver", driver, "bench",
                  "workload", "lines", f"lines={lines}", "size=100", f"mode={mode}")
    with Sampler(engine) as sampler:
        engine.docker("start", name)
        engine.docker("wait", name, timeout=600)
    # The container's own life: what starting and the client take is measured elsewhere.
    started, finished = engine.docker("inspect", "-f", "{{.State.StartedAt}} {{.State.FinishedAt}}", name).split()
    took = seconds(finished) - seconds(started)
    count = subprocess.run(engine.cli("logs", "--tail", "1", name), stdout=subprocess.PIPE).stdout
    if not count.startswith(f"o {lines - 1:010} ".encode()):
        engine.error = f"the last line of {lines} is {count[:20]!r}"
    engine.docker("rm", name)
    return took, sampler.seconds


def logs_bytes(engine, name):
    """Reads all of a container's log by the API and throws it away: bytes, seconds."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(engine.socket))
        begun = time.monotonic()
        connection.sendall(f"GET /containers/{name}/logs?stdout=1 HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        total = 0
        buffer = bytearray(1 << 20)
        while True:
            n = connection.recv_into(buffer)
            if n == 0:
                return total, time.monotonic() - begun
            total += n


def tail_seconds(engine, name):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(engine.socket))
        begun = time.monotonic()
        connection.sendall(f"GET /containers/{name}/logs?stdout=1&tail=10 HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
        took = time.monotonic() - begun
    if answer.count(b"\n") < 10 or b"o 00" not in answer:
        raise RuntimeError(f"{engine.name}: --tail 10 gave {answer[:300]!r}")
    return took


def follow_latency(engine, rounds):
    """From a write by the container to its bytes at the follower: the container echoes what is typed."""
    engine.docker("run", "-d", "-i", "--name", "echo", "--network", "none", "bench", "cat")
    try:
        follower = socket.socket(socket.AF_UNIX)
        follower.connect(str(engine.socket))
        follower.sendall(b"GET /containers/echo/logs?stdout=1&follow=1 HTTP/1.0\r\nHost: x\r\n\r\n")
        typed = socket.socket(socket.AF_UNIX)
        typed.connect(str(engine.socket))
        typed.sendall(b"POST /containers/echo/attach?stdin=1&stream=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        typed.recv(4096)
        follower.settimeout(20)
        times = []
        pending = b""
        for number in range(rounds):
            mark = f"mark {number:06}\n".encode()
            begun = time.monotonic()
            typed.sendall(mark)
            while mark not in pending:
                pending += follower.recv(65536)
            times.append(time.monotonic() - begun)
            pending = b""
            time.sleep(0.02)
        return times
    finally:
        engine.docker("rm", "-f", "echo")


def idle_memory(engine, count):
    names = [f"idle{i}" for i in range(count)]
    for name in names:
        engine.docker("run", "-d", "--name", name, "--network", "none", "bench", "workload", "sleep")
    time.sleep(3)
    pids = [pid for pid, row in engine.members().items()
            if engine.supervisor in row[3].split(" ")[0] and "--keeper" not in row[3]]
    if not pids:
        # conmon and the shim may not name the root; they are the parents of the containers' programs.
        table = processes()
        pids = [table[int(engine.docker("inspect", "-f", "{{.State.Pid}}", name))][0] for name in names]
    value = sum(pss_kib(pid) for pid in set(pids)) / count
    engine.docker("rm", "-f", *names)
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder with taffrail and taffrail-monitor")
    parser.add_argument("--workload", required=True)
    parser.add_argument("--lines", type=int, default=2_000_000, help="100-byte lines a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=8, help="idle containers")
    parser.add_argument("--starts", type=int, default=15, help="rounds of run --rm true")
    parser.add_argument("--tail-gb", type=float, default=2.0, help="size of the log for --tail 10")
    parser.add_argument("--engines", default="taffrail,dockerd,podman")
    parser.add_argument("--json", help="write the numbers to this file, too")
    options = parser.parse_args()
    Engine.bridge = True
    if os.geteuid() != 0:
        sys.exit("bench: needs root")

    base = Path(tempfile.mkdtemp(prefix="tfb-"))
    tar = image_tar(options.workload)
    wanted = options.engines.split(",")
    candidates = []
    if "taffrail" in wanted:
        candidates.append(Taffrail(base, options.bin))
    if "dockerd" in wanted and shutil.which("dockerd"):
        candidates.append(Dockerd(base))
    if "podman" in wanted and shutil.which("podman") and shutil.which("conmon"):
        candidates.append(Podman(base))
    engines = []
    results = {"cat": {}}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for engine in candidates:
            try:
                engine.start()
                with open(tar, "rb") as file:
                    engine.docker("import", "-", "bench", stdin=file)
                engine.docker("run", "--rm", "--network", "none", "bench", "true")
                engines.append(engine)
                results[engine.name] = {}
            except (RuntimeError, OSError) as error:
                print(f"{engine.name} is left out: {error}", file=sys.stderr)
                engine.stop()

        gigabytes = options.lines * 100 / 1e9
        for mode in ("block", "line"):
            for round_ in range(options.rounds):
                took, cpu, _ = cat_round(options.workload, mode, options.lines, base)
                results["cat"].setdefault(f"{mode} MB/s", []).append(gigabytes * 1000 / took)
                results["cat"].setdefault(f"{mode} CPU s/GB", []).append(cpu / gigabytes)
                for engine in engines:
                    for driver, label in (("json-file", mode), ("local", f"{mode}, local")):
                        if driver not in engine.drivers:
                            continue
                        took, cpu = capture_round_of(engine, driver, mode, options.lines, "writer")
                        results[engine.name].setdefault(f"{label} MB/s", []).append(gigabytes * 1000 / took)
                        results[engine.name].setdefault(f"{label} CPU s/GB", []).append(cpu / gigabytes)
                print(f"{mode} writer, round {round_ + 1} of {options.rounds}", file=sys.stderr)

        for engine in engines:
            engine.docker("run", "-d", "--name", "read", "--network", "none", "--log-driver", "json-file", "bench", "workload", "lines",
                          f"lines={options.lines}", "size=100", "mode=block")
            engine.docker("wait", "read", timeout=600)
        for _ in range(options.rounds):
            for engine in engines:
                total, took = logs_bytes(engine, "read")
                results[engine.name].setdefault("logs MB/s", []).append(total / 1e6 / took)
        for engine in engines:
            engine.docker("rm", "read")
        print("logs", file=sys.stderr)

        for _ in range(options.starts):
            for engine in engines:
                begun = time.monotonic()
                engine.docker("run", "--rm", "--network", "none", "bench", "true")
                results[engine.name].setdefault("run --rm true ms", []).append((time.monotonic() - begun) * 1000)
        for _ in range(options.starts):
            for engine in engines:
                begun = time.monotonic()
                engine.docker("run", "--rm", "bench", "true")
                results[engine.name].setdefault("run --rm, bridge ms", []).append((time.monotonic() - begun) * 1000)
        print("run --rm true", file=sys.stderr)

        for engine in engines:
            results[engine.name]["idle PSS KiB"] = [idle_memory(engine, options.idle)]
            times = follow_latency(engine, 50)
            results[engine.name]["follow ms"] = [value * 1000 for value in times]
        print("memory, follow", file=sys.stderr)

        lines = int(options.tail_gb * 1e9 / 100 / 1.7)  # a json record of 100 bytes of log has about 170
        for engine in engines:
            if options.tail_gb <= 0:
                continue
            limits = ["--log-opt", "max-size=-1"] if engine.name == "taffrail" else []
            engine.docker("run", "-d", "--name", "big", "--network", "none", "--log-driver", "json-file", *limits, "bench",
                          "workload", "lines", f"lines={lines}", "size=100", "mode=block")
            engine.docker("wait", "big", timeout=1200)
            results[engine.name][f"tail 10 of {options.tail_gb:g} GB ms"] = [tail_seconds(engine, "big") * 1000 for _ in range(5)]
            engine.docker("rm", "big")
    finally:
        for engine in engines:
            engine.stop()
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(tar.parent, ignore_errors=True)

    report(results, engines, options)


def report(results, engines, options):
    columns = ["cat"] + [engine.name for engine in engines]
    rows = list(dict.fromkeys(key for values in results.values() for key in values))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"\n{os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}; "
          f"{options.lines} lines of 100 bytes, {options.rounds} rounds, medians; in brackets the ratio to Taffrail")
    print(f"{'':24}" + "".join(f"{name:>22}" for name in columns))
    for row in rows:
        ours = results.get("taffrail", {}).get(row)
        cells = []
        for name in columns:
            values = results[name].get(row)
            if not values:
                cells.append(f"{'-':>22}")
                continue
            value = statistics.median(values)
            ratio = f" ({value / statistics.median(ours):.2f})" if ours and statistics.median(ours) else ""
            cells.append(f"{value:.1f}{ratio}".rjust(22))
        print(f"{row:24}" + "".join(cells))
    for engine in engines:
        if engine.error:
            print(f"{engine.name}: {engine.error}")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

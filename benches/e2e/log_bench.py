#!/usr/bin/env python3
"""A container's log at size: finding a place in it, reading all of it, readers that stand still, the bound on disk.

Beside Docker Engine, which reads a smaller log in the same form: its full read is a rate. Read ratios, not wall times. Standard library only.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench import Dockerd, Taffrail, capture_round_of, image_tar, logs_bytes, pss_kib, seconds

# name, driver, options: 100 files or segments of equal size hold the whole log.
FORMS = [
    ("json-file", "json-file", {"compress": "false"}),
    ("json-file .gz", "json-file", {"compress": "true"}),
    ("local", "local", {"compress": "false"}),
    ("local .zst", "local", {"compress": "true"}),
]


def folder_of(engine, name):
    return engine.root / "data" / "containers" / engine.docker("inspect", "-f", "{{.Id}}", name)


def disk_bytes(folder):
    """Bytes that a folder takes on disk, files that vanish meanwhile left aside."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def ask(engine, name, query):
    """A `logs` request whose answer is read up to its first bytes of body: the socket, seconds, those bytes."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(engine.socket))
    begun = time.monotonic()
    connection.sendall(f"GET /containers/{name}/logs?stdout=1&stderr=1&{query} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer or answer.endswith(b"\r\n\r\n"):
        part = connection.recv(65536)
        if not part:
            break
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(f"{engine.name}: {query}: {answer[:300]!r}")
    return connection, time.monotonic() - begun, body


def first_byte_ms(engine, name, query, expect=None):
    """Median of five: milliseconds to the first bytes. `expect`: number of the first line, or None."""
    times = []
    for _ in range(5):
        connection, took, body = ask(engine, name, query)
        connection.close()
        times.append(took * 1000)
        if not body:
            raise RuntimeError(f"{name}: {query}: an empty answer")
        if expect is not None and f"o {expect:010} ".encode() not in body[:40]:
            raise RuntimeError(f"{name}: {query}: begins with {body[:40]!r}, not with line {expect}")
    return statistics.median(times)


def wait_compressed(folder, deadline):
    """Until every closed file is compressed."""
    end = time.monotonic() + deadline
    while True:
        names = [p.name for p in folder.rglob("*") if p.is_file() and "index" not in p.parts]
        plain = [n for n in names if n.split(".")[-1].isdigit() or n.endswith(".seg")]
        if len([n for n in plain if n.endswith(".seg")]) <= 1 and not [n for n in plain if n.split(".")[-1].isdigit()]:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{folder}: still plain after {deadline} s: {len(plain)} files")
        time.sleep(0.5)


def big_log(engine, form, driver, options, lines, total):
    name = "big"
    limits = {"max-size": str(max(total // 50, 1_000_000)), "max-file": "200", **options}
    words = [word for key, value in limits.items() for word in ("--log-opt", f"{key}={value}")]
    engine.docker("run", "-d", "--name", name, "--network", "none", "--log-driver", driver, *words, "bench",
                  "workload", "lines", f"lines={lines}", "size=100", "mode=block")
    engine.docker("wait", name, timeout=3600)
    folder = folder_of(engine, name)
    if options["compress"] == "true":
        wait_compressed(folder, 1800)
    started, finished = (seconds(word) for word in
                         engine.docker("inspect", "-f", "{{.State.StartedAt}} {{.State.FinishedAt}}", name).split())
    middle = started + (finished - started) / 2
    row = {
        "GB on disk": disk_bytes(folder) / 1e9,
        "tail 10, ms": first_byte_ms(engine, name, "tail=10", lines - 10),
        "since the middle, ms": first_byte_ms(engine, name, f"since={middle:.9f}"),
        "until the middle, ms": first_byte_ms(engine, name, f"until={middle:.9f}", 0),
        "cursor in the middle, ms": first_byte_ms(engine, name, f"cursor=1.{lines // 2}", lines // 2),
    }
    got, took = logs_bytes(engine, name)
    if got < lines * 100:
        raise RuntimeError(f"{form}: {got} bytes read, at least {lines * 100} expected")
    row["full read, MB/s"] = got / 1e6 / took
    engine.docker("rm", name)
    return row


def stuck_followers(engine, driver, count, lines):
    """The writer's time with `count` followers that read nothing, over its time without; memory a follower."""
    alone, crowded = [], []
    memory = 0.0
    for _ in range(3):
        alone.append(capture_round_of(engine, driver, "block", lines, "writer")[0])
        engine.docker("run", "-d", "-i", "--name", "gate", "--network", "none", "--log-driver", driver, "bench", "sh", "-c",
                      f"read go; exec workload lines lines={lines} size=100 mode=block")
        before = pss_kib(engine.process.pid)
        sockets = []
        for _ in range(count):
            connection = socket.socket(socket.AF_UNIX)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(str(engine.socket))
            connection.sendall(b"GET /containers/gate/logs?stdout=1&follow=1 HTTP/1.0\r\nHost: x\r\n\r\n")
            connection.recv(64)
            sockets.append(connection)
        begun = time.monotonic()
        attached = socket.socket(socket.AF_UNIX)
        attached.connect(str(engine.socket))
        attached.sendall(b"POST /containers/gate/attach?stdin=1&stream=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        attached.recv(4096)
        attached.sendall(b"go\n")
        engine.docker("wait", "gate", timeout=600)
        finished = seconds(engine.docker("inspect", "-f", "{{.State.FinishedAt}}", "gate"))
        crowded.append(finished - (time.time() - (time.monotonic() - begun)))
        memory = max(memory, (pss_kib(engine.process.pid) - before) / count)
        for connection in sockets:
            connection.close()
        attached.close()
        engine.docker("rm", "gate")
    return statistics.median(crowded) / statistics.median(alone), memory


def disk_bound(engine, driver, gigabytes):
    """Most bytes that a container's folder took while it wrote, with default options."""
    engine.docker("run", "-d", "--name", "bound", "--network", "none", "--log-driver", driver, "bench",
                  "workload", "lines", f"lines={int(gigabytes * 1e7)}", "size=100", "mode=block")
    folder = folder_of(engine, "bound")
    done = threading.Event()
    highest = [0]

    def watch():
        while not done.is_set():
            highest[0] = max(highest[0], disk_bytes(folder))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    engine.docker("wait", "bound", timeout=3600)
    done.set()
    watcher.join()
    engine.docker("rm", "bound")
    return highest[0] / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder with taffrail and taffrail-monitor")
    parser.add_argument("--workload", required=True)
    parser.add_argument("--gb", type=float, default=10.0, help="size of the plain log in each form")
    parser.add_argument("--forms", default="", help="some of: " + ", ".join(form[0] for form in FORMS))
    parser.add_argument("--lines", type=int, default=2_000_000, help="lines of dockerd's log and of the stuck followers' writer")
    parser.add_argument("--followers", type=int, default=100)
    parser.add_argument("--bound-gb", type=float, default=20.0, help="what a container with default options writes; 0: not")
    parser.add_argument("--json", help="write the numbers to this file, too")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("log_bench: needs root")
    base = Path(tempfile.mkdtemp(prefix="tfl-"))
    tar = image_tar(options.workload)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    engine = Taffrail(base, options.bin)
    docker = Dockerd(base) if shutil.which("dockerd") else None
    results = {}
    try:
        for one in filter(None, (engine, docker)):
            one.start()
            with open(tar, "rb") as file:
                one.docker("import", "-", "bench", stdin=file)
        for form, driver, opts in FORMS:
            if docker is None or options.forms and form not in options.forms.split(","):
                continue
            docker.docker("run", "-d", "--name", "read", "--network", "none", "--log-driver", driver, "--log-opt", "max-size=20m",
                          "--log-opt", "max-file=200", "--log-opt", f"compress={opts['compress']}", "bench",
                          "workload", "lines", f"lines={options.lines}", "size=100", "mode=block")
            docker.docker("wait", "read", timeout=600)
            if opts["compress"] == "true":
                wait_compressed(folder_of(docker, "read"), 600)
            rates = []
            for _ in range(3):
                got, took = logs_bytes(docker, "read")
                if got < options.lines * 100:
                    raise RuntimeError(f"dockerd, {form}: {got} bytes read")
                rates.append(got / 1e6 / took)
            results[f"dockerd {form}"] = {"full read, MB/s": statistics.median(rates)}
            docker.docker("rm", "read")
            print("dockerd", form, file=sys.stderr)
        for form, driver, opts in FORMS:
            if options.forms and form not in options.forms.split(","):
                continue
            per_line = 170 if driver == "json-file" else 100.1
            lines = int(options.gb * 1e9 / per_line)
            results[form] = big_log(engine, form, driver, opts, lines, int(options.gb * 1e9))
            peer = results.get(f"dockerd {form}")
            if peer:
                results[form]["x dockerd"] = results[form]["full read, MB/s"] / peer["full read, MB/s"]
            print(form, file=sys.stderr)
        for driver in ("json-file", "local"):
            ratio, memory = stuck_followers(engine, driver, options.followers, options.lines)
            results[f"{options.followers} stuck followers, {driver}"] = {"writer's time, ratio": ratio, "KiB a follower": memory}
            print("stuck followers", driver, file=sys.stderr)
            if options.bound_gb > 0:
                results[f"{options.bound_gb:g} GB with defaults, {driver}"] = {"most MB on disk": disk_bound(engine, driver, options.bound_gb)}
                print("bound", driver, file=sys.stderr)
    finally:
        for one in filter(None, (engine, docker)):
            one.stop()
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(tar.parent, ignore_errors=True)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        print(f"\n{os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}; "
              f"{options.gb:g} GB a log, lines of 100 bytes")
        for name, row in results.items():
            print(f"{name:32}" + "  ".join(f"{key} {value:.2f}" for key, value in row.items()))
        if options.json:
            Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

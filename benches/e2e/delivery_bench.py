#!/usr/bin/env python3
"""Delivery to receivers that only count: one container as fast as it goes, and many at once; beside Docker Engine in the same run.

A record counts when the receiver has it. Read ratios and CPU seconds, not wall times. Standard library only.
"""

import argparse
import os
import platform
import signal
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench import Dockerd, Sampler, Taffrail, image_tar, pss_kib, run
from receivers import Receiver

# name, kind of receiver, log options with {} for its address
DRIVERS = {
    "syslog": ("lines", ["syslog-address=tcp://{}", "syslog-format=rfc5424"]),
    "fluentd": ("forward", ["fluentd-address={}"]),
    "splunk": ("hec", ["splunk-url=http://{}", "splunk-token=t"]),
    "gelf": ("nul", ["gelf-address=tcp://{}"]),
}


def options(driver, address):
    words = ["--log-driver", driver]
    for option in DRIVERS[driver][1]:
        words += ["--log-opt", option.format(address)]
    return words


def wait_for(receiver, lines, patience):
    """Waits until `lines` records came, or none for `patience` seconds."""
    seen, at = receiver.count, time.monotonic()
    while receiver.count < lines:
        time.sleep(0.05)
        if receiver.count != seen:
            seen, at = receiver.count, time.monotonic()
        elif time.monotonic() - at > patience:
            return False
    return True


def one(engine, driver, lines, name):
    """Records a second, CPU seconds of the engine, of the receiver, records that came."""
    kind = DRIVERS[driver][0]
    # Docker sends a message a record: a receiver in Python that takes each apart would be what is measured.
    receiver = Receiver("messages" if kind == "forward" and engine.name == "dockerd" else kind)
    try:
        engine.docker("create", "--name", name, "--network", "none", *options(driver, receiver.address), "bench",
                      "workload", "lines", f"lines={lines}", "size=100", "mode=block")
        with Sampler(engine) as sampler:
            begun = time.monotonic()
            engine.docker("start", name)
            wait_for(receiver, lines, 20)
            took = receiver.last - begun
        cpu = receiver.cpu()
        # More than were written would be duplicates.
        time.sleep(0.3)
        return lines / took, sampler.seconds, cpu, receiver.count
    finally:
        engine.docker("rm", "-f", name)
        receiver.stop()


def many(engine, containers, rate, duration):
    """Containers that each write `rate` lines a second to one receiver: share that came, daemon's memory, CPU seconds a second."""
    receiver = Receiver("lines")
    names = [f"many{n}" for n in range(containers)]
    lines = rate * duration
    try:
        for name in names:
            engine.docker("create", "--name", name, "--network", "none", *options("syslog", receiver.address), "bench",
                          "sh", "-c", f"sleep 5; exec workload lines lines={lines} size=100 rate={rate}")
        before = pss_kib(engine.process.pid)
        for name in names:
            engine.docker("start", name)
        idle = pss_kib(engine.process.pid)
        begun, cpu_begun = time.monotonic(), own_cpu(engine)
        peak = idle
        seen, at = -1, time.monotonic()
        while receiver.count < containers * lines and time.monotonic() - at < 15:
            peak = max(peak, pss_kib(engine.process.pid))
            if receiver.count != seen:
                seen, at = receiver.count, time.monotonic()
            time.sleep(1)
        took = max(receiver.last - begun, 0.001)
        cpu = own_cpu(engine) - cpu_begun
        return receiver.count, containers * lines, before, idle, peak, cpu / took
    finally:
        for start in range(0, containers, 50):
            engine.docker("rm", "-f", *names[start:start + 50])
        receiver.stop()


def own_cpu(engine):
    fields = Path(f"/proc/{engine.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--workload", required=True)
    parser.add_argument("--lines", type=int, default=3_000_000)
    parser.add_argument("--docker-lines", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drivers", default=",".join(DRIVERS))
    parser.add_argument("--many", type=int, default=1000, help="containers at 100 lines a second; 0: none")
    parser.add_argument("--no-docker", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    base = tempfile.mkdtemp(prefix="taffrail-bench-delivery.")
    tar = image_tar(args.workload)
    engines = [Taffrail(base, args.bin)]
    if not args.no_docker and shutil.which("dockerd"):
        engines.append(Dockerd(base))
    rows = []
    try:
        for engine in engines:
            engine.start()
            engine.docker("import", str(tar), "bench")
        for driver in args.drivers.split(","):
            for engine in engines:
                lines = args.lines if engine.name == "taffrail" else args.docker_lines
                rounds = [one(engine, driver, lines, f"{driver}{n}") for n in range(args.rounds)]
                rate = statistics.median(r[0] for r in rounds)
                cpu = statistics.median(r[1] for r in rounds)
                gigabytes = lines * 100 / 1e9
                came = [r[3] for r in rounds]
                odd = "" if all(c == lines for c in came) else f" (of {lines}: {came})"
                rows.append((driver, engine.name, f"{rate:,.0f}", f"{lines / max(cpu, 0.01):,.0f}", f"{cpu / gigabytes:.1f}",
                             f"{statistics.median(r[2] for r in rounds):.1f}{odd}"))
                print(*rows[-1], sep="\t", flush=True)
        print(f"\n{platform.release()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {args.rounds} rounds, medians")
        print("\n| driver | engine | records/s | records per CPU second | CPU s/GB | receiver's CPU s |\n|---|---|---|---|---|---|")
        for row in rows:
            print("|", " | ".join(row), "|")
        if args.many:
            engine = engines[0]
            came, wrote, before, idle, peak, cpu = many(engine, args.many, 100, 20)
            print(f"\n{args.many} containers at 100 lines/s to one receiver: {came:,} of {wrote:,} came; daemon's memory (PSS) "
                  f"{before / 1024:.0f} MiB with none running, {idle / 1024:.0f} MiB with all idle, {peak / 1024:.0f} MiB at most; "
                  f"{cpu:.2f} CPU seconds a second in the daemon")
    finally:
        for engine in engines:
            engine.stop()
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(tar.parent, ignore_errors=True)


if __name__ == "__main__":
    main()

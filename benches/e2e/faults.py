#!/usr/bin/env python3
"""A matrix of faults of log receivers, and of the daemon, on Taffrail and on Docker Engine: what arrives, what is lost, who waits.

Runs as root in a mount namespace of its own, with an /etc/hosts of its own. Each lane is one engine with one driver; some run side by
side. Read ratios to the same engine and driver without a fault. Exit status 1 if Taffrail lost a record without counting it, where the
protocol lets that be known, or any record where the receiver acknowledges and no bound was met. Standard library only.
"""

import argparse
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import Dockerd, Taffrail, image_tar, processes
from fault_cell import Cell, call
from fault_matrix import DRIVERS, FAULTS, certificates
from fault_report import failures, markdown

INSIDE = "TAFFRAIL_FAULTS_INSIDE"


class Killable:
    """An engine whose daemon can be killed and started again; what it leaves behind is told."""

    def kill(self):
        self.process.kill()
        self.process.wait()
        (self.root / "pid").unlink(missing_ok=True)

    def start(self):
        # After a kill, containerd may still be ending.
        for attempt in range(5):
            try:
                return super().start()
            except RuntimeError:
                if attempt == 4:
                    raise
                time.sleep(1)

    def finish(self, ids):
        """Ends it and names what is left of it: mounts, control groups, processes (which are then ended, too)."""
        if self.process is None:
            return []
        self.process.terminate()
        try:
            self.process.wait(30)
        except Exception:
            self.process.kill()
            self.process.wait()
        time.sleep(1)
        left = []
        for pid, row in processes().items():
            if self.mark in row[3] and pid != os.getpid():
                left.append(f"process {row[3][:80]}")
                os.kill(pid, signal.SIGKILL)
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if line.split()[4].startswith(self.mark):
                left.append(f"mount {line.split()[4][len(self.mark):][:80]}")
                subprocess.run(["umount", "-l", line.split()[4]], check=False)
        for folder, names, _ in os.walk("/sys/fs/cgroup"):
            left += [f"control group {name[:80]}" for name in names if any(i in name for i in ids)]
        return left


class KillableTaffrail(Killable, Taffrail):
    pass


class KillableDockerd(Killable, Dockerd):
    def kill(self):
        super().kill()
        # Its containerd dies with it; a daemon that starts before that is over waits 15 s for it.
        record = self.root / "exec" / "containerd" / "containerd.pid"
        if record.exists():
            stat = Path(f"/proc/{record.read_text().strip()}/stat")
            until = time.monotonic() + 10
            while time.monotonic() < until:
                try:
                    if stat.read_text().rsplit(") ", 1)[1][0] in "ZX":
                        break
                except OSError:
                    break
                time.sleep(0.02)
            record.unlink(missing_ok=True)

    def command(self):
        # Without it a killed daemon takes its containers with it at the next start.
        return [*super().command(), "--live-restore"]


class Hosts:
    """The /etc/hosts of this mount namespace."""

    def __init__(self, path):
        self.path = Path(path)

    def set(self, name, address):
        with open(self.path, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = [line for line in file.read().splitlines() if not line.endswith(f"\t{name}")]
            if address:
                lines.append(f"{address}\t{name}")
            # In place: the file is bound to /etc/hosts.
            file.seek(0)
            file.write("\n".join(lines) + "\n")
            file.truncate()


class Lane:
    def __init__(self, base, kind, driver, hosts, binaries):
        self.name = f"{kind}-{driver.name.replace(' ', '-')}"
        self.folder = Path(base) / self.name
        self.folder.mkdir()
        self.driver, self.hosts = driver, hosts
        self.number, self.ids = 0, []
        self.certificates = certificates(self.folder) if driver.tls else None
        self.engine = KillableTaffrail(self.folder, binaries) if kind == "taffrail" else KillableDockerd(self.folder)

    def run(self, tar, faults, options, results):
        left = []
        try:
            self.engine.start()
            self.engine.docker("import", str(tar), "bench")
            # The first start of a daemon is a slow one.
            self.engine.docker("run", "--rm", "--network", "none", "bench", "true")
            for fault in faults:
                cell = Cell(self, self.driver, fault, options).run()
                results.put(cell)
            for name in self.engine.docker("ps", "-aq").split():
                call(self.engine, "rm", "-f", name, timeout=30)
        except Exception as error:
            results.put({"engine": self.engine.name, "driver": self.driver.name, "fault": "lane", "error": f"{type(error).__name__}: {error}"})
        finally:
            left = self.engine.finish(self.ids)
            results.put({"engine": self.engine.name, "driver": self.driver.name, "fault": "left behind", "left": left,
                         "log": (self.engine.root / "log").read_text(errors="replace")[-4000:]})


def in_a_namespace():
    """Starts this program anew where mounts and /etc/hosts are its own."""
    if os.environ.get(INSIDE) == "1":
        return
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--workload", required=True)
    parser.add_argument("--driver", action="append", choices=[d.name for d in DRIVERS], help="only this one; may be given again")
    parser.add_argument("--fault", action="append", choices=[f.name for f in FAULTS], help="only this one, beside none")
    parser.add_argument("--engine", action="append", choices=["taffrail", "dockerd"])
    parser.add_argument("--network", default="none", choices=["none", "bridge"], help="of the containers; bridge is Taffrail alone")
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--rate", type=int, help="lines a second in all cells")
    parser.add_argument("--deadline", type=float, default=60, help="seconds for a cell")
    parser.add_argument("--jobs", type=int, default=4, help="lanes side by side")
    parser.add_argument("--json", help="raw results")
    options = parser.parse_args()
    if options.network != "none":
        # Docker Engine runs without a bridge here, so that it leaves the machine's rules alone.
        options.engine = ["taffrail"]
    in_a_namespace()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    base = tempfile.mkdtemp(prefix="taffrail-faults.")
    tar = image_tar(options.workload)
    cells = []
    try:
        hosts = Path(base) / "hosts"
        hosts.write_bytes(Path("/etc/hosts").read_bytes())
        if os.spawnlp(os.P_WAIT, "mount", "mount", "--bind", str(hosts), "/etc/hosts") != 0:
            raise RuntimeError("/etc/hosts cannot be covered")
        kinds = options.engine or ["taffrail"] + (["dockerd"] if shutil.which("dockerd") else [])
        jobs = []
        for driver in DRIVERS:
            faults = [f for f in FAULTS if driver.name in f.drivers and (f.name == "none" or not options.fault or f.name in options.fault)]
            if options.driver and driver.name not in options.driver or len(faults) < 2 and options.fault != ["none"]:
                continue
            jobs += [(kind, driver, faults) for kind in kinds if kind in driver.engines]
        cells = run_lanes(jobs, base, Hosts(hosts), tar, options)
    finally:
        os.spawnlp(os.P_WAIT, "umount", "umount", "/etc/hosts")
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(tar.parent, ignore_errors=True)
    if options.json:
        Path(options.json).write_text(json.dumps(cells, indent=1))
    print(markdown(cells, options))
    bad = failures(cells)
    for line in bad:
        print(line, file=sys.stderr)
    sys.exit(1 if bad else 0)


def run_lanes(jobs, base, hosts, tar, options):
    results = multiprocessing.Queue()
    running, waiting, cells = [], list(jobs), []
    try:
        while running or waiting:
            while waiting and len(running) < options.jobs:
                kind, driver, faults = waiting.pop(0)
                lane = Lane(base, kind, driver, hosts, options.bin)
                process = multiprocessing.Process(target=lane.run, args=(tar, faults, options, results))
                process.start()
                running.append(process)
            time.sleep(0.2)
            # What a lane put before it ended is in the queue then.
            ended = [p for p in running if not p.is_alive()]
            while not results.empty():
                cell = results.get()
                cells.append(cell)
                said = {k: v for k, v in cell.items() if k not in ("sink", "log", "spool")}
                print(json.dumps(said), file=sys.stderr, flush=True)
            running = [p for p in running if p not in ended]
    finally:
        for process in running:
            process.terminate()
            process.join(60)
    return cells


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""create + start + delete of `true`: the built-in runtime, crun and runc on one specification, interleaved rounds in one run.

As root. Runs in a mount namespace of its own; where control groups are hybrid the mount of version 2 is taken away there, because crun refuses such hosts.
Wall times on a shared machine say little by themselves: read the ratios. Standard library only.
"""

import argparse
import ctypes
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
DEFAULT = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP",
           "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"]


def own_mounts():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        sys.exit(f"mount namespace: {os.strerror(ctypes.get_errno())}")
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if any(line[line.index("-") + 1] == "cgroup" for line in lines):
        for line in lines:
            if line[line.index("-") + 1] == "cgroup2":
                libc.umount2(line[4].encode(), 2)


def profile(folder):
    """Docker's default filter for the default capabilities, from the daemon's table."""
    table = json.loads(next(folder.rglob("seccomp_default.json")).read_text())
    calls = []
    for rule in table["rules"]:
        if set(rule.get("caps", [])) - set(DEFAULT) or set(rule.get("not_caps", [])) & set(DEFAULT):
            continue
        if rule.get("arches") and "x86_64" not in rule["arches"] or "x86_64" in rule.get("not_arches", []):
            continue
        call = {"names": rule["names"], "action": rule.get("action") or "SCMP_ACT_ALLOW"}
        if rule.get("errno") is not None:
            call["errnoRet"] = rule["errno"]
        if rule.get("args"):
            call["args"] = rule["args"]
        values = [(rule["first_below"], "LT")] if rule.get("first_below") is not None else []
        values += [(value, "EQ") for value in rule.get("first_in", [])]
        values += [(rule["first_above"], "GT")] if rule.get("first_above") is not None else []
        calls += [dict(call, args=[{"index": 0, "value": v, "op": f"SCMP_CMP_{op}"}]) for v, op in values] or [call]
    return {"defaultAction": table["default_action"], "defaultErrnoRet": table["default_errno"],
            "architectures": table["architectures"]["x86_64"], "syscalls": calls}


def specification(seccomp):
    def mount(at, kind, source, *options):
        return {"destination": at, "type": kind, "source": source, "options": list(options)}

    caps = {name: DEFAULT for name in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.0.2",
        "process": {"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "capabilities": caps, "oomScoreAdj": 0},
        "root": {"path": "rootfs"},
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev"),
            mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("mount", "network", "uts", "pid", "ipc")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}], "memory": {"limit": 256 << 20}, "pids": {"limit": 100}},
            "seccomp": seccomp,
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def call(command):
    # A file, not a pipe: the container's first process keeps it open.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        if done.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(map(str, command))}: {done.returncode}: {said.read().decode(errors='replace')}")


def wait_end(pid):
    """Readable when the process is dead, whoever reaps it."""
    import select
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([fd], [], [], 10)
    os.close(fd)


def one(program, root, bundle, name):
    """Seconds of create, start and delete, and CPU seconds of all three."""
    head = [program, "--root", root]
    pid_file = bundle / "pid"
    times = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for verb in ("create", "start", "delete"):
        options = ["--bundle", bundle, "--pid-file", pid_file] if verb == "create" else []
        begun = time.monotonic()
        call([*head, verb, *options, name])
        times.append(time.monotonic() - begun)
        if verb == "create":
            pid = int(pid_file.read_text())
        if verb == "start":
            wait_end(pid)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default="target/fast", help="folder of taffrail-runtime")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("needs root: it runs containers")
    programs = {"taffrail-runtime": Path(options.bin).resolve() / "taffrail-runtime"}
    programs |= {name: path for name in ("crun", "runc") if (path := shutil.which(name))}
    own_mounts()
    # First processes of containers, whose parents are gone, are reaped here.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    repository = Path(__file__).resolve().parents[2]
    results = {name: {"create": [], "start": [], "delete": [], "total": [], "cpu": []} for name in programs}
    with tempfile.TemporaryDirectory(prefix="tf-rt-", dir="/run") as folder:
        folder = Path(folder)
        seccomp = profile(repository / "src")
        for name in programs:
            bundle = folder / name
            (bundle / "rootfs/bin").mkdir(parents=True)
            for below in ("proc", "sys", "dev"):
                (bundle / "rootfs" / below).mkdir()
            shutil.copy(shutil.which("busybox"), bundle / "rootfs/bin/true")
            spec = specification(seccomp)
            spec["linux"]["cgroupsPath"] = f"/taffrail-bench-{name}"
            (bundle / "config.json").write_text(json.dumps(spec))
        for number in range(options.rounds + 2):
            for name, program in programs.items():
                (create, start, delete), cpu = one(program, folder / f"{name}.root", folder / name, f"bench-{os.getpid()}-{number}")
                while True:
                    try:
                        if os.waitpid(-1, os.WNOHANG)[0] == 0:
                            break
                    except ChildProcessError:
                        break
                # The first rounds fill caches.
                if number < 2:
                    continue
                for key, value in (("create", create), ("start", start), ("delete", delete), ("total", create + start + delete), ("cpu", cpu)):
                    results[name][key].append(value * 1000)
    base = results.get("crun", results["taffrail-runtime"])
    rows = {}
    for name, values in results.items():
        ratios = [a / b for a, b in zip(values["total"], base["total"])]
        rows[name] = {key: statistics.median(v) for key, v in values.items()} | {"min": min(values["total"]), "ratio": statistics.median(ratios)}
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{options.rounds} rounds, medians in ms; ratio: median of total / crun's of the same round")
    print(f"{'':18}" + "".join(f"{key:>9}" for key in ("create", "start", "delete", "total", "min", "cpu", "ratio")))
    for name, row in rows.items():
        print(f"{name:18}" + "".join(f"{row[key]:9.2f}" for key in ("create", "start", "delete", "total", "min", "cpu", "ratio")))


if __name__ == "__main__":
    main()

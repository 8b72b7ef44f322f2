"""Runs containers with each log driver and compares what receivers get with what Docker Engine sends.

    delivery --bin target/fast                  the cases beside this program
    delivery --bin DIR --cases DIR              others of the same layout: [DRIVER/]CASE/{command.txt,received.txt}
    delivery --bin DIR --only 'syslog-*'        some; may be repeated
    delivery --bin DIR --show --only NAME       prints all that arrived
    delivery --dockerd --write --only NAME      writes what Docker Engine sends to received.txt, for a new case

{ADDR} in a command is the receiver's address, {CA} the file of the authority that signed its certificate.
The cases were recorded so from Docker Engine 20.10, but for journald, whose socket Docker cannot be told.
Exit status 1 if a case is different; differences that are meant are in compare.py with their reasons.
"""

import argparse
import concurrent.futures
import difflib
import fnmatch
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

import compare
import recorders

HERE = pathlib.Path(__file__).resolve().parent
QUIET = 3.0  # seconds without a byte, after which no more is awaited
LIMIT = 20.0  # seconds that a case may take to deliver


class Case:
    def __init__(self, folder):
        self.folder, self.name = folder, folder.name
        self.command = (folder / "command.txt").read_text()
        received = folder / "received.txt"
        self.expected = compare.sections(received.read_text()) if received.exists() else {}
        self.arguments = shlex.split(self.command.replace("\\\n", " "))
        self.driver = self.option("--log-driver") or "json-file"

    def option(self, name):
        return next((b for a, b in zip(self.arguments, self.arguments[1:]) if a == name), None)

    def transport(self):
        """By a word of the name, else by what is expected, else by the driver."""
        for word in ("unixgram", "unix", "tls", "https", "tcp", "udp"):
            if word in self.name.split("-"):
                return word
        if "syslog-tls-" in self.command or "splunk-url=https:" in self.command:
            return "tls"
        wire = self.expected.get("wire", [""])
        if self.driver == "syslog":
            return "tcp" if wire[:1] and wire[0].startswith("connection") else "udp"
        return "tcp" if "tcp://" in self.command else "unix" if "unix://" in self.command else "udp"


def root_tar():
    """A static busybox with its applets."""
    busybox = next(p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p))
    applets = subprocess.run([busybox, "--list"], capture_output=True, check=True, text=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        info = tarfile.TarInfo("bin/busybox")
        info.mode, info.size = 0o755, os.path.getsize(busybox)
        tar.addfile(info, open(busybox, "rb"))
        for applet in applets:
            if applet != "busybox":
                info = tarfile.TarInfo("bin/" + applet)
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
    return out.getvalue()


class Engine:
    """A private daemon on temporary roots."""

    def __init__(self, binaries, root):
        self.root, self.socket = root, str(root / "s")
        (root / "home").mkdir()
        (root / "config.json").write_text('{"bridge": "none"}')
        self.log = open(root / "log", "wb")
        command = [str(binaries.resolve() / "taffrail"), "daemon"] if binaries else ["dockerd", "--iptables=false"]
        command += ["--config-file", str(root / "config.json"), "--data-root", str(root / "data"), "--exec-root", str(root / "exec"),
                    "--host", "unix://" + self.socket, "--pidfile", str(root / "pid")]
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for _ in range(600):
            if self.docker("version")[0] == 0:
                break
            if self.child.poll() is not None:
                break
            time.sleep(0.1)
        else:
            raise TimeoutError("the daemon does not answer")
        code, _, error = self.docker("import", "-", "bb:latest", given=root_tar())
        if code:
            raise RuntimeError(f"no image: {error.decode()}\n{(root / 'log').read_text()[-2000:]}")
        self.image = self.docker("inspect", "--format", "{{.Id}}", "bb:latest")[1].decode().strip()

    def docker(self, *arguments, given=None):
        environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": "unix://" + self.socket, "HOME": str(self.root / "home"),
                       "DOCKER_CONFIG": str(self.root / "home"), "DOCKER_CLI_HINTS": "false", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(["docker", *arguments], input=given, stdin=None if given else subprocess.DEVNULL, capture_output=True,
                              env=environment, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def processes(self):
        """Ids of the processes that name the root: the daemon and what it started."""
        found = set()
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().decode("utf-8", "replace") + os.readlink(folder / "exe") + os.readlink(folder / "cwd")
            except OSError:
                continue
            if str(self.root) in words and int(folder.name) != os.getpid():
                found.add(int(folder.name))
        return found

    def close(self):
        containers = self.docker("ps", "-aq")[1].decode().split() if self.child.poll() is None else []
        if containers:
            self.docker("rm", "-f", *containers)
        self.child.terminate()
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()
        end = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.1)
        for pid in left:
            print(f"left behind: process {pid}, ended", file=sys.stderr)
            os.kill(pid, signal.SIGKILL)
        mounts = [line.split()[4] for line in open("/proc/self/mountinfo") if str(self.root) in line]
        for mount in sorted(mounts, reverse=True):
            print(f"left behind: mount {mount}, removed", file=sys.stderr)
            subprocess.run(["umount", "-l", mount], capture_output=True)
        return not left and not mounts


class Exam:
    def __init__(self, engine, root):
        self.engine, self.root = engine, root
        self.authority = recorders.Authority(root / "tls")
        self.journald = recorders.Journald(root / "journal")
        self.host = socket.gethostname()

    def recorder(self, case):
        """The receiver and what stands for {ADDR}."""
        kind, tls = case.transport(), None
        path = str(self.root / f"{case.name[-40:]}.sock") if kind.startswith("unix") else None
        if kind in ("tls", "https"):
            tls = self.authority.context
        if case.driver == "syslog":
            made = (recorders.SyslogDatagrams if kind in ("udp", "unixgram") else recorders.SyslogStreams)
            made = made(path) if kind in ("udp", "unixgram") else made(path, tls)
            return made, {"tls": "tcp+tls"}.get(kind, kind) + "://" + made.address
        if case.driver == "fluentd":
            made = recorders.Fluentd(path, tls)
        elif case.driver == "gelf":
            made = recorders.GelfStreams() if kind == "tcp" else recorders.GelfDatagrams()
        elif case.driver == "splunk":
            made = recorders.Splunk(tls)
        elif case.driver == "journald":
            self.journald.ensure()
            made = self.journald
        else:
            return None, ""
        return made, made.address

    def run(self, case):
        recorder, address = self.recorder(case)
        names = compare.Names(self.engine.image, self.host, lambda: self.pids)
        self.pids = {self.engine.child.pid}
        found = {}
        try:
            self.steps(case, recorder, address, names, found)
        finally:
            if names.id:
                self.engine.docker("rm", "-f", names.id)
            if recorder and recorder is not self.journald:
                recorder.close()
        return found

    def steps(self, case, recorder, address, names, found):
        words = shlex.split(case.command.replace("\\\n", " ").replace("{ADDR}", address).replace("{CA}", self.authority.ca))
        words = [word for word in words[2:] if word != "-d"]
        if case.driver == "journald":
            at = words.index("journald") + 1
            words[at:at] = ["--log-opt", "journald-socket=" + self.journald.address]
        outcome = found["outcome"] = []
        code, out, error = self.engine.docker("create", *words)
        if code:
            outcome.append(f"create: error rc={code}")
            found["message"] = ["create: " + compare.escaped(re.sub(rb"127.0.0.1:\d+", b"127.0.0.1:<PORT>", error.strip()))]
            return
        outcome.append("create: ok")
        names.id = out.decode().strip()
        code, _, error = self.engine.docker("start", names.id)
        if code:
            outcome.append(f"start: error rc={code}")
            found["message"] = ["start: " + names.text(error.strip())]
            return
        outcome.append("start: ok")
        outcome.append("exit: " + self.engine.docker("wait", names.id)[1].decode().strip())
        self.await_records(case, recorder, names, found)
        if case.driver == "json-file":
            found["wire"] = self.json_file(names)
        for name in [name for name in case.expected if name.startswith("logs")]:
            arguments = shlex.split(name[4:].rpartition(" -> ")[0])
            code, out, error = self.engine.docker("logs", *arguments, names.id)
            lines = [] if code else [f"{stream}|{names.log(line)}" for stream, data in (("out", out), ("err", error)) for line in re.findall(rb"[^\n]*\n|[^\n]+", data)]
            if case.expected[name] and case.expected[name][0].startswith("lines="):
                numbers = re.findall(r"L(\d+) ", "\n".join(lines))
                lines = [f"lines={len(lines)} first={numbers[0]} last={numbers[-1]}"]
            found[f"{name.rpartition(' -> ')[0]} -> rc={code}"] = lines
            if code:
                found["message"] = ["logs : " + compare.escaped(error.strip())]

    def await_records(self, case, recorder, names, found):
        """Waits until all that is expected came, or nothing more comes; then once more for what comes too often."""
        if not recorder:
            return
        begin = time.monotonic()
        while True:
            if recorder is not self.journald:
                with recorder.lock:
                    rendered = recorder.render(names)
            else:
                rendered = recorder.render(names)
            now = time.monotonic()
            complete = all(compare.fold(key, rendered.get(key, [])) == compare.fold(key, lines)
                           for key, lines in case.expected.items() if key in ("wire", "decoded"))
            if complete and now - begin > 0.3 or now - max(begin, recorder.last) > QUIET or now - begin > LIMIT:
                break
            time.sleep(0.15)
        if complete:
            time.sleep(0.3)
            rendered = recorder.render(names)
        found.update({key: lines for key, lines in rendered.items() if lines})

    def json_file(self, names):
        """Docker's file; of a rotated one what holds for all its files."""
        folder = self.engine.root / "data/containers" / names.id
        files = sorted(path for path in folder.iterdir() if "-json.log" in path.name)
        wire = [f"log file name: {names.text(files[0].name)}", "files: " + " ".join(names.text(path.name) for path in files)]
        if len(files) == 1:
            field = (r'("time": ?)(\d{10}\.\d+)', r"\1\2")
            return wire + ["|" + names.json(line, field) for line in files[0].read_bytes().splitlines(keepends=True)]
        limit = json.loads(self.engine.docker("inspect", "--format", "{{json .HostConfig.LogConfig.Config}}", names.id)[1])["max-size"]
        number, power = int(limit.rstrip("kmgb")), " kmg".index(limit[-1]) if limit[-1] in "kmg" else 0
        lines = [line for path in reversed(files) for line in path.read_bytes().splitlines()]
        numbers = [int(number) for line in lines for number in re.findall(rb'"log":"L(\d+)', line)]
        sizes = [path.stat().st_size for path in files]
        return wire + [
            f"contiguous: {numbers == list(range(numbers[0], numbers[-1] + 1))}; last: {numbers[-1]}",
            f"each file <= max-size(1024-based) + one line: {max(sizes) <= number * 1024**power + max(map(len, lines)) + 1}; "
            f"rotated files >= max-size: {min(sizes[1:]) >= number * 1000**power}"]


def verdict(case, found):
    """`same`, `known` with its reason, or `DIFFERENT` with a difference."""
    if not case.expected.get("outcome"):
        return "DIFFERENT", "      nothing is expected yet"
    names = [*case.expected, *(name for name in found if name not in case.expected)]
    if all(compare.fold(n, case.expected.get(n, [])) == compare.fold(n, found.get(n, [])) and (n in found) == (n in case.expected) for n in names):
        return "same", ""
    for pattern, explains, reason in compare.KNOWN:
        if fnmatch.fnmatch(case.driver, pattern) and explains(case, case.expected, found):
            return "known", reason
    lines = []
    for name in names:
        theirs, ours = (compare.fold(name, part.get(name, [])) for part in (case.expected, found))
        if theirs != ours or (name in found) != (name in case.expected):
            lines.append(f"== {name}")
            lines += [line[:400] for line in difflib.unified_diff(theirs, ours, n=1, lineterm="") if not line.startswith(("---", "+++", "@@"))][:24]
    return "DIFFERENT", "\n".join("      " + line for line in lines)


def main():
    parser = argparse.ArgumentParser(prog="delivery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    engine = parser.add_mutually_exclusive_group(required=True)
    engine.add_argument("--bin", type=pathlib.Path)
    engine.add_argument("--dockerd", action="store_true", help="a private Docker Engine in place of Taffrail")
    parser.add_argument("--cases", type=pathlib.Path, default=HERE / "cases")
    parser.add_argument("--only", action="append", metavar="GLOB")
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if os.geteuid():
        sys.exit("delivery needs root: it runs containers")
    cases = [Case(path.parent) for path in sorted(options.cases.rglob("command.txt"))]
    if options.only:
        cases = [case for case in cases if any(fnmatch.fnmatch(case.name, glob) for glob in options.only)]
    if not cases:
        sys.exit("no case of this name")
    root = pathlib.Path(tempfile.mkdtemp(prefix="delivery-"))
    counts, engine, exam, clean = {}, None, None, True
    pool = concurrent.futures.ThreadPoolExecutor(options.jobs)
    try:
        engine = Engine(options.bin, root)
        exam = Exam(engine, root)
        for case, future in [(case, pool.submit(exam.run, case)) for case in cases]:
            try:
                found = future.result()
                kind, more = verdict(case, found)
            except Exception as error:  # a case that cannot be run is a difference
                found, kind, more = {}, "DIFFERENT", f"      {type(error).__name__}: {error}"
            counts.setdefault(case.driver, {}).setdefault(kind, []).append(case.name)
            print(f"{kind:10}{case.name}{': ' + more if kind == 'known' else ''}")
            if kind == "DIFFERENT" and not options.write:
                print(more)
            text = "".join(f"== {name}\n" + "".join(line + "\n" for line in lines) for name, lines in found.items())
            if options.show:
                print(text)
            if options.write and found:
                (case.folder / "received.txt").write_text(text)
            sys.stdout.flush()
    finally:
        pool.shutdown(cancel_futures=True)
        if engine:
            clean = engine.close()
        if exam:
            exam.journald.close()
        if options.keep:
            print(f"kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    print()
    for driver, kinds in sorted(counts.items()):
        print(f"{driver:12}" + "  ".join(f"{len(kinds.get(kind, [])):3} {kind}" for kind in ("same", "known", "DIFFERENT")))
    different = any("DIFFERENT" in kinds for kinds in counts.values())
    return 1 if different or not clean else 0


if __name__ == "__main__":
    sys.exit(main())

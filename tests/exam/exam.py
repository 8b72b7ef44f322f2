#!/usr/bin/env python3
"""Runs the docker CLI against two engines and compares what it shows.

    exam.py --bin target/debug                  both engines, all cases
    exam.py --bin target/debug ps 'logs tail'   cases whose file or name has one of these words
    exam.py --bin target/debug --own-client     Taffrail's command line in place of docker's, on Taffrail
    exam.py --bin target/debug --alone          no dockerd: shows what Taffrail answers

A file in cases/ has cases: `== name`, then commands, one a line, each run by bash. Of each command stdout,
stderr and exit status are compared after ids, times, sizes and generated names were replaced. known.txt
has the differences that are meant, each with its reason.
"""

import argparse
import concurrent.futures
import difflib
import http.client
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
DEADLINE = 30


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def root_tar():
    """A static busybox with its applets."""
    busybox = next(p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p))
    applets = subprocess.run([busybox, "--list"], capture_output=True, check=True, text=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(name, kind, data=b"", mode=0o755, link=""):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname = kind, mode, len(data), link
            tar.addfile(info, io.BytesIO(data))

        for folder in ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp"):
            add(folder, tarfile.DIRTYPE, mode=0o1777 if folder == "tmp" else 0o755)
        add("bin/busybox", tarfile.REGTYPE, pathlib.Path(busybox).read_bytes())
        for applet in applets:
            if applet != "busybox":
                add("bin/" + applet, tarfile.SYMTYPE, link="busybox")
        add("etc/passwd", tarfile.REGTYPE, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n", 0o644)
        add("etc/group", tarfile.REGTYPE, b"root:x:0:\nnogroup:x:65534:\n", 0o644)
        add("etc/data", tarfile.REGTYPE, b"not a program\n", 0o644)
    return out.getvalue()


# The images that every case finds.
IMAGES = {
    "busybox:latest": ['CMD ["sh"]'],
    "entry:1": ['ENTRYPOINT ["echo","entry"]', 'CMD ["default"]'],
    "full:1": [
        'CMD ["sh","-c","echo $WHO in $(pwd) as $(id -u)"]',
        "ENV WHO=image",
        "WORKDIR /tmp",
        "USER nobody",
        "LABEL kind=full",
        "EXPOSE 80/tcp",
    ],
    "bare:1": [],
}


class Engine:
    def __init__(self, name, binaries, own_client=False):
        self.name = name
        self.own_client = own_client
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="exam-"))
        self.socket = str(self.root / "s")
        # Neither has a bridge: Taffrail warns of it else.
        (self.root / "config.json").write_text("{}" if name == "dockerd" else '{"bridge": "none"}')
        (self.root / "home").mkdir()
        (self.root / "bin").mkdir()
        if own_client:
            (self.root / "bin/docker").write_text(f'#!/bin/sh\nexec {binaries.resolve()}/taffrail "$@"\n')
            (self.root / "bin/docker").chmod(0o755)
        if name == "dockerd":
            command = ["dockerd", "--bridge", "none", "--iptables=false"]
        else:
            command = [str(binaries / "taffrail"), "daemon"]
        command += ["--config-file", str(self.root / "config.json"), "--data-root", str(self.root / "data"),
                    "--exec-root", str(self.root / "exec"), "--host", "unix://" + self.socket,
                    "--pidfile", str(self.root / "pid")]
        self.log = open(self.root / "log", "wb")
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 60
        while True:
            try:
                if self.api("GET", "/_ping")[0] == 200:
                    break
            except OSError:
                pass
            if time.monotonic() > end or self.child.poll() is not None:
                sys.exit(f"{name} does not answer:\n{(self.root / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        self.archive = root_tar()
        self.images = {}
        for image, changes in IMAGES.items():
            self.import_image(image, changes)
        self.images = self.image_names()

    def import_image(self, image, changes):
        flags = [part for change in changes for part in ("--change", change)]
        subprocess.run(["docker", "import", *flags, "-", image], input=self.archive, env=self.environment(),
                       check=True, capture_output=True)

    def environment(self):
        kept = {"PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        return {**kept, "DOCKER_HOST": "unix://" + self.socket, "DOCKER_CONFIG": str(self.root / "home"),
                "HOME": str(self.root / "home"), "DOCKER_CLI_HINTS": "false", "LC_ALL": "C.UTF-8", "TERM": "xterm",
                "TZ": "UTC", "EXAM": str(HERE / "exam.py"), "ENGINE": self.name, "SOCKET": self.socket}

    def api(self, method, path, body=None):
        connection = Connection(self.socket)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def image_names(self):
        images = json.loads(self.api("GET", "/images/json?all=1")[1])
        return {tag: image["Id"] for image in images for tag in image["RepoTags"] or ["<none>:<none>"]}

    def reset(self):
        for container in json.loads(self.api("GET", "/containers/json?all=1")[1]):
            self.api("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        if self.image_names() == self.images:
            return
        for name, image in self.image_names().items():
            if self.images.get(name) != image:
                self.api("DELETE", "/images/" + (image if name == "<none>:<none>" else name) + "?force=1")
        for image, changes in IMAGES.items():
            if image not in self.image_names():
                self.import_image(image, changes)
        self.images = self.image_names()

    def run(self, case):
        """Each command with its lines."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.root))
        result = []
        for command in case.commands:
            script = f'cd {folder}; . {HERE}/helpers.sh; {command}'
            child = subprocess.Popen(["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, env=self.environment(), start_new_session=True)
            try:
                out, err = child.communicate(timeout=DEADLINE)
                code = child.returncode
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                out, err = child.communicate()
                code = "none: no end in time"
            lines = out.decode("utf-8", "backslashreplace").splitlines()
            lines += ["2> " + line for line in err.decode("utf-8", "backslashreplace").splitlines()]
            if code:
                lines.append(f"exit {code}")
            result.append((command, lines))
        shutil.rmtree(folder, ignore_errors=True)
        self.reset()
        return result

    def close(self):
        self.reset()
        self.child.terminate()
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
        self.log.close()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            mounts = [line.split()[4] for line in open("/proc/self/mountinfo") if str(self.root) in line]
            for mount in sorted(mounts, reverse=True):
                subprocess.run(["umount", "-l", mount], capture_output=True)
            try:
                shutil.rmtree(self.root)
                return
            except OSError:
                time.sleep(0.2)


class Case:
    def __init__(self, file, name):
        self.file, self.name, self.commands = file, name, []

    def __str__(self):
        return f"{self.file}: {self.name}"


def read_cases():
    cases = []
    for path in sorted((HERE / "cases").glob("*.txt")):
        case, pending = None, ""
        for line in path.read_text().splitlines():
            if line.startswith("== "):
                case = Case(path.stem, line[3:].strip())
                cases.append(case)
            elif line.strip() and not line.startswith("#"):
                pending += line
                if pending.endswith("\\"):
                    pending = pending[:-1]
                    continue
                case.commands.append(pending)
                pending = ""
    names = [str(case) for case in cases]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        sys.exit(f"two cases of one name: {', '.join(sorted(twice))}")
    return cases


class Known:
    def __init__(self, why):
        self.why, self.case, self.lines, self.replace, self.used = why, None, [], [], 0


def read_known():
    """Blocks of `why:`, perhaps `case:`, and what differs.

    `-` and `+` lines as the difference has them (`~-`, `~+`: a pattern); `s/PATTERN/TEXT/` (or with `|`)
    replaces in what dockerd shows.
    """
    blocks = []
    for line in (HERE / "known.txt").read_text().splitlines():
        if line.startswith("why: "):
            blocks.append(Known(line[5:]))
        elif line.startswith("case: "):
            blocks[-1].case = line[6:]
        elif line[:2] in ("s/", "s|"):
            _, pattern, text, _ = line.split(line[1])
            blocks[-1].replace.append((re.compile(pattern), text))
        elif line[:1] in ("-", "+", "~"):
            blocks[-1].lines.append(line)
    return blocks


TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?(?:Z|[+-]\d\d:?\d\d))?(?: UTC)?"
DURATION = r"(?:Less than a second|\d+ seconds?|About a minute|\d+ minutes?)"


class Normaliser:
    """Replaces what differs from run to run; the same id gets the same number within a case."""

    def __init__(self, engine):
        self.ids = {}
        self.engine = engine

    def number(self, match):
        text = match.group(0)
        key = text[:12]
        self.ids.setdefault(key, len(self.ids) + 1)
        return f"<id{'' if len(text) > 12 else '12'}>"

    def __call__(self, line):
        line = line.replace(str(self.engine.root), "<root>")
        # A shell asks for the cursor's place only where nothing was typed ahead.
        line = line.replace("\x1b[6n", "")
        if self.engine.own_client:
            line = line.replace("taffrail", "docker").replace("Taffrail", "Docker")
        line = re.sub(r"\b[0-9a-f]{64}\b", self.number, line)
        line = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12}\b", self.number, line)
        line = re.sub(TIME, "<time>", line)
        line = re.sub(r"\b" + DURATION + r" ago", "<duration> ago", line)
        line = re.sub(r"Up " + DURATION, "Up <duration>", line)
        line = re.sub(r"\b\d+(?:\.\d+)?(?:B|kB|MB|GB)\b", "<size>", line)
        line = re.sub(r'(execDuration"?[=:]"?)\d+', r"\g<1>0", line)
        # What Taffrail adds to the events of an end (docs/last-words.md).
        line = re.sub(r'"exitCause":"[^"]*",|exitCause=[^,)]*, ', "", line)
        line = re.sub(r',"runNumber":"\d+"|, runNumber=\d+', "", line)
        line = re.sub(r"(?<=name=)[a-z]+_[a-z]+\d?", "<name>", line)
        line = re.sub(r"^[a-z]+_[a-z]+\d?$", "<name>", line)
        line = re.sub(r"(<size>|\)|\"|  )\s*[a-z]+_[a-z]+\d?$", r"\1  <name>", line)
        # Column widths follow from the widest value.
        line = re.sub(r" {2,}", "  ", line.rstrip())
        return line


def difference(theirs, ours):
    """Lines of one command that differ, `-` dockerd's, `+` Taffrail's."""
    matcher = difflib.SequenceMatcher(None, [folded(line) for line in theirs], [folded(line) for line in ours], False)
    lines = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            lines += ["-" + line for line in theirs[a:b]] + ["+" + line for line in ours[c:d]]
    return lines


def folded(line):
    """Messages are compared without regard to case: Moby changes it release by release."""
    return line.lower() if re.match('2> |{"message":', line) else line


def replaced(lines, known):
    result = []
    for line in lines:
        for block in known:
            for pattern, text in block.replace:
                line, count = pattern.subn(text, line)
                block.used += count
        result.append(line)
    return result


def is_known(case, lines, known):
    """Whether blocks of known.txt explain all lines."""
    left = list(lines)
    for block in known:
        if not block.lines or (block.case and block.case not in str(case)):
            continue
        taken = []
        rest = list(left)
        while True:
            found = []
            for wanted in block.lines:
                for line in rest:
                    same = re.fullmatch(wanted[2:], line[1:]) and line[0] == wanted[1] if wanted[0] == "~" else line == wanted
                    if same:
                        found.append(line)
                        rest.remove(line)
                        break
                else:
                    break
            if len(found) != len(block.lines):
                break
            for line in found:
                left.remove(line)
            taken += found
            rest = list(left)
        block.used += len(taken)
        if not left:
            return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("target/fast"))
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--own-client", action="store_true")
    parser.add_argument("--show", action="store_true", help="print what every command showed")
    parser.add_argument("--jobs", type=int, default=1, help="pairs of daemons")
    args = parser.parse_args()
    cases = [case for case in read_cases() if not args.words or any(word in str(case) for word in args.words)]
    known = read_known()
    todo = iter(cases)
    lock = threading.Lock()
    counts = {"same": 0, "known": 0, "different": 0}
    bad = []

    def work(_):
        names = ["taffrail"] if args.alone else ["taffrail", "dockerd"]
        engines = [Engine(name, args.bin, args.own_client and name == "taffrail") for name in names]
        try:
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                while True:
                    with lock:
                        case = next(todo, None)
                    if case is None:
                        return
                    results = list(pool.map(lambda engine: engine.run(case), engines))
                    with lock:
                        judge(case, engines, results)
        finally:
            for engine in engines:
                engine.close()

    def judge(case, engines, results):
        shown = []
        worst = "same"
        sides = []
        for engine, result in zip(engines, results):
            normal = Normaliser(engine)
            sides.append([[normal(line) for line in lines] for _, lines in result])
        if args.alone:
            print(f"== {case}")
            for (command, lines) in results[0]:
                print(f"$ {command}", *lines, sep="\n")
            return
        for index, command in enumerate(case.commands):
            lines = difference(replaced(sides[1][index], known), sides[0][index])
            if args.show:
                shown += [f"$ {command}", *(" " + line for line in results[1][index][1])]
            if not lines:
                continue
            if is_known(case, lines, known):
                worst = "known" if worst == "same" else worst
            else:
                worst = "different"
                shown += ([] if args.show else [f"$ {command}"]) + lines
        counts[worst] += 1
        if worst == "different":
            bad.append(str(case))
        if shown:
            print(f"== {case}", *shown, "", sep="\n", flush=True)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(work, range(args.jobs)))
    if args.alone:
        return 0
    print(f"{len(cases)} cases: {counts['same']} the same, {counts['known']} known differences, {counts['different']} different")
    for case in bad:
        print(f"  different: {case}")
    if not args.words:
        for block in known:
            if not block.used:
                print(f"  known.txt: not seen any more: {block.why}")
    return 1 if bad else 0


def terminal():
    """`exam.py tty TEXT=KEYS... -- command`: runs it on a terminal; after TEXT was shown, KEYS are typed."""
    import pty
    import select
    split = sys.argv.index("--")
    steps = [step.split("=", 1) for step in sys.argv[2:split]]
    pid, master = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[split + 1], sys.argv[split + 1:])
    seen, pending = b"", b""
    while True:
        if steps and steps[0][0].encode() in pending:
            pending = b""
            os.write(master, steps.pop(0)[1].encode().decode("unicode_escape").encode("latin1"))
        if not select.select([master], [], [], DEADLINE - 5)[0]:
            os.kill(pid, signal.SIGKILL)
            print("no end in time")
            break
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
        pending += data
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.stdout.write(seen.decode("utf-8", "backslashreplace").replace("\r", "\\r"))
    return status


if __name__ == "__main__":
    sys.exit(terminal() if sys.argv[1:2] == ["tty"] else main())

#!/usr/bin/env python3
"""The OCI runtime validation suites on two runtimes, case by case: what the first passes, the second is expected to pass.

    oci_validation.py [--tools DIR] [--contest DIR] [--runtimes runc target/fast/taffrail-runtime] [CASE ...]

As root. DIR of --tools is a checkout of opencontainers/runtime-tools with `runtimetest` and the `*.t` of `validation/` built; DIR of --contest holds youki's `contest`,
`runtimetest` (both static) and `bundle.tar.gz`. Neither is part of this repository. Prints a line for each case that differs, or all with --all; exits 1 if the second
runtime fails what the first passes. Standard library only.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 120  # seconds a case may take


def run(command, folder, environment):
    """Everything it says; None if it does not end. It leads a group of its own, so that what it leaves goes with it."""
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        try:
            code = child.wait(LIMIT)
        except subprocess.TimeoutExpired:
            code = None
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        said.seek(0)
        return code, said.read().decode(errors="replace")


def tools(folder, runtime, wanted):
    """runtime-tools: one program a case, TAP on its standard output."""
    for program in sorted(folder.glob("validation/*/*.t")):
        name = program.stem
        if wanted and name not in wanted:
            continue
        code, text = run([program], folder, dict(os.environ, RUNTIME=runtime))
        # Inside a container's output that is quoted, lines are indented.
        points = re.findall(r"^(not ok|ok)\b[ \d]*-?(.*)$", text, re.M)
        # A test point of its own: "# TODO" failures are allowed by TAP.
        bad = [p for p in points if p[0] == "not ok" and "# TODO" not in p[1]]
        skipped = points and all("# SKIP" in p[1].upper() for p in points)
        if code is None:
            verdict = "hangs"
        elif skipped and code == 0:
            verdict = "skipped"
        elif code == 0 and not bad:
            verdict = "passes"
        else:
            verdict = "fails"
        yield name, verdict, text, {p[1].strip() for p in points if p[0] == "ok"}


def contest(folder, runtime, wanted):
    """youki's contest: groups of cases, `1 / 3 : name : ok` a case."""
    listed = run([folder / "contest", "list"], folder, os.environ)[1].split("\n")
    groups = [g.strip() for g in listed if re.fullmatch(r"[\w]+", g.strip())]
    wanted = {case.split("::")[0] for case in wanted}
    for group in groups:
        if wanted and group not in wanted:
            continue
        command = [folder / "contest", "run", "--runtime", runtime, "--runtimetest", folder / "runtimetest", "-t", group]
        kind = "runc" if Path(runtime).name == "runc" else "youki"
        code, text = run(command, folder, dict(os.environ, RUNTIME_KIND=os.environ.get("RUNTIME_KIND", kind)))
        found = list(re.finditer(r"^\d+ / \d+ : (\S+) : (ok|not ok|skipped)(.*(?:\n\t.*)*)", text, re.M))
        if code is None or not found:
            yield group, "hangs" if code is None else "fails", text, set()
        for case in found:
            yield f"{group}::{case[1]}", {"ok": "passes", "not ok": "fails", "skipped": "skipped"}[case[2]], case[3].strip() or text, set()


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--tools", type=Path)
    options.add_argument("--contest", type=Path)
    options.add_argument("--runtimes", nargs=2, default=["runc", "target/fast/taffrail-runtime"], metavar=("FIRST", "SECOND"))
    options.add_argument("--logs", type=Path, help="folder for what each case says")
    options.add_argument("--tries", type=int, default=3, help="runs until a case passes")
    options.add_argument("--all", action="store_true", help="print each case, not only those that differ")
    options.add_argument("cases", nargs="*")
    options = options.parse_args()
    runtimes = [shutil.which(r) or sys.exit(f"{r}: no such program; name it by --runtimes") for r in options.runtimes]
    runtimes = [os.path.abspath(r) for r in runtimes]
    suites = [(name, suite, folder.resolve()) for name, suite, folder in (("runtime-tools", tools, options.tools), ("contest", contest, options.contest)) if folder]
    if not suites:
        sys.exit("neither --tools nor --contest is given")
    lost = 0
    for name, suite, folder in suites:
        verdicts = []
        for runtime in runtimes:
            results = {}
            rounds = iter(range(options.tries))
            cases = options.cases
            # Some cases race with the container's own program: what fails is run again.
            while next(rounds, None) is not None and (cases or not results):
                for case, verdict, text, points in suite(folder, runtime, cases):
                    if results.get(case, ("",))[0] == "passes":
                        continue
                    results[case] = verdict, points
                    if options.logs:
                        file = options.logs / name / Path(runtime).name / f"{case}.log"
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_text(text)
                cases = [c for c, v in results.items() if v[0] in ("fails", "hangs")]
            verdicts.append(results)
        first, second = verdicts
        for case in sorted(first.keys() | second.keys()):
            (a, good), (b, also) = (results.get(case, ("not run", set())) for results in verdicts)
            # A case that neither passes has points of its own.
            fewer = sorted(good - also) if a == b == "fails" else []
            if options.all or a != b or fewer:
                print(f"{name:14} {case:60} {a:8} {b:8}")
            for point in fewer:
                print(f"{'':14}   only the first: {point}")
        passes = [c for c, v in first.items() if v[0] == "passes"]
        also = [c for c in passes if second.get(c, ("",))[0] == "passes"]
        lost += len(passes) - len(also)
        print(f"{name}: {len(first)} cases, {Path(runtimes[0]).name} passes {len(passes)}, {Path(runtimes[1]).name} {len(also)} of these", flush=True)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()

"""The table, and what in it is a failure of Taffrail. Standard library only."""

import os
import platform

from fault_matrix import DRIVERS, FAULTS

# Seconds by which a call's time varies on a busy machine.
NOISE = 0.3


def failures(cells):
    """What must not be: see `faults`."""
    found = []
    drivers, faults = {d.name: d for d in DRIVERS}, {f.name: f for f in FAULTS}
    for cell in cells:
        if cell["engine"] != "taffrail":
            continue
        name = f"{cell['driver']} / {cell['fault']}"
        if cell.get("error"):
            found.append(f"{name}: {cell['error']}")
        elif cell["fault"] == "left behind":
            found += [f"{cell['driver']}: left behind: {left}" for left in cell["left"]]
        elif cell.get("refused"):
            if "unknown log driver" not in cell["refused"]:
                found.append(f"{name}: not started: {cell['refused']}")
        else:
            driver, fault = drivers[cell["driver"]], faults[cell["fault"]]
            if cell["lost"] and (driver.acknowledged or not fault.may_lose):
                found.append(f"{name}: {cell['lost']} lost and not counted")
            if driver.acknowledged and not fault.overflows and cell["counted"] > (1 if fault.name == "400" else 0):
                found.append(f"{name}: {cell['counted']} given up")
            if cell["pending"]:
                found.append(f"{name}: {cell['pending']} still wait at the deadline")
            if not cell["ended"]:
                found.append(f"{name}: the application has not ended")
            if cell.get("failed calls"):
                found.append(f"{name}: failed: {cell['failed calls']}")
            if cell.get("breaches"):
                found.append(f"{name}: {cell['breaches'][0]}")
    return found


def ratio(value, base):
    return f"{value / base:.1f}" if value is not None and base else "-"


def columns(cell, base):
    """start, run, slowest call, lost, twice."""
    if cell is None:
        return ["", "", "", "", ""]
    if cell.get("error"):
        return [f"error: {cell['error'][:60]}", "", "", "", ""]
    if cell.get("refused"):
        said = cell["refused"]
        return ["no such driver" if "unknown log driver" in said else "**refused**", "", "", "", ""]
    # Lines are written at another rate in some cells.
    usual_run = base["run"] * base["rate"] / cell["rate"] if base.get("run") else None
    run = ratio(cell.get("run"), usual_run)
    if not cell["ended"]:
        run = f"**> {cell['run']:.0f} s**"
    usual = base.get("calls", {})
    slowest = max(((took - usual.get(name, took), name, took) for name, took in cell["calls"].items()), default=None)
    if slowest is None:
        call = "-"
    elif slowest[0] < NOISE:
        call = "usual"
    else:
        call = f"**{slowest[1]} {slowest[2]:.1f} s** ({slowest[2] / usual[slowest[1]]:.0f})"
    if cell.get("failed calls"):
        call += ", fails"
    lost = f"**{cell['lost']}**" if cell["lost"] else "0"
    if cell["counted"]:
        lost += f" ({cell['counted']} counted)"
    if cell["pending"]:
        lost += f" ({cell['pending']} wait)"
    return [ratio(cell["start"], base.get("start")), run, call, lost, str(cell["twice"])]


def markdown(cells, options):
    by = {(c["engine"], c["driver"], c["fault"]): c for c in cells}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [f"{os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}; {options.lines} lines a cell, "
             f"{options.jobs} cells at once.", "",
             "| receiver | driver | start | run | slowest call | lost | twice | Docker: start | run | slowest call | lost | twice |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for fault in FAULTS:
        for driver in DRIVERS:
            pair = [by.get((engine, driver.name, fault.name)) for engine in ("taffrail", "dockerd")]
            if not any(pair) or fault.name == "none" and len(by) > 3 and not any(c and (c.get("error") or c.get("lost") or c.get("twice")) for c in pair):
                continue
            row = [fault.text, driver.name]
            for engine, cell in zip(("taffrail", "dockerd"), pair):
                row += columns(cell, by.get((engine, driver.name, "none")) or {})
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)

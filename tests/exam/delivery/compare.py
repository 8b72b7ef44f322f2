"""Placeholders for what differs from run to run, what a receiver cannot tell apart, and the known differences."""

import calendar
import json
import re
import time

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
SYSLOG_5424 = re.compile(rf"^(<\d+>1 )({STAMP}) (\S+) (.*?) (\d+) (?=\4 - )", re.S)
SYSLOG_3164 = re.compile(r"^(<\d+>)([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:(\S+) )?(\S*?)\[(\d+)\]: ", re.S)


def escaped(data):
    """Bytes on one line; a character 64 times or more is {x*N}."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    names = {9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"}

    def plain(part):
        return "".join(names.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in part)

    out, at = [], 0
    for run in re.finditer(rb"([!-~])\1{63,}", data):
        out += [plain(data[at:run.start()]), f"{{{chr(run.group(1)[0])}*{len(run.group())}}}"]
        at = run.end()
    return "".join(out) + plain(data[at:])


class Names:
    """Replaces ids, host name and times of one case by placeholders; a time outside of the case stays."""

    GELF = (r'("timestamp": ?)(\d{10}(?:\.\d{1,3})?)(?=[,}])', r"\g<1><TUNIX.MS>")
    SPLUNK = (r'("time": ?")(\d{10}\.\d{4,9})(?=")', r"\g<1><TUNIX.6>")

    def __init__(self, image, host, pids):
        self.image, self.host, self.pids = image.removeprefix("sha256:"), host, pids
        self.id, self.random, self.start = "", {}, time.time()

    def within(self, seconds):
        return self.start - 3 <= seconds <= time.time() + 3

    def text(self, data):
        line = escaped(data)
        for name, value in (("CID", self.id), ("IMG", self.image)):
            if value:
                line = line.replace(value, f"<{name}>").replace(value[:12], f"<{name}12>")
        return re.sub(r"\b[0-9a-f]{64}\b", self.number, line)

    def number(self, match):
        return f"<HEX64#{self.random.setdefault(match.group(), len(self.random) + 1)}>"

    def stamp(self, text):
        """The placeholder of an RFC 3339 time by its digits."""
        when = calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
        digits = re.sub(r".*?(\.\d+)?(Z|[+-].*)", r"\1", text[19:])
        if not text.endswith("Z") or not self.within(when):
            return text
        return {0: "<T3339>", 7: "<T3339.6>", 10: "<T3339.FIX9>"}.get(len(digits), "<T3339.NANO>")

    def unix(self, seconds):
        return "<TUNIX>" if isinstance(seconds, int) and self.within(seconds) else str(seconds)

    def syslog(self, data):
        line = self.text(data)

        def new(match):
            head, when, host, tag, pid = match.groups()
            return f"{head}{self.stamp(when)} {self.machine(host)} {tag} {self.pid(pid)} "

        def old(match):
            head, when, host, tag, pid = match.groups()
            year = time.localtime().tm_year
            seconds = time.mktime(time.strptime(f"{year} {when}", "%Y %b %d %H:%M:%S"))
            host = f"{self.machine(host)} " if host else ""
            return f"{head}{'<TBSD>' if self.within(seconds) else when} {host}{tag}[{self.pid(pid)}]: "

        return SYSLOG_3164.sub(old, SYSLOG_5424.sub(new, line))

    def machine(self, host):
        return "<HOST>" if host == self.host else host

    def pid(self, pid):
        return "<PID>" if int(pid) in self.pids() else pid

    def json(self, data, fields):
        line = self.text(data)
        line = re.sub(r'("host": ?")' + re.escape(self.host) + '"', r'\1<HOST>"', line)
        line = re.sub(rf'("(?:_created|time)": ?")({STAMP})"', lambda m: f'{m.group(1)}{self.short(m.group(2))}"', line)
        pattern, placeholder = fields

        def inside(match):
            return match.expand(placeholder) if self.within(float(match.group(2))) else match.group()

        return re.sub(pattern, inside, line)

    def short(self, text):
        """Up to nine digits without trailing zeros."""
        found = self.stamp(text)
        return found if found == text or re.search(r"\.\d*0Z$", text) else "<T3339.NANO>"

    def field(self, name, data):
        """A journal field's value; the epoch of a log is random."""
        if name == b"CONTAINER_LOG_EPOCH" and re.fullmatch(rb"[0-9a-f]{64}", data):
            return "<EPOCH>"
        return self.log(data + b" ")[:-1].replace("<T3339.FIX9>", "<T3339.NANO>") if name == b"SYSLOG_TIMESTAMP" else self.text(data)

    def log(self, data):
        return re.sub(rf"^{STAMP}(?= )", lambda match: self.stamp(match.group()), self.text(data))


def sections(text):
    """`== name` and the lines below it."""
    found, name = {}, None
    for line in text.splitlines():
        if line.startswith("== "):
            name = line[3:].strip()
            found[name] = []
        elif name:
            found[name].append(line)
    return found


def fold(name, lines):
    """A section without what a receiver cannot tell apart."""
    if name == "message":
        return [first_line(line) for line in lines]
    if name.startswith("logs"):
        return [line.replace("<T3339.FIX9>", "<T3339.NANO>") for line in lines]
    if name != "wire":
        return lines
    folded, group = [], None
    for line in lines:
        line = line.replace("<T3339.FIX9>", "<T3339.NANO>")
        line = re.sub(r"^connection \d+:( |$)", "", line)
        line = re.sub(r" hdr=[0-9a-f]+", "", line)
        line = re.sub(r"\bu?int(?:8|16|32|64) ", "int ", line)
        line = re.sub(r"^(  (?:body)?\|)(\{.*\})$", lambda m: m.group(1) + in_order(m.group(2)), line)
        if re.match(r"  (User-Agent|Accept|Accept-Encoding|Content-Length|Host|Connection): ", line) or not line:
            continue
        if re.match(r"[A-Z]+ /", line):
            group = [line]
            folded.append(group)
        elif group and not line.startswith("  body"):
            group.append(line)
        else:
            folded.append(line)
            continue
    return merged(folded)


def in_order(text):
    """A JSON object with its keys sorted, nothing else changed; as it is if it cannot be read."""
    raw = re.sub(r'(":)(<[^>]*>)', r'\1"\2"', text.replace("\\\\", "\\"))
    try:
        json.loads(raw)
    except ValueError:
        return text
    parts, depth, quoted, begin, at = [], 0, False, 1, 0
    while at < len(raw):
        letter = raw[at]
        if letter == "\\":
            at += 1
        elif letter == '"':
            quoted = not quoted
        elif not quoted and letter in "{[":
            depth += 1
        elif not quoted and letter in "}]":
            depth -= 1
        if (not quoted and depth == 1 and letter == ",") or depth == 0:
            name, sign, value = raw[begin:at].partition(":")
            parts.append(name + sign + (in_order(value) if value.startswith("{") else value))
            begin = at + 1
        at += 1
    return "{" + ",".join(sorted(parts)) + "}"


def merged(lines):
    """HTTP requests of one kind that follow each other are one request."""
    result, last, count = [], None, 0
    for line in lines:
        if isinstance(line, list):
            if line != last:
                result += line
            last = line
            continue
        number = re.match(r"  body: (\d+) (.*)", line)
        if number and result and re.match(r"  body: \d+ ", result[-1]):
            count = int(number.group(1)) + int(re.match(r"  body: (\d+)", result[-1]).group(1))
            result[-1] = f"  body: {count} {number.group(2)}"
            continue
        result.append(line)
    return result


def first_line(message):
    """Docker's text of a message: no prefix of the command line, no second line."""
    message = re.sub(r"^(create|start|logs [^:]*): ", "", message)
    message = re.sub(r"^(Error response from daemon|docker|Error): ", "", message)
    return re.split(r"\\+n", message)[0]


# What releases after 20.10 say in place of an older text.
NEWER = [
    (r"gelf-address should be in form proto://address, got \w+://.*", "gelf: endpoint needs to be TCP or UDP"),
    (r"syslog-address should be in form proto://address, got (\w+)://.*", r"unsupported scheme: '\1'"),
    (r"invalid size: '[\d. ]+(\D+)'", r"invalid suffix: '\1'"),
    (r"Unknown format specified .*?, ", "unknown format specified, "),
    (r"unknown format specified \S+?, ", "unknown format specified, "),
]


def without_prefix(sections):
    lines = []
    for line in fold("message", sections.get("message", [])):
        line = re.sub(r"^failed to initialize logging driver: ", "", line)
        for old, new in NEWER:
            line = re.sub(old, new, line)
        lines.append(line)
    return lines


def newer_text(case, theirs, ours):
    return set(theirs) == set(ours) == {"outcome", "message"} and theirs["outcome"] == ours["outcome"] and without_prefix(theirs) == without_prefix(ours)


def refused_earlier(case, theirs, ours):
    return (theirs["outcome"][:2] == ["create: ok", "start: error rc=1"] and ours["outcome"][0].startswith("create: error")
            and without_prefix(theirs) == without_prefix(ours))


def absent_receiver(case, theirs, ours):
    reason = " ".join(theirs.get("message", []))
    return (theirs["outcome"][:2] == ["create: ok", "start: error rc=1"] and ours["outcome"][:2] == ["create: ok", "start: ok"]
            and re.search(r"dial |connection refused|no such file|cannot connect", reason) is not None)


def missing_socket(case, theirs, ours):
    return (theirs["outcome"][0].startswith("create: error") and ours["outcome"][0] == "create: ok"
            and "no such file" in " ".join(theirs.get("message", [])))


def only(*names):
    """A fold that explains differences of these sections alone."""
    def wrap(change):
        def explains(case, theirs, ours):
            left = [name for name in theirs if not any(name.startswith(n) for n in names)]
            same = all(fold(n, theirs[n]) == fold(n, ours.get(n, [])) for n in left)
            return same and all(change(n, fold(n, theirs[n])) == change(n, fold(n, ours.get(n, []))) for n in theirs if n not in left)
        return explains
    return wrap


@only("logs", "decoded")
def local_log(name, lines):
    """Reading the journal Docker shows names in capitals, the image's name, no empty lines, no newline after a cut line."""
    if name == "decoded":
        return [line for line in lines if not re.match(r"  (CONTAINER_LOG_EPOCH|CONTAINER_LOG_ORDINAL|SYSLOG_TIMESTAMP)=", line)]
    lines = [re.sub(r",?IMAGE_NAME=\S+?(?=,| )", "", line).upper().replace("COM_EXAMPLE_TEAM", "COM.EXAMPLE.TEAM") for line in lines]
    return [re.sub(r"\\N$", "", line) for line in lines if not re.fullmatch(r"(OUT|ERR)\|(\\N)?", line)]


@only("logs")
def last_newline(name, lines):
    return [re.sub(r"\\n$", "", line) for line in lines]


@only("wire", "decoded")
def image_id(name, lines):
    return [re.sub(r"\bsha256:[0-9a-f]{5}(?![0-9a-f])", "<IMG12>", line) for line in lines]


# Pattern of cases' drivers, what recognises the difference, its reason.
KNOWN = [
    ("*", newer_text, "the text of newer releases of Docker"),
    ("*", refused_earlier, "a wrong value is refused at create, not at start"),
    ("*", absent_receiver, "a receiver that is absent or refuses never fails a start"),
    ("*", missing_socket, "a unix socket that does not exist yet is accepted"),
    ("journald", local_log, "the fields of newer releases of Docker; `logs` reads the local log, where nothing is renamed or left out"),
    ("*", image_id, "`{{.ImageID}}` has no `sha256:` in newer releases of Docker"),
    ("local", last_newline, "`logs` ends a line whose newline came after a cut"),
]

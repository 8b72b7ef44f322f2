"""MessagePack as the forward protocol uses it, with the type of each value kept."""

import gzip
import struct


class Node:
    def __init__(self, kind, value):
        self.kind, self.value = kind, value

    def get(self, name):
        """A map's value by its key."""
        return next((value for key, value in self.value if key.value == name.encode()), None)


NUMBERS = {0xCC: ("uint8", ">B"), 0xCD: ("uint16", ">H"), 0xCE: ("uint32", ">I"), 0xCF: ("uint64", ">Q"), 0xD0: ("int8", ">b"),
           0xD1: ("int16", ">h"), 0xD2: ("int32", ">i"), 0xD3: ("int64", ">q"), 0xCA: ("float32", ">f"), 0xCB: ("float64", ">d")}
SIZED = {0xD9: ("str8", 1), 0xDA: ("str16", 2), 0xDB: ("str32", 4), 0xC4: ("bin8", 1), 0xC5: ("bin16", 2), 0xC6: ("bin32", 4)}
LISTS = {0xDC: ("array", 2), 0xDD: ("array", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)}


def decode(data, at):
    """A node and where it ends; IndexError when bytes are missing."""
    first, at = data[at], at + 1

    def take(length):
        nonlocal at
        if at + length > len(data):
            raise IndexError
        at += length
        return bytes(data[at - length:at])

    def several(count):
        nonlocal at
        nodes = []
        for _ in range(count):
            node, at = decode(data, at)
            nodes.append(node)
        return nodes

    def pairs(count):
        nodes = several(2 * count)
        return list(zip(nodes[::2], nodes[1::2]))

    if first < 0x80 or first >= 0xE0:
        return Node("fixint", first if first < 0x80 else first - 256), at
    if first < 0x90:
        return Node("fixmap", pairs(first & 15)), at
    if first < 0xA0:
        return Node("fixarray", several(first & 15)), at
    if first < 0xC0:
        return Node("fixstr", take(first & 31)), at
    if first in (0xC0, 0xC2, 0xC3):
        return Node({0xC0: "nil", 0xC2: "false", 0xC3: "true"}[first], None), at
    if first in NUMBERS:
        kind, form = NUMBERS[first]
        return Node(kind, struct.unpack(form, take(struct.calcsize(form)))[0]), at
    if first in SIZED:
        kind, width = SIZED[first]
        return Node(kind, take(int.from_bytes(take(width), "big"))), at
    if first in LISTS:
        kind, width = LISTS[first]
        count = int.from_bytes(take(width), "big")
        return Node(kind, several(count) if kind == "array" else pairs(count)), at
    if 0xD4 <= first <= 0xD8:
        size = 1 << (first - 0xD4)
        return Node(f"fixext{size} type={take(1)[0]}", take(size)), at
    if 0xC7 <= first <= 0xC9:
        size = int.from_bytes(take(1 << (first - 0xC7)), "big")
        return Node(f"ext type={take(1)[0]}", take(size)), at
    return Node(f"byte {first:02x}", None), at


def short_string(data):
    return (bytes([0xA0 | len(data)]) if len(data) < 32 else bytes([0xD9, len(data)])) + data


def seconds(when):
    return int.from_bytes(when.value[:4], "big") if isinstance(when.value, bytes) else when.value


def entries(message):
    """(tag, time, record) of a message in any of the four modes."""
    parts = message.value
    if len(parts) >= 3 and not parts[1].kind.endswith("array") and not isinstance(parts[1].value, bytes) or parts[1].kind.startswith("fixext"):
        return [(parts[0], parts[1], parts[2])]
    if parts[1].kind.endswith("array"):
        return [(parts[0], *entry.value[:2]) for entry in parts[1].value]
    data, at, found = parts[1].value, 0, []
    option = parts[2].get("compressed") if len(parts) > 2 else None
    if option and option.value == b"gzip":
        data = gzip.decompress(data)
    while at < len(data):
        entry, at = decode(data, at)
        found.append((parts[0], *entry.value[:2]))
    return found


def scalar(node, names, key=""):
    if key == "chunk":
        return f'{node.kind} "<CHUNK len={len(node.value)}>"'
    if isinstance(node.value, bytes) and node.kind.startswith("fixext8 type=0"):
        nanos = int.from_bytes(node.value[4:], "big")
        return f"{node.kind} EventTime {names.unix(seconds(node))} ns={'<NS>' if 0 < nanos < 10**9 else nanos}"
    if isinstance(node.value, bytes):
        return f'{node.kind} "{names.text(node.value)}"'
    return node.kind if node.value is None else f"{node.kind} {names.unix(node.value)}"


def render(node, names, depth, key=""):
    """Lines, indented; keys of maps sorted."""
    pad = "  " * depth
    if node.kind.endswith("array"):
        lines = [f"{pad}{key}{node.kind}[{len(node.value)}]"]
        return lines + [line for part in node.value for line in render(part, names, depth + 1)]
    if not node.kind.endswith("map"):
        return [f"{pad}{key}{scalar(node, names)}"]
    lines = [f"{pad}{key}{node.kind}{{{len(node.value)}}}"]
    for name, value in sorted(node.value, key=lambda pair: pair[0].value):
        label = scalar(name, names) + ": "
        if value.kind.endswith(("map", "array")):
            lines += render(value, names, depth + 1, label)
        else:
            lines.append(f"{pad}  {label}{scalar(value, names, name.value.decode('utf-8', 'replace'))}")
    return lines

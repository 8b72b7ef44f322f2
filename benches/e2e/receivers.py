"""Receivers that only count, as fast as Python can: each in a process of its own. Standard library only."""

import multiprocessing
import os
import re
import socket
import struct
import threading
import time

LENGTH = re.compile(rb"content-length: *(\d+)", re.I)


class Receiver:
    """`address` is host:port; `count` the records so far, `last` when the last of them came (monotonic)."""

    def __init__(self, kind):
        self.kind = kind
        self.records = multiprocessing.Value("Q", 0)
        self.moment = multiprocessing.Value("d", 0.0)
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.process = multiprocessing.Process(target=self.serve, daemon=True)
        self.process.start()
        self.listener.close()

    @property
    def count(self):
        return self.records.value

    @property
    def last(self):
        return self.moment.value

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.join()

    def add(self, n):
        with self.records.get_lock():
            self.records.value += n
        self.moment.value = time.monotonic()

    def serve(self):
        handler = {"lines": self.lines, "nul": self.nul, "forward": self.forward, "hec": self.hec}[self.kind]
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=handler, args=(connection,), daemon=True).start()

    def ended_by(self, connection, end):
        while data := connection.recv(1 << 20):
            self.add(data.count(end))

    def lines(self, connection):
        self.ended_by(connection, b"\n")

    def nul(self, connection):
        self.ended_by(connection, b"\0")

    def forward(self, connection):
        """Message mode is counted by a key; packed batches are also acknowledged if they ask for it."""
        rest = b""
        while data := connection.recv(1 << 20):
            rest += data
            rest = self.forward_frames(connection, rest)

    def forward_frames(self, connection, data):
        at = 0
        while at < len(data):
            frame = packed_frame(data, at)
            if frame is None:
                # Message mode: everything up to the next packed frame, of which the engines send none in between.
                found = data.count(b"container_id", at)
                if found == 0:
                    return data[at:]
                self.add(found)
                tail = data.rfind(b"container_id") + len(b"container_id")
                return b"" if tail < len(data) - 4096 else b""
            end, chunk, size = frame
            if end > len(data):
                return data[at:]
            self.add(size if size else data.count(b"container_id", at, end))
            if chunk:
                connection.sendall(b"\x81\xa3ack" + bytes([0xA0 | len(chunk)]) + chunk if len(chunk) < 32 else b"\x81\xa3ack\xd9" + bytes([len(chunk)]) + chunk)
            at = end
        return b""

    def hec(self, connection):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                part = connection.recv(1 << 20)
                if not part:
                    return
                data += part
            head, _, data = data.partition(b"\r\n\r\n")
            found = LENGTH.search(head)
            length = int(found.group(1)) if found else 0
            chunked = b"transfer-encoding: chunked" in head.lower()
            parts, have = [data], len(data)
            while (have < length) if not chunked else not parts[-1].endswith(b"0\r\n\r\n"):
                part = connection.recv(1 << 20)
                if not part:
                    return
                parts.append(part)
                have += len(part)
            data = b"".join(parts)
            body, data = (data, b"") if chunked else (data[:length], data[length:])
            answer = b'{"text":"Success","code":0}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            self.add(body.count(b'"event":'))


def packed_frame(data, at):
    """(end, chunk, size) of a frame [tag, bin, options] that begins at `at`; None if none does. The end may be beyond the data."""
    if data[at] not in (0x93, 0x94):
        return None
    start = at
    at += 1
    try:
        first = data[at]
        if 0xA0 <= first <= 0xBF:
            at += 1 + (first & 31)
        elif first == 0xD9:
            at += 2 + data[at + 1]
        else:
            return None
        kind = data[at]
        if kind == 0xC4:
            at += 2 + data[at + 1]
        elif kind == 0xC5:
            at += 3 + struct.unpack(">H", data[at + 1:at + 3])[0]
        elif kind == 0xC6:
            at += 5 + struct.unpack(">I", data[at + 1:at + 5])[0]
        elif kind in (0xD9, 0xDA, 0xDB):
            width = {0xD9: 1, 0xDA: 2, 0xDB: 4}[kind]
            at += 1 + width + int.from_bytes(data[at + 1:at + 1 + width], "big")
        else:
            return None
        if data[start] == 0x93 and at >= len(data):
            return at + 1, None, 0
        pairs = data[at] & 15
        at += 1
        chunk, size = None, 0
        for _ in range(pairs):
            length = data[at] & 31
            key = data[at + 1:at + 1 + length]
            at += 1 + length
            first = data[at]
            if 0xA0 <= first <= 0xBF:
                value, at = data[at + 1:at + 1 + (first & 31)], at + 1 + (first & 31)
            elif first == 0xD9:
                value, at = data[at + 2:at + 2 + data[at + 1]], at + 2 + data[at + 1]
            elif first in (0xCC, 0xCD, 0xCE, 0xD0, 0xD1, 0xD2):
                width = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xD0: 1, 0xD1: 2, 0xD2: 4}[first]
                value, at = int.from_bytes(data[at + 1:at + 1 + width], "big"), at + 1 + width
            else:
                value, at = first, at + 1
            if key == b"chunk":
                chunk = value
            elif key == b"size":
                size = value
        return at, chunk, size
    except (IndexError, struct.error):
        return len(data) + 1, None, 0

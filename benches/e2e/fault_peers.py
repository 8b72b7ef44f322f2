"""Receivers of lines, GELF, forward and the HTTP event collector that misbehave as told. Standard library only.

A record counts when the receiver has read all of it, and where the protocol has an answer, when it has answered that it took it.
"""

import json
import re
import socket
import ssl
import struct
import threading
import time

NUMBER = re.compile(rb"\bo (\d{10}) ")
NOTICE = re.compile(rb"taffrail: (\d+) records? \(")
TOKEN = b"Splunk 00000000-0000-0000-0000-000000000001"


class Got:
    """What arrived: numbers of lines with how often, records that the notices say are missing, breaches of the protocol."""

    def __init__(self):
        self.lock = threading.Lock()
        self.numbers = {}
        self.told = 0
        self.breaches = []

    def take(self, data):
        with self.lock:
            for number in NUMBER.findall(data):
                self.numbers[number] = self.numbers.get(number, 0) + 1
            for told in NOTICE.findall(data):
                self.told += int(told)

    @property
    def different(self):
        return len(self.numbers)

    @property
    def twice(self):
        with self.lock:
            return sum(self.numbers.values()) - len(self.numbers)


class Lines:
    """Records ended by a newline: syslog without acknowledgement, framed by octets or not."""

    acknowledges = False
    end = b"\n"

    def __init__(self, peer, connection):
        self.peer, self.connection, self.rest = peer, connection, b""

    def feed(self, data):
        data = self.rest + data
        cut = data.rfind(self.end) + 1
        self.rest = data[cut:]
        self.whole(data[:cut])

    def whole(self, data):
        self.peer.got.take(data)


class Gelf(Lines):
    end = b"\0"

    def whole(self, data):
        for record in data.split(b"\0")[:-1]:
            try:
                if json.loads(record)["version"] != "1.1":
                    raise ValueError("version")
            except (ValueError, KeyError) as error:
                self.peer.got.breaches.append(f"gelf: {error}")
        self.peer.got.take(data)


class Short(Exception):
    """More bytes are needed."""


def unpack(data, at):
    """One MessagePack value at `at`: (value, end). Text and binaries are bytes."""
    def part(n, start):
        if start + n > len(data):
            raise Short
        return data[start:start + n], start + n

    def number(n, start):
        raw, start = part(n, start)
        return int.from_bytes(raw, "big"), start

    first, at = number(1, at)
    if first <= 0x7F:
        return first, at
    if first <= 0x8F or first in (0xDE, 0xDF):
        pairs, at = (first & 15, at) if first <= 0x8F else number(2 if first == 0xDE else 4, at)
        found = {}
        for _ in range(pairs):
            key, at = unpack(data, at)
            found[key], at = unpack(data, at)
        return found, at
    if first <= 0x9F or first in (0xDC, 0xDD):
        count, at = (first & 15, at) if first <= 0x9F else number(2 if first == 0xDC else 4, at)
        values = []
        for _ in range(count):
            value, at = unpack(data, at)
            values.append(value)
        return values, at
    if first <= 0xBF:
        return part(first & 31, at)
    if first >= 0xE0:
        return first - 256, at
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    widths = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
    if first in widths:
        size, at = number(widths[first], at)
        return part(size, at)
    if first in (0xC7, 0xC8, 0xC9):
        size, at = number({0xC7: 1, 0xC8: 2, 0xC9: 4}[first], at)
        return part(size + 1, at)
    if 0xD4 <= first <= 0xD8:
        return part((1 << (first - 0xD4)) + 1, at)
    fixed = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
    if first in fixed:
        return number(fixed[first], at)
    raise ValueError(f"byte {first:#x} is no MessagePack")


class Forward:
    """All modes of the forward protocol, decoded to the last value; acknowledged where asked for."""

    acknowledges = True

    def __init__(self, peer, connection):
        self.peer, self.connection, self.rest = peer, connection, b""

    def feed(self, data):
        data, at = self.rest + data, 0
        try:
            while at < len(data):
                frame, at = unpack(data, at)
                self.frame(frame)
        except Short:
            pass
        self.rest = data[at:]

    def frame(self, frame):
        tag, second = frame[0], frame[1]
        if not isinstance(tag, bytes):
            raise ValueError("the tag is no text")
        option = frame[-1] if len(frame) > 2 and isinstance(frame[-1], dict) and b"log" not in frame[-1] else {}
        if isinstance(second, bytes) and len(second) != 9:
            records, at = [], 0
            while at < len(second):
                entry, at = unpack(second, at)
                records.append(entry[1])
        elif isinstance(second, list):
            records = [entry[1] for entry in second]
        else:
            records = [frame[2]]
        if option.get(b"size", len(records)) != len(records):
            raise ValueError(f"size {option[b'size']} of {len(records)} records")
        taken = b"\n".join(record[b"log"] for record in records)
        if chunk := option.get(b"chunk"):
            self.connection.sendall(b"\x81\xa3ack\xd9" + struct.pack("B", len(chunk)) + chunk)
        self.peer.got.take(taken)


class Collector:
    """The HTTP event collector: `peer.answer(events)` is None (taken) or (status, JSON, headers)."""

    acknowledges = True

    def __init__(self, peer, connection):
        self.peer, self.connection, self.rest = peer, connection, b""

    def feed(self, data):
        self.rest += data
        while b"\r\n\r\n" in self.rest:
            head, _, body = self.rest.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
            length = int(headers.get(b"content-length", b"0"))
            if len(body) < length:
                return
            self.rest = body[length:]
            self.request(lines[0].split(b" "), headers, body[:length])

    def request(self, line, headers, body):
        method, path = line[0], line[1]
        if path != b"/services/collector/event/1.0":
            return self.say(404, {"text": "The requested URL was not found on this server.", "code": 404})
        refused = self.peer.answer(method, body) if self.peer.answer else None
        if refused:
            return self.say(*refused)
        if method == b"OPTIONS":
            return self.say(200, {})
        if headers.get(b"authorization") != TOKEN:
            return self.say(403, {"text": "Invalid token", "code": 4})
        # Every event is looked at before one is taken.
        decoder, text, at = json.JSONDecoder(), body.decode(), 0
        while at < len(text):
            event, at = decoder.raw_decode(text, at)
            if not event.get("event"):
                return self.say(400, {"text": "Event field is required", "code": 12})
        self.peer.got.take(body)
        self.say(200, {"text": "Success", "code": 0})

    def say(self, status, answer, headers=""):
        text = json.dumps(answer)
        self.connection.sendall(f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(text)}\r\n\r\n{text}".encode())


class Peer:
    """A TCP receiver on a port that stays its own while it is closed."""

    def __init__(self, got, protocol, host="127.0.0.1", port=0, certificates=None):
        self.got, self.protocol, self.host = got, protocol, host
        self.certificates, self.certificate = certificates, "good"
        self.answer = None
        self.stalled = False
        self.reset_every = 0
        self.small_buffers = False
        self.listener, self.threads = None, []
        self.closing = threading.Event()
        # Bound and never listening: nobody else gets the port meanwhile.
        self.keeper = self.bound(port)
        self.port = self.keeper.getsockname()[1]

    def bound(self, port):
        new = socket.socket()
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        new.bind((self.host, port))
        return new

    def open(self):
        self.closing = threading.Event()
        self.listener = self.bound(self.port)
        if self.small_buffers:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.listener.listen(64)
        self.listener.settimeout(0.1)
        self.threads = [threading.Thread(target=self.accept, args=(self.listener, self.closing), daemon=True)]
        self.threads[0].start()

    def close(self):
        """As a server that is stopped: what has arrived is still read where nobody waits for an answer."""
        if self.listener is None:
            return
        self.closing.set()
        for thread in self.threads:
            thread.join(5)
        self.listener = None

    def end(self):
        self.close()
        self.keeper.close()

    def accept(self, listener, closing):
        while not closing.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self.serve, args=(connection, closing), daemon=True)
            self.threads.append(thread)
            thread.start()
        listener.close()

    def serve(self, connection, closing):
        try:
            connection.settimeout(0.1)
            if self.certificates:
                connection.settimeout(5)
                connection = self.certificates[self.certificate].wrap_socket(connection, server_side=True)
                connection.settimeout(0.1)
            self.converse(connection, closing)
        except (OSError, ssl.SSLError):
            pass
        except (ValueError, KeyError, TypeError) as error:
            self.got.breaches.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    def converse(self, connection, closing):
        protocol, read = self.protocol(self, connection), 0
        while not closing.is_set():
            if self.stalled:
                time.sleep(0.02)
                continue
            try:
                data = connection.recv(65536)
            except TimeoutError:
                continue
            if not data:
                return
            read += len(data)
            protocol.feed(data)
            if self.reset_every and read >= self.reset_every:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
        if protocol.acknowledges or self.certificates:
            return
        connection.shutdown(socket.SHUT_WR)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            try:
                if not (data := connection.recv(65536)):
                    return
                protocol.feed(data)
            except TimeoutError:
                pass

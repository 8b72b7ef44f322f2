"""Receivers that write down what arrives: one class a protocol, each strict about its framing.

A recorder has an address, the time of the last byte and render(names): the sections `wire` and `decoded`.
"""

import gzip
import http.server
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time
import zlib

import forward


class Recorder:
    def __init__(self):
        self.lock = threading.Lock()
        self.last = time.monotonic()
        self.closed = False

    def touch(self):
        self.last = time.monotonic()

    def thread(self, what, *arguments):
        threading.Thread(target=what, args=arguments, daemon=True).start()

    def close(self):
        pass


class Streams(Recorder):
    """TCP, TLS or unix connections, each with all its bytes."""

    def __init__(self, path=None, tls=None):
        super().__init__()
        self.connections, self.tls = [], tls
        if path:
            self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.server.bind(path)
            self.address = path
        else:
            self.server = socket.socket()
            self.server.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % self.server.getsockname()[1]
        self.server.listen(16)
        self.open = [self.server]
        self.thread(self.accept)

    def accept(self):
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            self.thread(self.serve, peer)

    def serve(self, peer):
        data = bytearray()
        self.open.append(peer)
        try:
            if self.tls:
                peer = self.tls.wrap_socket(peer, server_side=True)
                self.open.append(peer)
            while piece := peer.recv(1 << 16):
                with self.lock:
                    if not data:
                        self.connections.append(data)
                    data += piece
                    self.touch()
                    answer = self.answer(data)
                if answer:
                    peer.sendall(answer)
        except OSError:
            pass

    def answer(self, data):
        return b""

    def close(self):
        for each in self.open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()


class Datagrams(Recorder):
    def __init__(self, path=None):
        super().__init__()
        self.datagrams = []
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(path or ("127.0.0.1", 0))
        self.address = path or "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.thread(self.receive)

    def receive(self):
        while True:
            try:
                data = self.socket.recv(1 << 17)
            except OSError:
                return
            if self.closed:
                return
            with self.lock:
                self.datagrams.append(data)
                self.touch()

    def close(self):
        self.closed = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class SyslogStreams(Streams):
    def render(self, names):
        wire = []
        for number, data in enumerate(self.connections, 1):
            wire.append(f"connection {number}:")
            wire += self.frames(bytes(data), names) if re.match(rb"\d+ <", data) else self.lines(bytes(data), names)
        return {"wire": wire}

    @staticmethod
    def lines(data, names):
        return ["  |" + names.syslog(line) for line in re.findall(rb"[^\n]*\n|[^\n]+", data)]

    @staticmethod
    def frames(data, names):
        """RFC 5425: a decimal count of bytes, a space, that many bytes."""
        wire, at = [], 0
        while at < len(data):
            head = re.compile(rb"([1-9]\d*) ").match(data, at)
            if not head:
                return wire + ["  no frame|" + names.text(data[at:])]
            end = head.end() + int(head.group(1))
            if end > len(data):
                return wire + ["  frame is cut|" + names.text(data[at:])]
            wire.append("  frame <LEN>|" + names.syslog(data[head.end():end]))
            at = end
        return wire


class SyslogDatagrams(Datagrams):
    def render(self, names):
        return {"wire": ["datagram |" + names.syslog(data) for data in self.datagrams]}


class Fluentd(Streams):
    """The forward protocol: messages, Forward, PackedForward and CompressedPackedForward, with acknowledgements."""

    def __init__(self, path=None, tls=None):
        self.messages, self.read = [], {}
        super().__init__(path, tls)

    def answer(self, data):
        answers = b""
        at = self.read.get(id(data), 0)
        while at < len(data):
            try:
                node, at = forward.decode(data, at)
            except IndexError:
                break
            self.messages.append(node)
            options = node.value[-1] if node.kind.endswith("array") and node.value else None
            chunk = options.get("chunk") if options and options.kind.endswith("map") else None
            if chunk:
                answers += b"\x81\xa3ack" + forward.short_string(chunk.value)
        self.read[id(data)] = at
        return answers

    def render(self, names):
        wire, decoded = ["connection 1:"] if self.messages else [], []
        for node in self.messages:
            wire += forward.render(node, names, 1)
            for tag, when, record in forward.entries(node):
                kind = "EventTime" if when.kind.startswith("fixext8") else "seconds"
                fields = sorted((key.value, value) for key, value in record.value)
                decoded.append(" ".join([f"tag={names.text(tag.value)}", f"time={kind} {names.unix(forward.seconds(when))}"] + [
                    f"{names.text(key)}={names.text(value.value)}" for key, value in fields]))
        asked = [node for node in self.messages if node.value[-1].kind.endswith("map") and node.value[-1].get("chunk")]
        if asked:
            wire.append(f"ack option in every message: {len(asked) == len(self.messages)}")
        left = [data for data in self.connections if self.read.get(id(data), 0) != len(data)]
        return {"wire": wire + ["a message is cut"] * len(left), "decoded": decoded}


def render_json(texts, names, fields):
    """The text of records as sent and as a parser reads them."""
    wire = [names.json(text, fields) for text in texts]
    decoded = []
    for text in texts:
        try:
            value = json.loads(text)
        except ValueError as error:
            decoded.append(f"no JSON: {error}")
            continue
        decoded.append(names.json(json.dumps(value, sort_keys=True).encode(), fields))
    return wire, decoded


class GelfDatagrams(Datagrams):
    def render(self, names):
        wire, texts, chunks, whole = [], [], {}, []
        for data in self.datagrams:
            if data[:2] != b"\x1e\x0f":
                whole.append((data, 1))
                continue
            number, count = data[10], data[11]
            parts = chunks.setdefault(data[2:10], {})
            parts[number] = data[12:]
            if len(parts) == count:
                whole.append((b"".join(parts[i] for i in range(count)), count))
                del chunks[data[2:10]]
        if self.datagrams:
            wire.append(f"max datagram <= 1420: {max(map(len, self.datagrams)) <= 1420}")
        for data, count in whole:
            if data[:2] == b"\x1f\x8b":
                kind, text = "gzip hdr=" + data[:10].hex(), gzip.decompress(data)
            elif data[:1] == b"\x78":
                kind, text = "zlib hdr=" + data[:2].hex(), zlib.decompress(data)
            else:
                kind, text = "none", data
            texts.append(text)
            wire.append(f"compression={kind} chunks={count if count == 1 else '<MANY>'}")
            wire.append(text)
        lines, decoded = render_json(texts, names, names.GELF)
        lines = iter(lines)
        wire = [line if isinstance(line, str) else "  |" + next(lines) for line in wire]
        return {"wire": wire + ["chunks are missing"] * len(chunks), "decoded": decoded}


class GelfStreams(Streams):
    def render(self, names):
        wire, decoded = [], []
        for number, data in enumerate(self.connections, 1):
            wire.append(f"connection {number}: ends with NUL: {data.endswith(bytes(1))}")
            texts = bytes(data).split(b"\0")
            lines, records = render_json([text for text in texts if text], names, names.GELF)
            for line in lines:
                wire += ["tcp NUL-framed", "  |" + line]
            decoded += records
        return {"wire": wire, "decoded": decoded}


class Splunk(Recorder):
    """An HTTP event collector; `good-token` is its token."""

    def __init__(self, tls=None):
        super().__init__()
        self.requests = []
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status = 200
                if self.command == "POST" and self.headers.get("Authorization") != "Splunk good-token":
                    status = 403
                with recorder.lock:
                    headers = sorted((name.title(), value) for name, value in self.headers.items())
                    recorder.requests.append((self.command, self.path, status, headers, recorder.unpacked(headers, body)))
                    recorder.touch()
                answer = b'{"text":"Success","code":0}' if status == 200 else b'{"text":"Invalid token","code":4}'
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_OPTIONS = do_POST = do_GET = do_PUT = do

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

            def finish_request(self, request, client):
                if tls:
                    request = tls.wrap_socket(request, server_side=True)
                super().finish_request(request, client)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = "127.0.0.1:%d" % self.server.server_address[1]
        self.thread(self.server.serve_forever, 0.05)

    @staticmethod
    def unpacked(headers, body):
        return gzip.decompress(body) if dict(headers).get("Content-Encoding") == "gzip" else body

    def render(self, names):
        wire, everything = [], []
        for method, path, status, headers, body in self.requests:
            wire.append(f"{method} {path} -> {status}")
            for name, value in headers:
                if name == "Content-Length":
                    value = "<N>"
                if name == "Host":
                    value = re.sub(r":\d+$", ":<PORT>", value)
                wire.append(f"  {name}: {names.text(value)}")
            texts, rest = objects(body)
            lines, decoded = render_json(texts, names, names.SPLUNK)
            if len(texts) > 100:
                wire.append(f"  body: {len(texts)} concatenated JSON objects")
            else:
                wire += ["  body|" + line for line in lines]
            if rest:
                wire.append("  body is cut|" + names.text(rest))
            everything += decoded
        if len(everything) > 100:
            lines = [json.loads(text)["event"]["line"] for *_, body in self.requests for text in objects(body)[0]]
            everything = [f"{len(lines)} events, in order: {lines == sorted(lines, key=int)}"]
        return {"wire": wire, "decoded": everything}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def objects(body):
    """Concatenated JSON texts, and what is left."""
    texts, text, at = [], body.decode("utf-8", "surrogateescape"), 0
    decoder = json.JSONDecoder()
    while at < len(text):
        try:
            _, end = decoder.raw_decode(text, at)
        except ValueError:
            break
        texts.append(text[at:end].encode("utf-8", "surrogateescape"))
        at = end
        while at < len(text) and text[at] in " \r\n":
            at += 1
    return texts, text[at:].encode("utf-8", "surrogateescape")


class Journald(Recorder):
    """systemd-journald on its own folder and socket; one for all cases, started anew when it ended idle."""

    PROGRAMS = ("/lib/systemd/systemd-journald", "/usr/lib/systemd/systemd-journald")

    def __init__(self, folder):
        super().__init__()
        self.folder, self.child = pathlib.Path(folder), None
        for name in ("run", "logs"):
            (self.folder / name).mkdir(parents=True)
        self.address = str(self.folder / "run/socket")

    def ensure(self):
        with self.lock:
            if self.child and self.child.poll() is None:
                return
            program = next((p for p in self.PROGRAMS if os.path.exists(p)), None)
            if not program:
                raise FileNotFoundError("systemd-journald is missing")
            pathlib.Path(self.address).unlink(missing_ok=True)
            self.child = subprocess.Popen(
                [program, f"taffrail-exam-{os.getpid()}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env={"RUNTIME_DIRECTORY": str(self.folder / "run"), "LOGS_DIRECTORY": str(self.folder / "logs")})
            for _ in range(500):
                probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                try:
                    return probe.connect(self.address)
                except OSError:
                    time.sleep(0.02)
                finally:
                    probe.close()
            raise TimeoutError("systemd-journald has no socket")

    def render(self, names):
        export = subprocess.run(["journalctl", "-o", "export", "--directory", self.folder / "logs",
                                 "CONTAINER_ID_FULL=" + names.id], capture_output=True).stdout
        decoded, entry, at = [], [], 0
        while at < len(export):
            end = export.index(b"\n", at)
            line, at = export[at:end], end + 1
            if not line:
                decoded += ["entry"] + sorted(entry) if entry else []
                entry = []
                continue
            name, sign, value = line.partition(b"=")
            if not sign:
                length = int.from_bytes(export[at:at + 8], "little")
                value, at = export[at + 8:at + 8 + length], at + 9 + length
            if not name.startswith(b"_"):
                entry.append(f"  {name.decode()}={names.field(name, value)}{'' if sign else ' (binary)'}")
        return {"decoded": decoded}

    def close(self):
        if self.child:
            self.child.kill()
            self.child.wait()


class Authority:
    """A certificate authority and a server's certificate for 127.0.0.1, by the openssl command."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        folder.mkdir()
        self.ca, key, request, server = (str(folder / name) for name in ("ca.pem", "key.pem", "request.pem", "server.pem"))

        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], check=True, capture_output=True)

        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *new, "-keyout", str(folder / "ca-key.pem"), "-out", self.ca, "-days", "2", "-subj", "/CN=exam authority")
        openssl("req", *new, "-keyout", key, "-out", request, "-subj", "/CN=localhost")
        (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", str(folder / "ca-key.pem"), "-CAcreateserial",
                "-days", "2", "-extfile", str(folder / "extensions"), "-out", server)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(server, key)

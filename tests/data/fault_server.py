"""A web server on this machine that can be told to fail: what each path does at each request, one after the other."""

import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STALL = 20  # seconds, far beyond any timeout of the tests


class FaultServer:
    """Serves a folder. ``faults["/a.tar"] = ["stall", "500"]`` is for the first two requests; then all is well.

    Faults: "stall", "stall inside", "trickle", "cut", "short", "flip", "longer", or a status such as "404"; one that
    ends in "!" stays.
    """

    def __init__(self, folder: Path):
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.requests: Counter[str] = Counter()
        self.stop = threading.Event()
        handler = partial(_Handler, directory=str(folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.server.faults = self  # pyright: ignore[reportAttributeAccessIssue]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def next_fault(self, path: str) -> str:
        self.requests[path] += 1
        waiting = self.faults[path]
        if not waiting:
            return ""
        return waiting[0][:-1] if waiting[0].endswith("!") else waiting.pop(0)

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        control: FaultServer = self.server.faults  # pyright: ignore[reportAttributeAccessIssue]
        fault = control.next_fault(self.path)
        if fault.isdigit():
            return self.send_error(int(fault))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        body = bytearray(path.read_bytes())
        announced = len(body)
        if fault == "stall":
            control.stop.wait(STALL)
            return None
        if fault == "flip":
            body[len(body) // 2 + control.requests[self.path]] ^= 4
        if fault == "longer":
            body += b"\0" * 512
            announced = len(body)
        if fault == "short":
            body = body[:-100]
        self.send_response(200)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        with suppress(OSError):  # the other side has had enough
            self._send(bytes(body), fault, control.stop)

    def _send(self, body: bytes, fault: str, stop: threading.Event) -> None:
        half = len(body) // 2
        if fault == "cut":
            self.wfile.write(body[:half])
            self.wfile.flush()
            self.connection.shutdown(2)
        elif fault == "stall inside":
            self.wfile.write(body[:half])
            self.wfile.flush()
            stop.wait(STALL)
        elif fault == "trickle":
            end = time.monotonic() + STALL
            for byte in body:
                if stop.wait(0.05) or time.monotonic() > end:
                    return
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(body)

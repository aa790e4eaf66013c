"""Who hears the callbacks? A real HTTP server on loopback, in a thread, that can be away for a while."""

import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from ..ports import free_port


class Post(NamedTuple):
    """What came in."""

    campaign: str  # the path: each campaign of a test has its own
    event_id: int
    attempt: int
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Takes everything while it is open. Its port is its own while it is away, too."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.port = free_port()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = self.headers
                event, attempt = int(headers["Zvonar-Event-Id"]), int(headers["Zvonar-Attempt"])
                posts.append(Post(self.path.strip("/"), event, attempt, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        """Refuse connections from now on; HTTP/1.0 leaves none open."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def url(self, campaign: str) -> str:
        return f"http://127.0.0.1:{self.port}/{campaign}"

    def of(self, campaign: str) -> list[Post]:
        """What came about one campaign."""
        return [post for post in self.posts if post.campaign == campaign]

    def calls(self, campaign: str) -> dict[int, list[Post]]:
        """Bodies about calls, by call id, each event once, in the order in which they first came."""
        heard: dict[int, list[Post]] = defaultdict(list)
        seen: set[int] = set()
        for post in self.of(campaign):
            if post.event_id not in seen and "call" in post.said:
                heard[post.said["call"]["id"]].append(post)
            seen.add(post.event_id)
        return heard

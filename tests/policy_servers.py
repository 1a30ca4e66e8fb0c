"""Our websocket server in a thread of the tests."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

from lit_distill.serving.server import Infer, PolicyServer


@contextlib.contextmanager
def running(
    infer: Infer, metadata: dict[str, Any] | None = None, at: int = 0, **options: Any
) -> Iterator[int]:
    """Serve within the block, at a port (0: any that is free); yields it."""
    ports: queue.Queue[int] = queue.Queue()
    server = PolicyServer(infer, metadata or {}, port=at, **options)
    thread = threading.Thread(target=server.run, args=[ports.put], daemon=True)
    thread.start()
    try:
        yield ports.get(timeout=30)
    finally:
        server.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()

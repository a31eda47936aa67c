"""How the processes of a job meet, over plain sockets, and what leads each to the first one.

JAX's own waiting ignores signals, a used port is a segmentation fault in it, and its client aborts
with a stack dump when the first process ends. So they meet here before JAX joins them, and each
but the first has its client connect to a relay, which notices that end in Python.
"""

import contextlib
import errno
import ipaddress
import json
import operator
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from gan1010_jax.errors import InvalidArgument, UnfinishedRun


class _Place(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """The two as HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_place(text: str) -> _Place:
    """Read HOST:PORT, where an IPv6 address is in brackets."""
    match = re.fullmatch(r"(?:\[(.+)\]|([^\[\]]+)):(\d{1,5})", text, re.ASCII)
    if not match or not 1 <= int(match[3]) <= 65535:
        raise InvalidArgument("coordinator", text, "HOST:PORT, such as alpha:10100")
    return _Place(match[1] or match[2], int(match[3]))


def meet_others(place: _Place, count: int, timeout: float) -> _Place:
    """In the first process, wait for the `count - 1` others; the address where it listened."""
    until = time.monotonic() + timeout
    others: dict[socket.socket, int] = {}
    with ExitStack() as opened:
        listener = opened.enter_context(_listen(place))
        bound = _Place(*listener.getsockname()[:2])
        problem = ""
        while len(others) < count - 1 and not problem:
            left = max(0, until - time.monotonic())
            ready, _, _ = select.select([listener, *others], [], [], left)
            if not ready:
                missing = ", ".join(str(i) for i in range(1, count) if i not in others.values())
                problem = f"process {missing} of {count} did not come within {timeout} s"
            elif ready != [listener]:  # they have nothing to say
                gone = ", ".join(str(i) for other, i in others.items() if other in ready)
                problem = f"process {gone} ended before all {count} had come"
            else:
                other = opened.enter_context(listener.accept()[0])
                other.settimeout(5)
                try:
                    said = json.loads(other.makefile("rb").readline(100))
                    index, their_count = map(operator.index, said)
                except (OSError, ValueError, TypeError):
                    continue  # something else that tries ports
                if their_count != count:
                    problem = (
                        f"process {index} counts {their_count} processes, and the first one {count}"
                    )
                elif index not in range(1, count):
                    continue
                elif index in others.values():
                    problem = f"process {index} of {count} came twice"
                others[other] = index
        for other in others:
            with contextlib.suppress(OSError):
                other.sendall(json.dumps(problem).encode() + b"\n")
    if problem:
        raise UnfinishedRun(problem)
    return bound


def _listen(place: _Place) -> socket.socket:
    """Listen where told; but on all addresses if a name is this machine's own alone, or no name."""
    try:
        family, *_, address = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)[0]
        host = str(address[0])
        if not ipaddress.ip_address(host).is_loopback or place.host in (host, "localhost"):
            try:
                return socket.create_server((host, place.port), family=family)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:  # that of a gateway to this machine
                    raise
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        return socket.create_server(("", place.port), family=family, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        allowed = f"HOST:PORT, where this process can listen ({reason})"
        raise InvalidArgument("coordinator", str(place), allowed) from error


def meet_first(place: _Place, count: int, index: int, timeout: float) -> None:
    """In another process, wait for the first one, and until it says that all have come."""
    with _connect(place, timeout) as first:
        first.settimeout(timeout + 10)  # the first one gives up before
        try:
            first.sendall(json.dumps([index, count]).encode() + b"\n")
            problem = json.loads(first.makefile("rb").readline())
        except TimeoutError:
            problem = f"the first process, at {place}, did not answer"
        except (OSError, ValueError):
            problem = "the first process ended before all had come"
    if problem:
        raise UnfinishedRun(str(problem))


def _connect(place: _Place, timeout: float) -> socket.socket:
    """Connect to the first process, once it listens."""
    until = time.monotonic() + timeout
    while True:
        try:
            return socket.create_connection(place, timeout=max(1, until - time.monotonic()))
        except (OSError, UnicodeError) as error:
            if time.monotonic() > until:
                reason = getattr(error, "strerror", None) or error
                problem = f"the first process did not come to {place} within {timeout} s ({reason})"
                raise UnfinishedRun(problem) from error
        time.sleep(0.1)


def relay(place: _Place, silence: float, when_lost: Callable[[], object]) -> _Place:
    """A port of this machine alone that leads to a place, on threads of its own.

    Args:
      place: where the first process listens.
      silence: the seconds without a byte from there after which it is lost.
      when_lost: called when the first process closes a connection, or is lost, before whoever is
        connected here can notice.
    """

    def accept() -> None:
        while True:
            near = listener.accept()[0]
            try:
                far = _connect(place, silence)
            except UnfinishedRun:
                return when_lost()
            far.settimeout(silence)
            closed = threading.Event()
            for way in ((near, far), (far, near)):
                threading.Thread(target=forward, args=(*way, far, closed), daemon=True).start()

    def forward(
        source: socket.socket, sink: socket.socket, far: socket.socket, closed: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            end = source
            while data := source.recv(1 << 16):
                end = sink
                sink.sendall(data)
                end = source
        if end is far and not closed.is_set():
            when_lost()
        closed.set()
        for either in (source, sink):
            with contextlib.suppress(OSError):
                either.shutdown(socket.SHUT_RDWR)

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    return _Place(*listener.getsockname())

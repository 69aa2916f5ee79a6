"""Free loopback ports in pairs, because SeaweedFS serves gRPC on each of its ports plus 10,000."""

import random
import socket
from contextlib import ExitStack

GRPC_OFFSET = 10_000

# Both ports of a pair are below Linux's range for outgoing connections (32768 and up). Otherwise
# any client on the machine might receive the port between this check and the bind of the server.
_CANDIDATES = range(11_000, 22_000)


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports, each free together with its gRPC port."""
    found: list[int] = []
    # All ports stay bound until the last is found, so that none is found twice.
    with ExitStack() as held:
        for port in random.sample(_CANDIDATES, len(_CANDIDATES)):
            if len(found) == count:
                break
            if _hold(held, port) and _hold(held, port + GRPC_OFFSET):
                found.append(port)
    if len(found) < count:
        raise RuntimeError(f"no {count} free pairs of loopback ports in {_CANDIDATES}")
    return found


def _hold(held: ExitStack, port: int) -> bool:
    sock = held.enter_context(socket.socket())
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True

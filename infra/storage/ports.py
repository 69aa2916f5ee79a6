"""Free loopback ports in pairs: SeaweedFS serves gRPC on each of its ports plus 10,000."""

import random
import socket
from contextlib import ExitStack

GRPC_OFFSET = 10_000

# Below Linux's range for outgoing connections (32768 and up), for the pair as a whole: otherwise
# any client on the machine may be given the port between our look and the server's bind.
_CANDIDATES = range(11_000, 22_000)


def free_ports(count: int) -> list[int]:
    """``count`` ports, each free together with its gRPC port, all different."""
    found: list[int] = []
    with ExitStack() as held:  # held until all are found, so that none is found twice
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

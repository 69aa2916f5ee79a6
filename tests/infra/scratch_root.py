"""A scratch root like that of the image: read-only, with a few writable folders, for one command.

It contains the programs of this machine and the folders that are named, and nothing else: not this
checkout and no home folder. The command runs as user 1000 without privileges, as in a pod.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc", "/opt")
USER = 1000


def in_scratch_root(
    root: Path,
    command: Iterable[object],
    *,
    readable: Iterable[Path],
    writable: Iterable[str],
    env: Mapping[str, str],
) -> list[str]:
    """Return the command line that runs ``command`` in a scratch root below the folder ``root``.

    ``readable`` are folders of this machine, which keep their paths. The writable folders are
    empty. The mounts are visible to the command alone, and end with it. Only root may mount.
    """
    base = shlex.quote(str(root))
    lines = [f"mount -t tmpfs -o mode=755 none {base}"]
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            lines.append(f"ln -s {path.readlink()} {base}{path}")
        elif path.is_dir():
            lines += _bound_read_only(path, base)
    # Every folder of a pod is there before its root becomes read-only.
    lines += [f"mkdir -p {base}{path}" for path in ("/proc", "/dev", *writable)]
    lines += [f"mount --rbind /{name} {base}/{name}" for name in ("proc", "dev")]
    lines += [
        f"mount -t tmpfs -o mode=1777,uid={USER},gid={USER} none {base}{path}" for path in writable
    ]
    # After the writable ones, because temporary folders may be below them.
    for path in readable:
        lines += _bound_read_only(path, base)
    variables = [f"{name}={value}" for name, value in env.items()]
    run = ["env", "-i", *variables, *map(str, command)]
    lines += [
        f"mount -o remount,ro {base}",
        # Without / as the working folder, a relative path would lead out of the root.
        f"exec chroot --userspec={USER}:{USER} --groups= {base} {shlex.join(run)}",
    ]
    return ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-ec", "\n".join(lines)]


def _bound_read_only(path: Path, base: str) -> list[str]:
    target = f"{base}{shlex.quote(str(path))}"
    return [
        f"mkdir -p {target}",
        f"mount --bind {shlex.quote(str(path))} {target}",
        f"mount -o remount,bind,ro {target}",
    ]

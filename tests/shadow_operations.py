"""Operations on files, the same inside a sandbox and on a plain directory: ``python shadow_operations.py ROOT JSON``.

Each is a list ``[name, path, ...]``; one that cannot be done there and then is passed over, in both places alike.
"""

import contextlib
import errno
import json
import os
import shutil
import sys


def write(root, path, text, mode):
    place = os.path.join(root, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(place, flags, 0o644), "wb") as out:
        out.write(text.encode("utf-8", "surrogateescape"))
    os.chmod(place, mode)


def link(root, path, target):
    place = os.path.join(root, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.symlink(target, place)


def remove(root, path):
    place = os.path.join(root, path)
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    else:
        os.unlink(place)


def make(root, path):
    os.makedirs(os.path.join(root, path))


def mode(root, path, bits):
    place = os.path.join(root, path)
    if os.path.isfile(place) and not os.path.islink(place):
        os.chmod(place, bits)


def touch(root, path):
    os.utime(os.path.join(root, path), (1, 1), follow_symlinks=False)


def move(root, path, target):
    """Rename, by copying where overlayfs says EXDEV for a directory of the base, as ``mv`` does."""
    source, place = os.path.join(root, path), os.path.join(root, target)
    if (place + "/").startswith(source + "/") or os.path.isdir(place):
        return
    os.makedirs(os.path.dirname(place), exist_ok=True)
    try:
        os.rename(source, place)
    except OSError as error:
        if error.errno != errno.EXDEV or os.path.lexists(place):
            raise
        shutil.copytree(source, place, symlinks=True)
        shutil.rmtree(source)


def forge(root, path, byte):
    """Change a file and say by its size and time that it was not."""
    place = os.path.join(root, path)
    with os.fdopen(os.open(place, os.O_RDWR | os.O_NOFOLLOW), "r+b", buffering=0) as out:
        found = os.fstat(out.fileno())
        out.write(byte.encode()[: found.st_size])
        os.utime(out.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))


def twin(root, path, target):
    """Give a file a second name."""
    place = os.path.join(root, target)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.link(os.path.join(root, path), place, follow_symlinks=False)


KNOWN = {f.__name__: f for f in (write, link, remove, make, mode, touch, move, forge, twin)}


def apply(root, operations):
    """Apply all of them below a directory."""
    for name, *rest in operations:
        with contextlib.suppress(OSError):
            KNOWN[name](root, *rest)


if __name__ == "__main__":
    apply(sys.argv[1], json.loads(sys.argv[2]))

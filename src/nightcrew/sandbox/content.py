"""Mounts of a sandbox: binds, places to mount on, overlays.

Where a mount goes below what an agent may have written before (an overlay's upper layer), its place is opened
step by step without following any link: a link planted by an earlier attempt must not redirect a mount.
"""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import Final

from nightcrew.host import kernel
from nightcrew.sandbox.order import BindOrder, Order, OverlayOrder
from nightcrew.sandbox.places import lies_in

_NO_ESCAPE: Final = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_PATH_ONLY: Final = os.O_PATH | os.O_CLOEXEC
_DIRECTORY: Final = _PATH_ONLY | os.O_DIRECTORY
_SAFE: Final = kernel.ATTR_NOSUID | kernel.ATTR_NODEV
_UNKNOWN_OPTION: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def mount_all(root: int, order: Order) -> None:
    """Mount home, overlays and binds below ``root``, outer ones first, so that each finds its place."""
    home = order["home"]
    targets = [item["target"] for item in (*order["overlays"], *order["binds"])]
    if home and not any(lies_in(home, target) for target in targets):
        place = open_place(root, home, is_directory=True)
        keep_writable(place)
        os.close(place)
    mounts = [(item["target"], True, partial(_mount_overlay, overlay=item)) for item in order["overlays"]]
    mounts += [
        (item["target"], os.path.isdir(item["source"]), partial(_mount_bind, bind_order=item))
        for item in order["binds"]
    ]
    for target, is_directory, mount in sorted(mounts, key=lambda entry: _depth(entry[0])):
        try:
            place = open_place(root, target, is_directory=is_directory)
            mount(place)
            os.close(place)
        except OSError as cause:
            # The path the user knows, not the descriptor it was mounted through.
            raise OSError(cause.errno, cause.strerror, f"{target} ({cause.filename})") from cause


def _depth(path: str) -> int:
    return os.path.normpath(path).count("/")


def _mount_bind(place: int, bind_order: BindOrder) -> None:
    tree = kernel.open_tree(bind_order["source"])
    kernel.set_mount_flags(tree, _SAFE if bind_order["writable"] else _SAFE | kernel.ATTR_RDONLY)
    kernel.attach(tree, place)
    os.close(tree)


def keep_writable(place: int) -> None:
    """Mount a directory of the root on itself, so that it stays writable when the root no longer is."""
    tree = kernel.open_tree_of(place)
    kernel.attach(tree, place)
    os.close(tree)


def open_place(root: int, target: str, *, is_directory: bool) -> int:
    """Return a descriptor of ``target`` below ``root`` to mount on, creating what is missing, following no link.

    Raises:
        OSError: ELOOP for a link on the way; ENOTDIR or EISDIR when something else stands there.
    """
    names = [name for name in target.split("/") if name]
    here = os.dup(root)
    for position, name in enumerate(names):
        as_directory = is_directory or position < len(names) - 1
        there = _open(here, name, as_directory)
        if there < 0:
            there = _make_all(here, names[position:], is_directory=is_directory)
            os.close(here)
            return there
        os.close(here)
        here = there
    return here


def _make_all(here: int, names: list[str], *, is_directory: bool) -> int:
    """Make what is missing and return a descriptor of the last: what is new has nothing in it, and nobody else knows it."""
    place = ""
    for position, name in enumerate(names):
        place = f"{place}/{name}" if place else name
        _make(here, place, is_directory or position < len(names) - 1)
    return kernel.open_beneath(here, place, _DIRECTORY if is_directory else _PATH_ONLY, _NO_ESCAPE)


def _open(directory: int, name: str, as_directory: bool) -> int:
    """Return a descriptor, -1 when there is nothing of that name."""
    try:
        return kernel.open_beneath(directory, name, _DIRECTORY if as_directory else _PATH_ONLY, _NO_ESCAPE)
    except FileNotFoundError:
        return -1


def _make(directory: int, name: str, as_directory: bool) -> None:
    if as_directory:
        os.mkdir(name, 0o755, dir_fd=directory)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o644, dir_fd=directory))


def _mount_overlay(place: int, overlay: OverlayOrder) -> None:
    """As new kernels want it, else as old ones do.

    Never by path: there is no length limit, no escaping of ':' ',' and '\\', and /proc/mounts inside shows no path of
    the host.
    """
    lowers, upper, work = overlay["lowers"], overlay["upper"], overlay["work"]
    try:
        tree = _new_overlay(lowers, upper, work)
    except OSError as problem:
        if problem.errno not in _UNKNOWN_OPTION:
            raise
        _mount_classic(place, [*lowers, upper, work])
        return
    kernel.attach(tree, place)
    os.close(tree)


def _mount_classic(place: int, folders: list[str]) -> None:
    opened = [os.open(folder, _DIRECTORY) for folder in folders]
    *lowers, upper, work = [f"/proc/self/fd/{fd}" for fd in opened]
    try:
        mount_layers_classic(place, lowers, upper, work)
    finally:
        for fd in opened:
            os.close(fd)


def _new_overlay(lowers: list[str], upper: str, work: str) -> int:
    """``lowerdir+`` (Linux 6.7) takes up to 500 layers; a name is looked up when it is given, so each is ``.`` in its turn."""
    context = kernel.FilesystemContext("overlay")
    try:
        layers = [("lowerdir+", lower) for lower in lowers]
        for key, folder in (*layers, ("upperdir", upper), ("workdir", work)):
            os.chdir(folder)
            context.set_string(key, ".")
        context.set_flag("userxattr")
        context.set_flag("volatile")
        return context.mount(_SAFE)
    finally:
        context.close()
        os.chdir("/")


def mount_layers_classic(place: int, lowers: list[str], upper: str, work: str) -> None:
    """mount(2) for Linux 5.11 to 6.6; about 200 layers fit its one page of options."""
    options = f"lowerdir={':'.join(lowers)},upperdir={upper},workdir={work},userxattr,volatile"
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("overlay", f"/proc/self/fd/{place}", "overlay", flags, options.encode())

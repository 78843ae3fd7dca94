"""What programs do to files, the same in a shadow and in a plain directory: ``python shadow_torture.py DIRECTORY``.

Prints one line per act with what came of it, then one per file that is left. The two outputs must be equal.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import shutil
import socket
import sys
import threading


def say(what, *result):
    print(what, *result)


def attempt(what, act):
    try:
        say(what, act())
    except OSError as error:
        say(what, errno.errorcode.get(error.errno, error.errno))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data, mode="wb"):
    with open(path, mode) as file:
        file.write(data)


def rename_over():
    write("new", b"new\n")
    os.rename("new", "base/one")
    say("rename over a file of the base", read("base/one"), os.path.exists("new"))
    os.replace("base/two", "base/three")
    say("replace one of the base by another", read("base/three"), sorted(os.listdir("base")))
    os.mkdir("made")
    write("made/x", b"x")
    attempt("rename a new directory", lambda: os.rename("made", "moved"))
    attempt("rename over a directory with files", lambda: os.rename("moved", "base"))
    attempt("rename a directory onto a file", lambda: os.rename("moved", "run.sh"))
    os.mkdir("empty")
    attempt("rename onto an empty directory", lambda: os.rename("moved", "empty"))
    say("after", sorted(os.listdir("empty")))


def unlink_open():
    with open("base/open", "r+b") as file:
        os.unlink("base/open")
        file.write(b"gone but here")
        file.seek(0)
        say("unlinked while open", file.read(), os.fstat(file.fileno()).st_nlink, os.path.exists("base/open"))
    write("base/open", b"another")
    say("made anew", read("base/open"))


def mapped():
    with open("base/map", "r+b") as file:
        with mmap.mmap(file.fileno(), 0) as view:
            view[0:4] = b"MMAP"
            view.flush()
            other = read("base/map")[:8]
        say("mmap write", other)
        file.truncate(2)
    say("truncated", read("base/map"))
    os.truncate("base/map", 5000)
    say("grown", len(read("base/map")), read("base/map").count(0))


def appended():
    with open("base/log", "r+b") as reader:
        reader.read()
        for number in range(5):
            write("base/log", b"line %d\n" % number, "ab")
        say("append", reader.read())
    with open("base/log", "r+b") as file:
        file.seek(3)
        file.write(b"###")
        os.fsync(file.fileno())
    say("write in the middle", read("base/log"))


def linked():
    os.link("base/link-me", "hard")
    write("hard", b"through the link\n", "ab")
    say("hard link", read("base/link-me"), os.stat("hard").st_nlink)
    os.unlink("base/link-me")
    say("the other name goes on", read("hard"), os.stat("hard").st_nlink)
    os.symlink("hard", "soft")
    os.symlink("/etc/hostname/no", "dangling")
    say("symbolic links", os.readlink("soft"), read("soft"), os.path.exists("dangling"), os.readlink("lnk"))
    os.unlink("lnk")
    os.symlink("base", "lnk")
    say("link replaced", os.path.isdir("lnk"))


def modes():
    for mode in (0o755, 0o600, 0o444, 0o4755, 0o1777):
        os.chmod("run.sh", mode)
        say("chmod", oct(os.stat("run.sh").st_mode))
    os.chmod("base", 0o700)
    say("directory", oct(os.stat("base").st_mode))
    os.utime("run.sh", (5, 7))
    say("times", int(os.stat("run.sh").st_atime), int(os.stat("run.sh").st_mtime))
    os.chmod("run.sh", 0o755)


def attributes():
    attempt("set attribute", lambda: os.setxattr("base/attr", "user.note", b"kept"))
    attempt("attribute", lambda: os.getxattr("base/attr", "user.note"))
    write("base/attr", b"more", "ab")
    attempt("after a write", lambda: os.getxattr("base/attr", "user.note"))
    attempt("remove attribute", lambda: os.removexattr("base/attr", "user.note"))
    attempt("gone", lambda: os.getxattr("base/attr", "user.note"))


def emptied():
    shutil.rmtree("tree")
    say("tree removed", os.path.exists("tree"))
    os.makedirs("tree/deep")
    write("tree/deep/only", b"1")
    say("tree made anew", sorted(os.listdir("tree")), sorted(os.listdir("tree/deep")))
    attempt("remove what has something in it", lambda: os.rmdir("tree"))
    attempt("list what is no directory", lambda: os.listdir("run.sh"))
    attempt("make what is there", lambda: os.mkdir("tree"))
    attempt("exclusive", lambda: os.open("run.sh", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    attempt("no follow", lambda: os.open("soft", os.O_RDONLY | os.O_NOFOLLOW))


def sparse():
    with open("sparse", "wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"in the middle")
    with open("sparse", "ab") as file:
        file.write(b"end")
    found = os.stat("sparse")
    say("a sparse gigabyte", found.st_size, found.st_blocks * 512 < 1 << 20)
    with open("sparse", "rb") as file:
        file.seek(1 << 29)
        say("its middle", file.read(13))


def locked():
    with open("base/lock", "r+b") as one, open("base/lock", "r+b") as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        attempt("second lock", lambda: fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB))
    server = socket.socket(socket.AF_UNIX)
    server.bind("talk")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("talk")
    say("socket", True)
    os.unlink("talk")
    os.mkfifo("pipe")
    os.unlink("pipe")


def concurrent():
    def append(number):
        with open("base/many", "ab", buffering=0) as file:
            file.writelines(b"%d:%d\n" % (number, line) for line in range(200))

    def churn(number):
        for turn in range(50):
            write(f"churn-{number}", b"%d" % turn)
            os.rename(f"churn-{number}", f"base/churn-{number}")

    threads = [threading.Thread(target=act, args=(n,)) for n in range(4) for act in (append, churn)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = sorted(read("base/many").split())
    say("concurrent appends", len(lines), hashlib.sha256(b"\n".join(lines)).hexdigest())
    # In which order they came is nobody's promise.
    write("base/many", b"\n".join(lines))


def left(root):
    for directory, names, files in os.walk(root):
        if directory == root and ".git" in names:
            names.remove(".git")
        names.sort()
        for name in sorted(files + [n for n in names if os.path.islink(os.path.join(directory, n))]):
            place = os.path.join(directory, name)
            found = os.lstat(place)
            if os.path.islink(place):
                content = os.readlink(place)
            elif found.st_size > 1 << 24:
                content = f"{found.st_size} bytes"
            else:
                content = hashlib.sha256(read(place)).hexdigest()
            print(oct(found.st_mode), found.st_nlink, os.path.relpath(place, root), content)


ACTS = (
    rename_over,
    unlink_open,
    mapped,
    appended,
    linked,
    modes,
    attributes,
    emptied,
    sparse,
    locked,
    concurrent,
)

if __name__ == "__main__":
    os.chdir(sys.argv[1])
    os.umask(0o022)
    for act in ACTS:
        act()
    left(sys.argv[1])

"""Work as agents do it, each piece once to warm up and once timed: ``python work.py ROOT [ASIDE]`` prints milliseconds as JSON.

Runs inside the sandbox and outside of it, with nothing but the standard library.
"""

import json
import os
import subprocess
import sys
import time

FILES = 2000
CONTENT = b"line of text\n" * 300


def run(*argv):
    done = subprocess.run(argv, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode > 1:  # 1: grep has found nothing
        sys.exit(f"{argv}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")


def write_files(root):
    place = os.path.join(root, f".written-{time.perf_counter_ns()}")
    started = time.perf_counter()
    for number in range(FILES):
        if number % 100 == 0:
            os.makedirs(f"{place}/{number}")
        with open(f"{place}/{number // 100 * 100}/{number}", "wb") as out:
            out.write(CONTENT)
    return time.perf_counter() - started


def start_processes(root):
    for _ in range(50):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def burn(root):
    total = 0
    for number in range(2_000_000):
        total += number * number


WORK = {
    "git status": lambda root: run("git", "-C", root, "status", "--porcelain"),
    "grep -r": lambda root: run("grep", "-rF", "no such line anywhere", root, "--exclude-dir=.git"),
    "find": lambda root: run("find", root, "-path", "*/.git", "-prune", "-o", "-size", "+1000k", "-print"),
    "write 2,000 files": write_files,
    "start a process": start_processes,
    "CPU": burn,
}


def main(root, aside=""):
    """Measure everything. What was written is moved to ``aside`` or stays: files removed a moment ago make new ones dear (ext4)."""
    times = {}
    for what, work in WORK.items():
        work(root)
        started = time.perf_counter()
        took = work(root)
        times[what] = (took or time.perf_counter() - started) * 1000
    for name in os.listdir(root):
        if aside and name.startswith(".written-"):
            os.rename(os.path.join(root, name), os.path.join(aside, name))
    print(json.dumps(times))


if __name__ == "__main__":
    main(*sys.argv[1:])

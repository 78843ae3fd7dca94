"""Fail when a test was skipped that this kind of machine can run.

Usage: check_skips.py JUNIT_XML EXPECTED. A line of EXPECTED is ``test id prefix: reason``; a skip that matches no
line is an error, and so is a run without a single passed test.
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def main() -> int:
    cases = ET.parse(sys.argv[1]).getroot().iter("testcase")
    lines = Path(sys.argv[2]).read_text().splitlines()
    expected = [line.split(": ", 1)[0] for line in lines if line.strip() and not line.startswith("#")]
    passed, unexpected = 0, []
    for case in cases:
        skipped = case.find("skipped")
        name = f"{case.get('classname')}.{case.get('name')}"
        if skipped is None:
            passed += 1
        elif not any(name.startswith(prefix) for prefix in expected):
            unexpected.append(f"{name}: {skipped.get('message')}")
    if unexpected:
        print("skipped, but this kind of machine can run them:", *unexpected, sep="\n  ")
    if not passed:
        print("no test passed")
    return 1 if unexpected or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

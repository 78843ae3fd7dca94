"""The examples of the Python guide run as they stand, each in a process of its own, in a small repository."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "python.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(crew: Hermetic, number: int) -> None:
    script = crew.root / "example.py"
    script.write_text(EXAMPLES[number], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=crew.repo,
        env=crew.variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_looking_at_the_package_loads_none_of_it() -> None:
    code = (
        "import sys, nightcrew; dir(nightcrew); print([m for m in sys.modules if m.startswith('nightcrew.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import nightcrew

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = nightcrew.Nothing

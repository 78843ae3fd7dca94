"""Write the tables of docs/guides/agents.md: what adapters say of themselves, and what the real programs were seen to do.

Usage: ``uv run python docs/generate_agents.py [--check] [RESULTS.xml ...]``. RESULTS are the JUnit reports of
``tests/e2e/test_agents_real_programs.py`` and ``test_agents_six_tasks.py`` (see tests/real_agents.py for how to run them);
without any, the second table stays as it is. With ``--check`` nothing is written; the exit code is 1 when the page is not
what the code, or the results, say.
"""

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from nightcrew.agents.adapters import ADAPTERS  # noqa: E402
from real_agents import AGENTS, IN_PART, NOT_POSSIBLE, PACKAGES  # noqa: E402

PAGE = ROOT / "docs" / "guides" / "agents.md"
#: Scenario → the test that stands for it (a part of its name, and of its parameters), and what is shown.
SCENARIOS = {
    "six": ("test_six_tasks_from_a_goal_to_a_promotion", "", "a goal of six tasks: planned, asked, denied, runtime killed, reviewed, promoted"),
    "steps": ("test_steps_are_done_and_land", "", "three steps are done, proven and promoted"),
    "deny": ("test_a_denied_action_does_not_happen", "deny", "a denied action does not happen, and it works around it"),
    "control": ("test_a_denied_action_does_not_happen", "control", "control: without the rule the same action happens"),
    "resume": ("test_a_question_parks_it_and_it_goes_on", "", "a question parks it; after the answer it goes on"),
    "killed": ("test_killed_with_a_question_open", "", "runtime killed with a question open: the action does not happen, the agent ends"),
    "interrupt": ("test_interrupted_and_gone_on", "", "interrupted while its model answers, and gone on"),
    "pause": ("test_paused_and_resumed", "", "paused and resumed"),
    "freeze": ("test_frozen_and_thawed", "", "every process frozen for longer than an answer takes, and thawed"),
    "budget": ("test_a_spent_budget_pauses_it", "", "a spent budget pauses it, an extended one lets it go on"),
    "faults": ("test_a_provider_that_stumbles", "", "a provider that is overloaded, then breaks off: asked again"),
    "refused": ("test_a_key_that_is_refused", "", "a refused key ends it within minutes, and is recorded"),
    "attack": ("test_what_it_runs_reaches_nothing", "", "what it runs reaches no file outside, no network, no key"),
    "settings": ("test_what_a_repository_sets_for_it", "", "hooks, servers, plugins and permissions of the repository are not obeyed"),
    "rehearsal": ("test_it_can_be_rehearsed", "", "`nightcrew rehearse` without a key"),
}  # fmt: skip


def render_capabilities() -> Iterator[str]:
    """Yield the table of what each adapter says of itself."""
    yield "| agent | asks for | sees reads | goes on after a denial | after a park or a pause | its own word on cost | shaped answers | can ask you | driven over |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, adapter in ADAPTERS.items():
        can = adapter.capabilities
        words = (
            can.approvals,
            _yes(can.sees_reads),
            _yes(can.deny_continues),
            can.resume,
            can.usage,
            can.structured_output,
            _yes(can.asks_person),
        )
        yield f"| `{name}` | {' | '.join(words)} | {can.note} |"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def render_scenarios(results: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Yield the table of what was seen: scenario and agent → passed, failed, or not possible with the reason below."""
    reasons: list[str] = []
    versions = ", ".join(f"{agent} {PACKAGES[agent][2]}" for agent in AGENTS)
    yield f"Seen with {versions}."
    yield ""
    yield f"| | {' | '.join(f'`{agent}`' for agent in AGENTS)} |"
    yield f"|---|{'---|' * len(AGENTS)}"
    for scenario, (_, _, said) in SCENARIOS.items():
        cells = []
        for agent in AGENTS:
            why, less = (each.get(scenario, {}).get(agent) for each in (NOT_POSSIBLE, IN_PART))
            notes = [each for each in (why, less) if each]
            reasons += [each for each in notes if each not in reasons]
            cell = "not possible" if why else results.get((scenario, agent), "not run")
            cells.append(cell + "".join(f" ({reasons.index(each) + 1})" for each in notes))
        yield f"| {said} | {' | '.join(cells)} |"
    yield ""
    yield from (f"({number}) {why}." for number, why in enumerate(reasons, 1))


def read_results(files: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return what became of each scenario with each agent."""
    found: dict[tuple[str, str], str] = {}
    for file in files:
        for case in ET.parse(file).getroot().iter("testcase"):  # noqa: S314 - written by our own test run
            name = str(case.get("name"))
            for scenario, (test, parameter, _) in SCENARIOS.items():
                agent = next((each for each in AGENTS if re.search(rf"[\[-]{each}[\]-]", name)), "")
                if name.startswith(test) and parameter in name and agent:
                    bad = case.find("failure") is not None or case.find("error") is not None
                    skipped = case.find("skipped") is not None
                    found[scenario, agent] = "failed" if bad else "not run" if skipped else "passed"
    return found


def put(page: str, name: str, lines: Iterator[str]) -> str:
    """Return the page with another text between the marks called ``name``."""
    begin, end = f"<!-- {name}: generated -->\n", f"<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return before + begin + "\n" + "\n".join(lines) + "\n\n" + end + after


def main() -> int:
    """Write or check the page."""
    files = [word for word in sys.argv[1:] if not word.startswith("--")]
    old = PAGE.read_text(encoding="utf-8")
    new = put(old, "capabilities", render_capabilities())
    if files:
        new = put(new, "scenarios", render_scenarios(read_results(files)))
    if "--check" in sys.argv:
        if new != old:
            sys.stderr.write(f"{PAGE} is not what the code says: run docs/generate_agents.py\n")
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

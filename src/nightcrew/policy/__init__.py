"""Pure rules: an action or a change → allow, ask or deny, with the rule, its file:line and the reason in words.

Way of the data: ``load`` (YAML → Policy) → ``judge`` (Action → Decision) and ``inspect`` (Change → Findings).
A command line is read by ``lines`` (syntax tree → program starts and file effects) before rules look at it.
"""

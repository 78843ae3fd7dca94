"""Pure rules: an action or a change becomes allow, ask or deny, with the rule and its place."""

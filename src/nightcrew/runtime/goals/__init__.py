"""From a goal to a plan: a planner is asked, heard, corrected; and asked again while a run goes on."""

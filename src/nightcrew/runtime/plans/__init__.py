"""From a tasks file to a plan that a person approves, its versions, and the questions it will raise."""

"""Composition root and library API: joins the stages, the only reader of configuration and environment."""

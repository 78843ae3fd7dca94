"""The journal as evidence: verified, searched, signed, exported, bundled; from a line to who made it."""

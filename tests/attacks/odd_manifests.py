"""Manifests of which one field is odd or missing: every field, every oddity."""

from __future__ import annotations

from manifests import ODDITIES

ATTACKS = ODDITIES

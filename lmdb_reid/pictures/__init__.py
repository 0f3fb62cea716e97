"""Pictures for people: contact sheets of decoded arrays, with letters of any script."""

from lmdb_reid.pictures._picture import Picture
from lmdb_reid.pictures._sheet import CELL, Colour, contact_sheet

__all__ = ["CELL", "Colour", "Picture", "contact_sheet"]

"""A drawn basketball-like game: pictures and boxes of the atmaCup layout, no photograph in them.

Ten players in two kits walk over one court, seen by two cameras: `side` from beyond the near
touchline, `top` from above. Places, looks and boxes are pure functions of the seed, the quarter,
the frame and the label: frame k is the same however many frames are drawn. What is painted and
what is boxed are the same polygons, so boxes are tight.

    court metres ──plan──► pixels ◄──scaled, placed── body units

A body unit is a height in `side` and a shoulder width in `top`.
"""

from builders.game._cameras import ANGLES
from builders.game._game import COLUMNS, Game, draw_game
from builders.game._players import KITS, PLAYERS

__all__ = ["ANGLES", "COLUMNS", "KITS", "PLAYERS", "Game", "draw_game"]

"""ArcFace: classes as directions, an angle kept free between them."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from lmdb_reid.errors import UsageError


class ArcFace(nn.Module):
    """Additive angular margin loss.

    For an embedding at the angle theta_j from the direction of class j, and y its own class:

        own = e^(s cos(theta_y + m));  L = -log(own / (own + sum over j != y of e^(s cos theta_j)))

    J. Deng, J. Guo, N. Xue, S. Zafeiriou: ArcFace: Additive Angular Margin Loss for Deep Face
    Recognition, CVPR 2019, equation 3. Where theta_y + m would pass pi, and the cosine rise again,
    cos(theta_y) - m sin(m) takes its place, which goes on falling (the authors' code, `easy_margin`
    off).

    Args:
        classes: how many.
        embedding: length of an embedding.
        scale: s, above 0.
        margin: m in radians, 0 to pi/2; 0 is softmax over scaled cosines.

    Raises:
        UsageError: a value out of range.
    """

    def __init__(
        self, classes: int, embedding: int, *, scale: float = 16.0, margin: float = 0.3
    ) -> None:
        super().__init__()
        if classes < 1 or embedding < 1:
            raise UsageError(
                f"classes and embedding must be at least 1, got {classes} and {embedding}"
            )
        if not (scale > 0 and math.isfinite(scale)):
            raise UsageError(f"scale must be a finite number above 0, got {scale}")
        if not 0 <= margin <= math.pi / 2:
            raise UsageError(f"margin must be an angle in radians from 0 to pi/2, got {margin}")
        self.scale = scale
        self.margin = margin
        self.directions = nn.Parameter(torch.empty(classes, embedding))
        nn.init.normal_(self.directions)

    def cosines(self, embeddings: torch.Tensor) -> torch.Tensor:
        """cos(theta) of every embedding [B, D] with every class: float32 [B, K], each from -1 to 1.

        No margin in them: what a prediction is made from.
        """
        # bfloat16 holds two decimals of a cosine: too few for a threshold, and for the margin.
        with torch.autocast(embeddings.device.type, enabled=False):
            directions = functional.normalize(self.directions.float())
            return functional.linear(functional.normalize(embeddings.float()), directions).clamp(
                -1.0, 1.0
            )

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss of embeddings [B, D] whose classes are `labels`, int64 [B], 0..K-1."""
        cosines = self.cosines(embeddings)
        own = cosines.gather(1, labels[:, None])
        # Where the cosine is 1 the root has no gradient, and NaN would come of it.
        sine = (1.0 - own.square()).clamp(min=1e-9).sqrt()
        apart = own * math.cos(self.margin) - sine * math.sin(self.margin)
        past = own - self.margin * math.sin(self.margin)
        own = torch.where(own > math.cos(math.pi - self.margin), apart, past)
        return functional.cross_entropy(
            self.scale * cosines.scatter(1, labels[:, None], own), labels
        )

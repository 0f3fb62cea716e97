"""An identity's images in groups of k, of as many cameras as can be."""

from __future__ import annotations

import numpy as np

from lmdb_reid.schema import Rows


def by_camera(draw: np.random.Generator, cameras: Rows, counts: Rows, k: int) -> Rows:
    """Deal the images of each identity to groups, every camera's as evenly as can be.

    An identity's images, sorted by camera and shuffled within, are dealt to its g groups in turn:
    those of a camera with n images come to min(n, g) groups, and no dealing puts them into more.
    What groups lack are further images of the identity, none that the group has unless it has them
    all.

    Args:
        draw: for the order of cameras and images.
        cameras: int64 [N], of images that stand identity by identity.
        counts: int64 [I], images of each identity; their sum is N.
        k: images of a group.

    Returns:
        int64 [G, k], places 0..N-1; the ceil(n / k) groups of an identity are neighbours.
    """
    starts = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(counts)), counts)
    _, camera = np.unique(cameras, return_inverse=True)
    views, view = np.unique(owner * (camera.max(initial=0) + 1) + camera, return_inverse=True)
    # Cameras in another order for each identity, and images within: so all come first by turns.
    order = np.lexsort((draw.random(len(owner)), draw.random(len(views))[view], owner))
    groups = -(-counts // k)
    identity = np.repeat(np.arange(len(counts)), groups * k)
    first = np.cumsum(groups) - groups
    group, slot = np.divmod(np.arange(len(identity)) - first[identity] * k, k)
    place = slot * groups[identity] + group  # in the order of dealing
    count = counts[identity]
    over = place - count
    # What would come round to the group that has it goes one further.
    shift = np.where((count - 1) % np.maximum(groups[identity], 1) == 0, 0, 1)
    shift = np.where(groups[identity] > 1, shift, 0)
    place = np.where(over < 0, place, (over + shift) % count)
    found: Rows = order[starts[identity] + place].reshape(-1, k)
    return found

"""A store for torchreid 1.4.0: what its engines ask of a data manager.

data = TorchreidData("market.lmdb", "split.json")
model = torchreid.models.build_model("osnet_x1_0", data.num_train_pids)
engine = torchreid.engine.ImageSoftmaxEngine(data, model, optimizer)
engine.run(max_epoch=60)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch

from lmdb_reid.errors import UsageError
from lmdb_reid.loaders import Loader
from lmdb_reid.store import Store
from training.bridges._parts import Loaders, People, Place, Reading
from training.splits import Split


class TorchreidBatches:
    """A loader's batches as torchreid has them: img, pid, camid, impath and dsetid.

    Args:
        loader: what gives the batches.
        people: whose rows they are.
    """

    def __init__(self, loader: Loader, people: People) -> None:
        self.loader = loader
        self._ids = people.store.ids
        self._cameras = torch.from_numpy(people.cameras)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for images, labels, rows in self.loader:
            yield {
                "img": images,
                "pid": labels,
                "camid": self._cameras[rows],
                "impath": [self._ids[row] for row in rows.tolist()],
                "dsetid": torch.zeros_like(rows),
            }


class TorchreidData:
    """In place of `torchreid.data.ImageDataManager`; a context manager that ends the workers.

    Args:
        store: a Store, or the path of one.
        split: rows of train, query and gallery, or the file of a saved split.
        name: what torchreid calls the data set.
        **reading: of `Reading`: batch_size, sampler, augment, normalize, ...

    Raises:
        UsageError: an empty part, or settings that do not fit.
    """

    data_type = "image"

    def __init__(
        self, store: Store | Place, split: Split | Place, *, name: str = "store", **reading: Any
    ) -> None:
        people = People.of(store, split)
        self._loaders = Loaders.of(people, Reading(**reading))
        self.sources = self.targets = [name]
        self.height, self.width = self._loaders.size
        self.num_train_pids = len(people.classes)
        self.num_train_cams = len(np.unique(people.cameras[people.train]))
        self.train_loader = TorchreidBatches(self._loaders.train, people)
        self.test_loader = {
            name: {
                "query": TorchreidBatches(self._loaders.query, people),
                "gallery": TorchreidBatches(self._loaders.gallery, people),
            }
        }

    def fetch_test_loaders(self, name: str) -> None:
        """Refuse torchreid's visrank, which reads files by path.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "visrank reads image files, and a store has none. Use lmdb-reid rank --strips instead"
        )

    def close(self) -> None:
        """End the workers."""
        self._loaders.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

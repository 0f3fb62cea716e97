"""pytorch-metric-learning over our loaders: its sampler, its miners and losses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from lmdb_reid import PKSampler, ReIDDataset, make_loader

WHY = "pytorch-metric-learning is not installed: `make test-interop` has it"
losses = pytest.importorskip("pytorch_metric_learning.losses", reason=WHY)
miners = pytest.importorskip("pytorch_metric_learning.miners", reason=WHY)
samplers = pytest.importorskip("pytorch_metric_learning.samplers", reason=WHY)


@pytest.fixture
def dataset(store_path: Path) -> ReIDDataset:
    return ReIDDataset(store_path)


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_its_sampler_makes_our_batches(engine: str, dataset: ReIDDataset) -> None:
    sampler = samplers.MPerClassSampler(
        dataset.labels, m=4, batch_size=16, length_before_new_iter=96
    )
    with make_loader(dataset, sampler=sampler, engine=engine, num_workers=1) as loader:  # type: ignore[arg-type]
        assert (loader.batch_size, len(loader)) == (16, 6)
        for batch in loader:
            assert sorted(Counter(batch.labels.tolist()).values()) == [4, 4, 4, 4]
            assert batch.labels.tolist() == dataset.labels[batch.rows.numpy()].tolist()


def test_a_run_with_its_sampler_goes_on_where_it_stopped(dataset: ReIDDataset) -> None:
    def new_loader() -> object:
        sampler = samplers.MPerClassSampler(dataset.labels, m=2, length_before_new_iter=96)
        return make_loader(dataset, 12, sampler=sampler, num_workers=0)

    with new_loader() as first, new_loader() as other:  # type: ignore[attr-defined]
        running = iter(first)
        taken = [next(running).rows.tolist() for _ in range(3)]
        state = first.state_dict()
        rest = [batch.rows.tolist() for batch in running]
        other.load_state_dict(state)
        assert [batch.rows.tolist() for batch in other] == rest
    assert len(taken) + len(rest) == 8


def test_every_batch_of_p_and_k_has_triplets(dataset: ReIDDataset) -> None:
    miner = miners.TripletMarginMiner(margin=10.0, type_of_triplets="all")
    sampler = PKSampler(dataset, p=4, k=3)
    torch.manual_seed(0)
    with make_loader(dataset, sampler=sampler, num_workers=1) as loader:
        for batch in loader:
            anchor, positive, negative = miner(torch.randn(12, 8), batch.labels)
            # Each of 12 images, with 2 others of its person and 9 of other people.
            assert len(anchor) == 12 * 2 * 9
            assert torch.equal(batch.labels[anchor], batch.labels[positive])
            assert (batch.labels[anchor] != batch.labels[negative]).all()
            assert (anchor != positive).all()


def test_a_miner_and_a_triplet_loss_train_on_our_batches(dataset: ReIDDataset) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 16)
    )
    miner, loss = miners.MultiSimilarityMiner(), losses.TripletMarginLoss(margin=0.2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    open_triplets = miners.TripletMarginMiner(margin=0.2, type_of_triplets="all")
    with make_loader(dataset, 96, num_workers=0, dtype=torch.float32) as whole:
        ((pixels, people, _),) = whole

    def violations() -> int:
        with torch.no_grad():
            return len(open_triplets(model(pixels), people)[0])

    before = violations()
    sampler = PKSampler(dataset, p=4, k=4)
    with make_loader(dataset, sampler=sampler, num_workers=1, dtype=torch.float32) as loader:
        for _ in range(12):
            for images, labels, _ in loader:
                embeddings = model(images)
                value = loss(embeddings, labels, miner(embeddings, labels))
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
    assert before > 1000
    assert violations() < 0.5 * before

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.setups.vision_images import (
    COPY_DISTANCE,
    LabelledImages,
    in_content_order,
    split_pools,
    without_copies,
)


def random_pool(count, seed, distinct=None):
    """Noise, labelled by picture; with `distinct` so many pictures, each drawn again with other grain."""
    draw = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 250, (distinct or count, 3, 32, 32), dtype=torch.uint8, generator=draw)
    if not distinct:
        return LabelledImages(pictures, torch.arange(count))
    number = torch.randint(distinct, (count,), generator=draw)
    grain = torch.randint(6, (count, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return LabelledImages(pictures[number] + grain, number)


def contents(pool):
    return {image.numpy().tobytes() for image in pool.images}


def nearest(some, others):
    """Smallest root mean square distance of any pair, in grey levels, in exact arithmetic."""
    gaps = [(a.double() - b.double()).square().mean().sqrt() for a in some for b in others]
    return float(min(gaps)) if gaps else float("inf")


@settings(max_examples=25)
@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=4),
    distinct=st.integers(1, 8),
    datasets=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_nothing_held_out_is_a_copy_of_anything_trained_on(counts, distinct, datasets, seed):
    # One seed: the pools show the same pictures, so copies across pools are the rule.
    pools = {f"theme{n}": random_pool(count, seed, distinct) for n, count in enumerate(counts)}
    names = list(pools)[:datasets]
    parts = split_pools(pools, dict.fromkeys(pools, "context"), names, 100, 100)
    trained = torch.cat([parts[name].train.images for name in names])
    for part in parts.values():
        assert nearest(part.validation.images, trained) > COPY_DISTANCE
        assert nearest(part.test.images, trained) > COPY_DISTANCE
        assert nearest(part.validation.images, part.test.images) > COPY_DISTANCE


@settings(max_examples=25)
@given(count=st.integers(1, 30), distinct=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_one_image_of_each_picture_is_kept(count, distinct, seed):
    pool = random_pool(count, seed, distinct)
    kept = without_copies(pool, [])
    assert sorted(kept.labels.tolist()) == pool.labels.unique().tolist()


@settings(max_examples=25)
@given(order=st.permutations(range(12)))
def test_order_of_files_does_not_matter(order):
    pool = in_content_order(random_pool(12, seed=1))
    again = in_content_order(random_pool(12, seed=1).take(torch.tensor(order)))
    assert torch.equal(pool.images, again.images)
    assert torch.equal(pool.labels, again.labels)


def test_pools_of_other_label_spaces_are_not_compared():
    pools = {"one": random_pool(10, seed=3), "two": random_pool(10, seed=3)}
    parts = split_pools(pools, {"one": "digits", "two": "context"}, ["one", "two"], 100, 100)
    assert contents(parts["one"].train) == contents(parts["two"].train)


def test_shares_and_limits():
    pools = {"trained": random_pool(100, seed=4), "unseen": random_pool(100, seed=5)}
    spaces = dict.fromkeys(pools, "context")
    free = split_pools(pools, spaces, ["trained"], 1000, 1000)
    assert [len(pool) for pool in vars(free["trained"]).values()] == [60, 20, 20]
    assert [len(pool) for pool in vars(free["unseen"]).values()] == [0, 50, 50]
    limited = split_pools(pools, spaces, ["trained"], 7, 5)
    assert [len(pool) for pool in vars(limited["trained"]).values()] == [7, 3, 3]
    assert [len(pool) for pool in vars(limited["unseen"]).values()] == [0, 5, 5]

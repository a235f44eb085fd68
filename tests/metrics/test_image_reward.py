"""ImageReward as a plugin: prompts in label order, another Python does the work, every failure has one message."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from dpib import catalogue
from dpib.errors import MetricError
from dpib.spec import TaskInfo

SOURCE = Path(__file__).parents[2] / "extras" / "dpib-plugin-image-reward" / "src"


@pytest.fixture(autouse=True)
def plugin(monkeypatch):
    monkeypatch.syspath_prepend(str(SOURCE))
    monkeypatch.delenv("DPIB_IMAGE_REWARD_SHA256", raising=False)


def prompts_of(dataset, classes):
    from dpib_image_reward.prompts import prompts

    return prompts(TaskInfo(dataset=dataset, shape=(3, 32, 32), classes=tuple(classes), nominal_size=10))


def test_prompts_name_the_classes_in_label_order():
    assert prompts_of("mnist", "0123456789")[7] == "A grayscale image of a handwritten digit 7"
    fashion = prompts_of("fashion-mnist", catalogue.dataset("fashion-mnist").classes)
    assert fashion[0] == "A grayscale image of a t-shirt/top"
    assert fashion[9] == "A grayscale image of an ankle boot"
    assert prompts_of("cifar100", ["apple", "aquarium_fish"]) == (
        "An image of an apple",
        "An image of an aquarium fish",
    )
    assert prompts_of("eurosat", ["AnnualCrop", "Forest"])[0] == "A remote sensing image of an annual crop"
    assert prompts_of("celeba-male-64", ["female", "male"]) == ("An image of a female face", "An image of a male face")
    assert prompts_of("camelyon17", ["normal", "tumor"])[1] == "A lymph node histopathology image"
    with pytest.raises(MetricError, match="none for digits"):
        prompts_of("digits", "0123456789")


@pytest.fixture
def score(make_inputs, monkeypatch, tmp_path):
    from dpib_image_reward.metric import ImageReward

    def run(body):
        """Score with a stand-in for the other Python: it gets the same arguments and files."""
        other = tmp_path / "python"
        other.write_text(f"#!{sys.executable}\nimport json, sys, pathlib\nfolder = pathlib.Path(sys.argv[2])\n{body}\n")
        other.chmod(other.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("DPIB_IMAGE_REWARD_PYTHON", str(other))
        inputs = make_inputs()
        task = inputs.task.model_copy(update={"dataset": "mnist"})
        object.__setattr__(inputs, "task", task)
        return ImageReward().compute(inputs)

    return run


def test_the_mean_over_all_images_is_the_score(score):
    answer = json.dumps({"total": -48.0, "count": 96, "sha256": "a" * 64})
    [found] = score(f"assert (folder / 'images.npz').exists()\n(folder / 'answer.json').write_text('{answer}')")
    assert (found.metric, found.value, found.n_synthetic) == ("image-reward", -0.5, 96)
    assert "a" * 64 in found.evaluator


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('no such file')", "no such file"),
        ('(folder / "answer.json").write_text(\'{"total": 1, "count": 95, "sha256": ""}\')', "95 of 96"),
    ],
)
def test_failures_are_told(score, body, message):
    with pytest.raises(MetricError, match=message):
        score(body)


def test_without_another_python_it_says_so(make_inputs, monkeypatch):
    from dpib_image_reward.metric import ImageReward

    monkeypatch.delenv("DPIB_IMAGE_REWARD_PYTHON", raising=False)
    with pytest.raises(MetricError, match="DPIB_IMAGE_REWARD_PYTHON"):
        ImageReward().compute(make_inputs())


@pytest.mark.parametrize("sha256", ["", "0" * 64])
def test_the_worker_loads_no_unconfirmed_weights(tmp_path, monkeypatch, sha256):
    from dpib_image_reward import worker

    cache = tmp_path / ".cache" / "ImageReward"
    cache.mkdir(parents=True)
    (cache / "ImageReward.pt").write_bytes(b"weights")
    (cache / "med_config.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit, match="expected SHA-256" if sha256 else "export DPIB_IMAGE_REWARD_SHA256="):
        worker.main(tmp_path, sha256, "cpu")

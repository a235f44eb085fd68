import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpib.data.catalog.fashion_mnist import CARD as FASHION
from dpib_plugins.pe.shapes import DIGITS, GARMENTS, N_POINTS, PLAIN
from dpib_plugins.pe.simulator import Simulator

TEN = tuple("0123456789")
KINDS = {
    "digits": (TEN, (1, 28, 28)),
    "garments": (FASHION.classes, (1, 28, 28)),
    "plain": (("normal", "pneumonia"), (1, 28, 28)),
    "colour": (("cat", "dog", "car"), (3, 32, 32)),
}


def simulator(kind):
    classes, shape = KINDS[kind]
    return Simulator(classes, shape, 0.7, "cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_images_of_the_task_and_repeat_with_the_generator(kind):
    classes, shape = KINDS[kind]
    labels = torch.arange(130) % len(classes)
    samples = simulator(kind).random(labels, generator())
    assert samples.images.shape == (130, *shape)
    assert samples.images.dtype == torch.uint8
    assert len(samples.images.unique(dim=0)) == 130
    assert torch.equal(simulator(kind).random(labels, generator()).images, samples.images)
    assert len(simulator(kind).random(labels[:0], generator()).images) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_variation_moves_further_with_its_degree(kind):
    draw, labels = simulator(kind), torch.arange(60) % len(KINDS[kind][0])
    samples = draw.random(labels, generator())
    gaps = [
        float(
            (draw.variation(samples, labels, degree, generator(1)).images.float() - samples.images.float()).abs().mean()
        )
        for degree in (0.0, 0.1, 0.4, 1.0)
    ]
    assert gaps[0] == 0
    assert gaps == sorted(gaps)
    fresh = draw.variation(draw.random(labels, generator(2)), labels, 1.0, generator(1))
    assert torch.equal(fresh.images, draw.variation(samples, labels, 1.0, generator(1)).images)


@settings(max_examples=10, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**31))
def test_variations_keep_the_class_and_the_law_of_parameters(degree, seed):
    draw, labels = simulator("digits"), torch.arange(100) % 10
    varied = draw.variation(draw.random(labels, generator(seed)), labels, degree, generator(seed + 1))
    chosen = varied.codes[:, 0].long()
    assert bool((draw._first[labels] <= chosen).all() and (chosen < draw._first[labels + 1]).all())
    numbers = varied.codes[:, 1:]
    assert abs(float(numbers.mean())) < 0.15  # 3,500 numbers: over 8 standard deviations
    assert float(numbers.std()) == pytest.approx(1, abs=0.1)


def test_digits_are_white_on_black_and_stay_on_the_image():
    images = simulator("digits").random(torch.arange(500) % 10, generator()).images.float() / 255
    assert float(images.amax((1, 2, 3)).min()) > 0.4
    assert 0.05 < float(images.mean()) < 0.25
    border = torch.cat([images[..., 0], images[..., -1], images[..., 0, :], images[..., -1, :]], dim=2)
    assert float(border.mean()) < 0.01


def test_classes_look_different_and_filled_outlines_are_filled():
    images = simulator("garments").random(torch.arange(1000) % 10, generator()).images.float()
    trouser, bag = images[1::10].mean(0)[0], images[8::10].mean(0)[0]
    assert float(bag[14, 14]) > 60
    assert float((trouser - bag).abs().mean()) > 10


@pytest.mark.parametrize("template", [one for many in (*DIGITS.values(), *GARMENTS.values(), PLAIN) for one in many])
def test_every_template_is_sampled_along_its_strokes(template):
    points, following = template.sampled()
    assert points.shape == (N_POINTS, 2)
    assert points.min() > -0.15
    assert points.max() < 1.15
    steps = ((points[following] - points) ** 2).sum(1) ** 0.5
    assert steps.max() < 0.2
    assert not template.filled or all(stroke.closed for stroke in template.strokes)


def test_all_classes_of_fashion_mnist_have_silhouettes():
    assert {name.lower() for name in FASHION.classes} == set(GARMENTS)

"""``paper-v1``: the protocol of Gong et al., DPImageBench, 2025: its classifiers, its metrics, 60,000 images; on a GPU.

Two recipes, as the paper's Appendix B.2.4 has them: one for CIFAR, one for every other dataset. Above 32 pixels the
paper evaluates with ResNet and WideResNet only, in micro-batches of 16 images at 64 pixels and of 4 at 128; batch
normalisation sees a micro-batch. Fidelity compares all synthetic with all training images at 299 pixels.

Where the protocol is ours: the headline is the mean over the classifiers at epochs chosen under differential privacy
(the paper prints the best of three); FLD is evaluated on test images as published, beside the paper's variant on
training images; recall and precision take closed balls.
"""

from __future__ import annotations

from dpib.spec import ClassifierSpec, FeatureSpec, Track

_CIFAR = {
    "epochs": 200,
    "batch_size": 126,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "decay_every": 60,
    "decay_factor": 0.2,
    "ema_decay": 0.9999,
}
_OTHERS = {
    "epochs": 50,
    "batch_size": 256,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "decay_every": 20,
    "decay_factor": 0.2,
    "ema_decay": 0.9999,
}


def _train(recipe: dict[str, object], *names: str, micro_batches: int = 1) -> tuple[ClassifierSpec, ...]:
    return tuple(ClassifierSpec.from_plain({**recipe, "name": name, "micro_batches": micro_batches}) for name in names)


CIFAR_CLASSIFIERS = _train(_CIFAR, "resnet-164", "wrn-28-10", "resnext-28")

TRACK = Track(
    name="paper-v1",
    title="Paper",
    summary="The protocol of the DPImageBench paper: 60,000 images, three classifiers, Inception features; a GPU.",
    datasets=(
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "eurosat",
        "celeba-male-32",
        "celeba-male-64",
        "celeba-male-128",
        "camelyon17",
    ),
    public_datasets=("imagenet-32", "imagenet-64", "imagenet-128", "places365-32"),
    epsilons=(1.0, 10.0),
    n_images=60_000,
    metrics=(
        "accuracy",
        "class-accuracy",
        "calibration-error",
        "fid",
        "inception-score",
        "precision-recall",
        "density-coverage",
        "fld",
        "diversity",
    ),
    optional_metrics=("image-reward",),
    classifiers=_train(_OTHERS, "resnet-110", "wrn-40-4", "resnext-29"),
    classifiers_by_dataset={
        "cifar10": CIFAR_CLASSIFIERS,
        "cifar100": CIFAR_CLASSIFIERS,
        "celeba-male-64": _train(_OTHERS, "resnet-110", "wrn-40-4", micro_batches=16),
        "celeba-male-128": _train(_OTHERS, "resnet-110", "wrn-40-4", micro_batches=64),
    },
    features=FeatureSpec(extractor="inception", input_size=299, n_reference=None, n_synthetic=60_000),
)

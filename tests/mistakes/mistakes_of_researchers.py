"""What goes wrong on the way of somebody with a method of their own."""

from __future__ import annotations

import mistake_scenes as scenes
from mistake import Mistake

MINE = "dpib run mine --plugin mine.py --dataset digits --epsilon 1 --track demo --quiet"
RUN = "dpib run dp-means --dataset digits --epsilon 1 --track demo"
MERF = "dpib run dp-merf --dataset digits --epsilon 1 --track demo"

MISTAKES = (
    Mistake("mistyped a command", "dpib rnu dp-merf", 2, "No such command 'rnu'"),
    Mistake("a name that packages cannot have", "dpib new My_Method", 2, "Expected a name"),
    Mistake("scaffolded twice", "dpib new mine", 2, "exists already", scenes.scaffold),
    Mistake(
        "scaffolded, never installed",
        "dpib run mine --dataset digits --epsilon 1 --track demo",
        2,
        "pip install -e",
        scenes.scaffold,
    ),
    Mistake("mistyped a method", "dpib run dp-mref --dataset digits --epsilon 1", 2, "Did you mean 'dp-merf'?"),
    Mistake("mistyped a dataset", "dpib run dp-merf --dataset mnits --epsilon 1", 2, "Did you mean 'mnist'?"),
    Mistake("no ε", "dpib run dp-merf --dataset digits", 2, "--epsilon"),
    Mistake("ε = 0", "dpib run dp-merf --dataset digits --epsilon 0 --track demo", 2, "epsilon"),
    Mistake("ε in words", "dpib run dp-merf --dataset digits --epsilon ten", 2, "Invalid value for '--epsilon'"),
    Mistake(
        "a dataset of another track",
        "dpib run dp-merf --dataset digits --epsilon 1",
        2,
        "--track demo",
    ),
    Mistake(
        "the images are not on this machine",
        "dpib run dp-merf --dataset mnist --epsilon 1 --quiet",
        3,
        "DPIB_DATA",
    ),
    Mistake("no such mirror", "dpib run dp-merf --dataset mnist --epsilon 1 --data-dir mirror", 3, "mirror"),
    Mistake("mistyped a setting", f"{MERF} --set n_feature=5", 2, "n_features"),
    Mistake("a setting of the wrong kind", f"{MERF} --set n_features=many", 2, "n_features"),
    Mistake("a setting without a value", f"{MERF} --set n_features", 2, "key=value"),
    Mistake("a preset size that the method lacks", f"{MERF} --variant huge", 2, "huge"),
    Mistake("public data for a method that uses none", f"{RUN} --public omniglot-28", 2, "drop --public"),
    Mistake(
        "a method that needs public data",
        "dpib run pdp-diffusion --dataset mnist --epsilon 1",
        2,
        "add --public",
    ),
    Mistake(
        "a budget that the queries before the method spend",
        "dpib run dpdm --prelude central-images --dataset mnist --epsilon 0.2",
        2,
        "--set central-images.central_noise_multiplier",
    ),
    Mistake(
        "a share that is none",
        "dpib run dp-merf --dataset mnist --epsilon 1 --public omniglot-28:0%",
        2,
        "omniglot-28:0%",
    ),
    Mistake("options of a grid on a single run", f"{RUN} --jobs 4", 2, "--jobs"),
    Mistake(
        "options of a run on a grid", "dpib run grid.toml --epsilon 3", 2, "--epsilon", scenes.file("grid.toml", "")
    ),
    Mistake("no such grid", "dpib run experiment.toml", 2, "No grid file at experiment.toml"),
    Mistake(
        "a key that grids do not have",
        "dpib plan grid.toml",
        2,
        "An axis is one of: methods",
        scenes.file("grid.toml", '[[runs]]\nmethod = "dp-merf"\ndatasets = ["digits"]\nepsilons = [1]\n'),
    ),
    Mistake("a grid that is not TOML", "dpib plan grid.toml", 2, "is not TOML", scenes.file("grid.toml", "runs: 3\n")),
    Mistake(
        "a grid of methods that nobody has",
        "dpib run grid.toml",
        3,
        "dp-mref",
        scenes.file(
            "grid.toml",
            '[[runs]]\nmethods = ["dp-mref"]\ndatasets = ["digits"]\nepsilons = [1]\ntrack = "demo"\n',
        ),
    ),
    Mistake("a GPU that is not here", f"{RUN} --device cuda", 3, "cpu", environment={"CUDA_VISIBLE_DEVICES": ""}),
    Mistake("runs where a file is", f"{RUN} --runs notes", 3, "notes", scenes.file("notes", "mine\n")),
    Mistake("a plugin file that is not there", MINE, 3, "mine.py cannot be read"),
    Mistake("a plugin file with a typing error", MINE, 3, "line 1", scenes.file("mine.py", "def fit(:\n")),
    Mistake("a plugin file without a hook", MINE, 3, "hook", scenes.file("mine.py", "x = 1\n")),
    Mistake("a library that is not installed", MINE, 3, "jax", scenes.file("mine.py", "import jaxx_is_absent_jax\n")),
    Mistake(
        "reads the images without a mechanism",
        MINE,
        1,
        "noisy_sum",
        scenes.method("self.images = private.images"),
    ),
    Mistake(
        "spends the budget twice",
        MINE,
        1,
        "left of the budget",
        scenes.method(f"{scenes.SUM}\n{scenes.SUM.replace('label=', 'label=2 * ')}"),
    ),
    Mistake(
        "gives two accesses one name",
        MINE,
        1,
        "Give every access its own label",
        scenes.method(f"{scenes.SUM}\n{scenes.SUM}"),
    ),
    Mistake(
        "a bug in the method",
        MINE,
        1,
        "mine.py",
        scenes.method(fit="self.means = self.task.no_such_fact"),
    ),
    Mistake(
        "images as floats",
        MINE,
        1,
        "uint8",
        scenes.method(generate="return torch.zeros(len(labels), *self.task.shape)"),
    ),
    Mistake(
        "fewer images than labels",
        MINE,
        1,
        "one image per label",
        scenes.method(generate="return torch.zeros(1, *self.task.shape, dtype=torch.uint8)"),
    ),
    Mistake("a profile that check lacks", "dpib check dp-merf --profile fast", 2, "quick or full"),
    Mistake("a profile that audit lacks", "dpib audit dp-merf --profile fast", 2, "quick"),
    Mistake(
        "goes on from an edited record",
        f"{RUN} --runs runs",
        1,
        "edited",
        scenes.edited_record,
    ),
)

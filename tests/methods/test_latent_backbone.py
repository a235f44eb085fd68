"""dp-ldm and dp-lora on a Stable Diffusion checkpoint; small ones of the same classes are made here."""

import json

import pytest
import torch
from method_harness import Harness
from trained_parts import fit_and_compare

from dpib.data.catalog.digits import CARD as DIGITS
from dpib.data.images import LabelledImages, PublicDataset
from dpib.errors import ConfigError, PluginError
from dpib.job import make_spec, prepare
from dpib.privacy.engine.hooks import Engine
from dpib.runner import run
from dpib.testing.replay import RecordingNoise, neighbours_differ_by
from dpib_plugins.diffusion.adapters import train_only
from dpib_plugins.dp_ldm.method import DpLdm, DpLdmConfig
from dpib_plugins.dp_lora.method import DpLora, DpLoraConfig
from dpib_plugins.latent.adapters import add_low_rank, classes_and_transformers
from dpib_plugins.latent.backbone import Checkpoint, fingerprint, load
from dpib_plugins.latent.ddpm import loss_rows

diffusers = pytest.importorskip("diffusers", reason="needs pip install 'dpib[stable-diffusion]'")
safetensors = pytest.importorskip("safetensors.torch")

CLASSES = {"dp-ldm": (DpLdm, DpLdmConfig), "dp-lora": (DpLora, DpLoraConfig)}
SECRET, TASK, COMMIT = bytes(range(32)), DIGITS.task(), "0123456789" * 4
UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 4,
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
}
VAE = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
    "scaling_factor": 0.5,
}
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def saved(folder, unet=None, vae=None, schedule=None, dtype=torch.float32, safe=True):
    """Write a small checkpoint in the layout of Stable Diffusion's repositories."""
    torch.manual_seed(0)
    parts = {
        "unet": diffusers.UNet2DConditionModel(**UNET | (unet or {})),
        "vae": diffusers.AutoencoderKL(**VAE | (vae or {})),
    }
    for name, part in parts.items():
        part.to(dtype).save_pretrained(folder / name, safe_serialization=safe)
    diffusers.PNDMScheduler(**SCHEDULE | (schedule or {})).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("checkpoint"))


def checkpoint(folder):
    return Checkpoint(str(folder), "", fingerprint(folder)[0])


def tiny(name, folder, **changes):
    small = {"steps": 3, "batch_size": 10_000, "clipping_norm": 0.5, "learning_rate": 1e-2, "physical_batch": 7}
    small |= {"noise_pool": 8, "noise_multiplicity": 2, "sampling_steps": 2, "sampling_batch": 100, "codec_side": 8}
    small |= {"first_transformer": 2, "learning_rate_rise": 0, "averaging": 0.5} if name == "dp-ldm" else {"rank": 2}
    named = {"backbone": str(folder), "backbone_sha256": fingerprint(folder)[0]}
    return CLASSES[name][1](**small | named | changes)


def made(name, folder, harness, **changes):
    return CLASSES[name][0](tiny(name, folder, **changes), harness.task, harness.context)


def test_what_is_loaded_is_what_was_saved(folder):
    codec, network, shares = load(checkpoint(folder), TASK, None)
    vae, unet = (
        kind.from_pretrained(folder, subfolder=part).eval()
        for kind, part in ((diffusers.AutoencoderKL, "vae"), (diffusers.UNet2DConditionModel, "unet"))
    )
    images = torch.rand(3, 1, 8, 8) * 2 - 1
    latents, times, labels = torch.randn(3, 4, 4, 4), torch.tensor([0, 500, 999]), torch.tensor([0, 4, 9])
    assert codec.latent_shape == (4, 4, 4)
    with torch.no_grad():
        mean = vae.encode(images.repeat(1, 3, 1, 1)).latent_dist.mean
        torch.testing.assert_close(codec.encode(images), 0.5 * mean)
        torch.testing.assert_close(codec.decode(0.5 * mean), vae.decode(mean).sample.mean(1, keepdim=True))
        tokens = network.classes.weight[labels][:, None]
        torch.testing.assert_close(network(latents, times, labels), unet(latents, times, tokens).sample)
    torch.testing.assert_close(shares, diffusers.DDPMScheduler(**SCHEDULE).alphas_cumprod.double())


def test_images_are_resized_for_the_codec_and_back(folder):
    codec, _, _ = load(checkpoint(folder), TASK, 16)
    assert codec.latent_shape == (4, 8, 8)
    latents = codec.encode(torch.zeros(2, 1, 8, 8))
    assert latents.shape == (2, 4, 8, 8) and codec.decode(latents).shape == (2, 1, 8, 8)


def test_half_precision_is_cast_to_float32(tmp_path):
    codec, network, _ = load(checkpoint(saved(tmp_path, dtype=torch.float16)), TASK, None)
    assert {p.dtype for model in (codec, network) for p in model.parameters()} == {torch.float32}


def test_transformers_are_counted_in_the_order_of_the_forward_pass(folder):
    _, network, _ = load(checkpoint(folder), TASK, None)
    seen = []
    for module in network.transformers:
        module.register_forward_hook(lambda module, *_: seen.append(module))
    network(torch.zeros(1, 4, 4, 4), torch.tensor([0]), torch.tensor([0]))
    assert seen == network.transformers and len(seen) == 4  # one down, one in the middle, two up


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("part", ["transformers", "low-rank", "everything"])
def test_gradients_per_record_are_those_of_one_record_alone(tmp_path, part, linear):
    """The engine against autograd, record by record, in float64; projections as in versions 1 and 2."""
    _, network, shares = load(checkpoint(saved(tmp_path, {"use_linear_projection": linear})), TASK, None)
    network.double()
    torch.manual_seed(1)
    chosen = list(network.parameters())
    if part == "transformers":
        chosen = classes_and_transformers(network, 1)
    elif part == "low-rank":
        chosen = add_low_rank(network, ("q", "k", "v", "out"), 2, 4.0)
        for layer in chosen:
            layer.data = layer.data.double() + 0.1 * torch.randn(layer.shape, dtype=torch.float64)
        network.double()
    train_only(network, chosen)
    n, copies = 4, 3
    clean, noise = (torch.randn(n * copies, 4, 4, 4, dtype=torch.float64) for _ in range(2))
    times, labels = torch.randint(1_000, (n * copies,)), torch.arange(n).repeat_interleave(copies)

    def losses(rows):
        return loss_rows(network, clean[rows], noise[rows], times[rows], labels[rows], shares)

    engine = Engine(network, copies)
    with engine.attached():
        engine.differentiate(lambda: losses(slice(None)), n)
        found = engine.gradients()
    assert engine.fallbacks == []
    parameters = [p for p in network.parameters() if p.requires_grad]
    for i in range(n):
        alone = torch.autograd.grad(losses(slice(i * copies, (i + 1) * copies)).mean(), parameters)
        for ours, theirs in zip(found, alone, strict=True):
            torch.testing.assert_close(ours[i], theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", CLASSES)
def test_only_what_is_trained_is_noised_and_changes(tmp_path, digits, folder, name):
    harness = Harness(tmp_path, digits[:20], noise=RecordingNoise(SECRET))
    method = made(name, folder, harness)
    trained = fit_and_compare(method, harness)
    if name == "dp-lora":
        ends = [f"to_{one}.{factor}.weight" for one in "qkv" for factor in "ab"]
        assert all(key == "classes.weight" or key.endswith(tuple(ends)) for key in trained)
        assert len(trained) == 1 + 6 * 8  # eight attentions: two in each of four transformers
    else:
        first = next(k for k, m in method.network.named_modules() if m is method.network.transformers[0])
        assert trained and not any(key.startswith(first) for key in trained)


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("name", CLASSES)
def test_a_record_contributes_one_clipped_vector(tmp_path, digits, folder, name, copies):
    bound = 1e-4
    harness = Harness(tmp_path, digits[:1], noise=RecordingNoise(SECRET))
    made(name, folder, harness, steps=2, noise_multiplicity=copies, clipping_norm=bound).fit(harness.private)
    norms = [float(torch.cat([p.flatten() for p in r.exact]).norm()) for r in harness.noise.releases]
    assert norms == pytest.approx([bound] * 2, rel=1e-4)


@pytest.mark.parametrize("place", ["front", "end"])
@pytest.mark.parametrize("name", CLASSES)
def test_one_record_more_moves_a_release_by_at_most_the_bound(tmp_path_factory, digits, folder, name, place):
    data, bound = digits[:6], 1e-4
    extra = LabelledImages(torch.full((1, 1, 8, 8), 255, dtype=torch.uint8), torch.tensor([9]))
    parts = (extra, data) if place == "front" else (data, extra)
    more = LabelledImages(torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]))

    def train(data, noise):
        harness = Harness(tmp_path_factory.mktemp("run"), data, noise=noise)
        made(name, folder, harness, clipping_norm=bound).fit(harness.private)

    gaps = neighbours_differ_by(train, data, more, SECRET)
    assert len(gaps) == 3 and all(gap <= bound * (1 + 1e-4) for gap in gaps)
    assert gaps[0] == pytest.approx(bound, rel=1e-4)  # the bound is reached


SETTINGS = {
    "codec_side": 8,
    "steps": 2,
    "batch_size": 20,
    "noise_pool": 8,
    "sampling_steps": 1,
    "noise_multiplicity": 1,
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_run_needs_no_public_images_and_its_record_names_the_checkpoint(tmp_path, folder, name):
    sha256 = fingerprint(folder)[0]
    overrides = SETTINGS | {"backbone": str(folder), "backbone_sha256": sha256}
    record = run(name, "digits", 10.0, track="demo", overrides=overrides, runs=tmp_path, quiet=True)
    assert record.method.public_data == {str(folder): sha256}
    assert record.method.tuned and record.method.config["backbone_sha256"] == sha256
    assert 0 < record.privacy.spent_epsilon <= 10


def test_the_hub_is_asked_for_the_commit_and_for_nothing_but_five_files(tmp_path, folder, monkeypatch):
    asked = []

    def download(name, revision, allow_patterns):
        asked.append((name, revision, sorted(allow_patterns)))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    one = Checkpoint("owner/name", COMMIT, fingerprint(folder)[0])
    load(one, TASK, None)
    assert one.address == f"owner/name@{COMMIT}"
    weights = [
        f"{part}/{file}" for part in ("unet", "vae") for file in ("config.json", "diffusion_pytorch_model.safetensors")
    ]
    assert asked == [("owner/name", COMMIT, ["scheduler/scheduler_config.json", *weights])]


@pytest.mark.parametrize(
    ("overrides", "public", "message"),
    [
        ({"backbone": "owner/name"}, "none", "needs --set revision=COMMIT"),
        ({"backbone": "owner/name", "revision": "main"}, "none", "Branches and tags move"),
        ({"backbone": "no such folder", "revision": COMMIT}, "none", "a folder that exists"),
        ({"backbone": "/", "revision": COMMIT}, "none", "is a folder and has no revision"),
        ({"backbone": "owner/name", "revision": COMMIT}, "omniglot-28", "drop --public omniglot-28"),
        ({}, "none", "dp-ldm needs public data"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_fetched(overrides, public, message):
    with pytest.raises(ConfigError, match=message):
        prepare(make_spec("dp-ldm", "mnist", 10.0, public=public, overrides=overrides))


def test_the_preset_leaves_the_revision_to_the_user():
    with pytest.raises(ConfigError, match="needs --set revision=COMMIT"):
        prepare(make_spec("dp-lora", "mnist", 10.0, variant="stable-diffusion"))


def test_preludes_do_not_go_with_a_backbone():
    overrides = {"backbone": "owner/name", "revision": COMMIT}
    with pytest.raises(ConfigError, match="drop --prelude central-images"):
        prepare(make_spec("dp-ldm", "mnist", 10.0, preludes=("central-images",), overrides=overrides))


def test_unchecked_and_changed_files_are_refused(tmp_path, folder):
    found, lines = fingerprint(folder)
    with pytest.raises(ConfigError, match=f"backbone_sha256={found}") as told:
        load(Checkpoint(str(folder), "", ""), TASK, None)
    assert lines in str(told.value) and "  unet/diffusion_pytorch_model.safetensors" in lines
    with pytest.raises(PluginError, match=f"got {found}. Not loaded"):
        load(Checkpoint(str(folder), "", "0" * 64), TASK, None)


def test_pickles_are_never_read(tmp_path):
    with pytest.raises(PluginError, match=r"unet/diffusion_pytorch_model.safetensors.*never pickles"):
        load(Checkpoint(str(saved(tmp_path, safe=False)), "", ""), TASK, None)


SDXL = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 32}


@pytest.mark.parametrize(
    ("parts", "side", "error", "message"),
    [
        ({"unet": SDXL}, 8, ConfigError, "unet has addition_embed_type = 'text_time'"),
        ({"unet": {"num_class_embeds": 3}}, 8, ConfigError, "unet has num_class_embeds = 3"),
        ({"unet": {"in_channels": 9}}, 8, ConfigError, "maps 9 to 4 channels, latents have 4"),
        ({"vae": {"shift_factor": 0.1}}, 8, ConfigError, "vae has shift_factor = 0.1"),
        ({"schedule": {"prediction_type": "v_prediction"}}, 8, ConfigError, "prediction_type = 'v_prediction'"),
        ({"schedule": {"num_train_timesteps": 500}}, 8, ConfigError, "num_train_timesteps = 500, expected 1000"),
        ({}, 7, ConfigError, "a multiple of 2. Use --set codec_side"),
        ({}, 6, ConfigError, "Latents of 3x3 do not fit .* codec_side=… with a multiple of 4"),
    ],
)
def test_other_kinds_and_sizes_are_refused_by_name(tmp_path, parts, side, error, message):
    with pytest.raises(error, match=message):
        load(checkpoint(saved(tmp_path, **parts)), TASK, side)


def test_weights_that_do_not_match_their_configuration_are_refused(tmp_path):
    path = saved(tmp_path) / "unet" / "diffusion_pytorch_model.safetensors"
    weights = safetensors.load_file(path)
    del weights["conv_in.bias"]
    safetensors.save_file(weights, path, {"format": "pt"})
    with pytest.raises(PluginError, match=r"unet of .* does not match its configuration: .'conv_in.bias'"):
        load(checkpoint(tmp_path), TASK, None)


@pytest.mark.parametrize(("part", "name"), [("unet", "UNet2DModel"), ("vae", "VQModel")])
def test_other_networks_are_refused_by_name(tmp_path, part, name):
    path = saved(tmp_path) / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": name}))
    with pytest.raises(ConfigError, match=f"{part} has _class_name = '{name}'"):
        load(checkpoint(tmp_path), TASK, None)


def test_public_images_are_not_learnt_on_top(tmp_path, digits, folder):
    harness = Harness(tmp_path, digits[:5])
    with pytest.raises(ConfigError, match="A backbone is pretrained already"):
        made("dp-ldm", folder, harness).pretrain(PublicDataset(DIGITS, digits[:5]), harness.context)


def test_without_the_library_the_command_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(PluginError, match=r"pip install 'dpib\[stable-diffusion\]'"):
        load(Checkpoint("owner/name", COMMIT, ""), TASK, None)

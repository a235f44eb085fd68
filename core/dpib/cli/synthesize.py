"""``dpib synthesize``: the data owner's mode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpib.cli.options import parse_window
from dpib.cli.output import note, print_json, print_table, prints_on_stderr
from dpib.errors import ConfigError
from dpib.files import SUBMISSIONS

if TYPE_CHECKING:
    from dpib.owner.certificate import Certificate
    from dpib.owner.request import OwnerJob
    from dpib.privacy.groups import GroupGuarantee


def synthesize(
    method: Annotated[str, typer.Argument(help="A method; see dpib plugins.")],
    images: Annotated[Path, typer.Option(help="Folder with one sub-folder per class, or a parquet file.")],
    epsilon: Annotated[float, typer.Option(help="Privacy budget ε > 0; δ follows from the nominal size.")],
    out: Annotated[Path, typer.Option(help="Folder of the release; new, or one that this command began.")],
    nominal_size: Annotated[
        int | None, typer.Option(help="About how many images there are, from public knowledge.")
    ] = None,
    count_is_public: Annotated[
        bool, typer.Option("--count-is-public", help="Everybody may know how many images there are.")
    ] = False,
    classes: Annotated[Path | None, typer.Option(help="Text file with the names of the classes, one a line.")] = None,
    folders_are_public: Annotated[
        bool, typer.Option("--folders-are-public", help="Everybody may know the names of the class folders.")
    ] = False,
    images_per_person: Annotated[int, typer.Option(help="K: at most so many images show one person.")] = 1,
    title: Annotated[str, typer.Option(help="What the statement calls the collection; public.")] = "the owner's images",
    size: Annotated[int | None, typer.Option(help="Side of the synthetic images in pixels.")] = None,
    colour: Annotated[bool, typer.Option("--colour/--grey", help="Three channels or one; never detected.")] = False,
    window: Annotated[
        str | None, typer.Option(help="LOW:HIGH, shown black and white, for 16-bit images and DICOM.")
    ] = None,
    n_images: Annotated[int | None, typer.Option(help="How many to make; by default as many as the track.")] = None,
    image_format: Annotated[str, typer.Option("--format", help="png (a folder per class) or parquet.")] = "png",
    public: Annotated[str, typer.Option(help="Public dataset to pretrain on, or none.")] = "none",
    pretrain: Annotated[str | None, typer.Option(help="conditional (default with --public), unconditional.")] = None,
    track: Annotated[str, typer.Option(help="Whose presets: those of its dataset nearest in size.")] = "lite",
    variant: Annotated[str | None, typer.Option(help="A named size preset of the method.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a hyper-parameter, k=v; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Public seed; DP noise never comes from it.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; spend nothing.")] = False,
    private_report: Annotated[
        Path | None, typer.Option(help="Also score against the real images, into this file. Not private.")
    ] = None,
    records: Annotated[
        Path, typer.Option(help="Public records for the expectation.", show_default="submissions of the checkout")
    ] = SUBMISSIONS,
    plugin: Annotated[Path | None, typer.Option(help="A single Python file that brings the method.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data mirrors, for --public.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the certificate, or the plan, as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no remarks on the images.")] = False,
) -> None:
    """Make a synthetic set of your own images that you may release, with a certificate and a statement in plain words.

    The same command resumes. What is private (counts, file names) is said on stderr alone and is not in the release.

        dpib synthesize dp-merf --images xrays --epsilon 10 --nominal-size 4700 --classes classes.txt --out release
    """
    from dpib import config, plugins
    from dpib.owner.report import check_report_path, write_private_report
    from dpib.owner.request import Ask, resolve

    if image_format not in ("png", "parquet"):
        raise ConfigError(f"Expected --format png or parquet, got '{image_format}'.")
    if private_report is not None:
        check_report_path(private_report, out)
    with prints_on_stderr():
        if plugin is not None:
            plugins.load_file(plugin)
        job = resolve(
            Ask(
                method=method,
                images=images,
                out=out,
                epsilon=epsilon,
                nominal_size=nominal_size,
                count_is_public=count_is_public,
                classes=classes,
                folders_are_public=folders_are_public,
                images_per_person=images_per_person,
                title=title,
                side=size,
                colour=colour,
                window=parse_window(window),
                n_images=n_images,
                image_format="parquet" if image_format == "parquet" else "png",
                track=track,
                public=public,
                pretrain=pretrain,
                variant=variant,
                overrides=dict(config.parse_override(text) for text in set_ or []),
                seed=seed,
            )
        )
    if dry_run:
        _explain(job, records, quiet=quiet, json=json)
        return
    from dpib.owner.release import release

    with prints_on_stderr():
        outcome = release(job, data_dir=data_dir, device=device, quiet=quiet)
        if outcome.reused:
            note(f"Reused: {out} is complete; nothing was spent.")
        if private_report is not None:
            write_private_report(job, outcome.certificate, private_report, device=device, quiet=quiet)
            note(f"Private report: {private_report}. NOT PRIVATE, do not release it.")
    if json:
        print_json(outcome.certificate.model_dump(mode="json"))
    else:
        _print_certificate(outcome.certificate, out)


def _print_certificate(certificate: Certificate, out: Path) -> None:
    from dpib.privacy.statement import round_up

    guarantee, request = certificate.guarantee, certificate.request
    epsilon, delta = round_up(guarantee.epsilon), round_up(guarantee.delta)
    rows = [
        ("guarantee", f"ε = {epsilon}, δ = {delta}, {guarantee.relation.value}"),
        ("protects", guarantee.unit),
        *_group_rows(guarantee.group),
    ]
    shape = "x".join(map(str, request.preprocessing.shape))
    rows += [
        ("images", f"{certificate.synthetic.count} of {shape}, {len(request.classes)} classes"),
        ("method", f"{certificate.method.title}, settings of {certificate.spec.dataset} in {certificate.spec.track}"),
    ]
    print_table(("", f"Release in {out}"), rows)
    note(f"Read {out / 'statement.md'} before you publish the folder. Further releases of the same images add up.")


def _group_rows(group: GroupGuarantee | None) -> list[tuple[str, str]]:
    from dpib.privacy.statement import round_up

    if group is None:
        return []
    return [(f"{group.size} images of one person", f"ε = {round_up(group.epsilon)}, δ = {round_up(group.delta)}")]


def _explain(job: OwnerJob, records: Path, *, quiet: bool, json: bool) -> None:
    from dataclasses import asdict

    from dpib.owner.certificate import group_for
    from dpib.owner.expectation import CAVEAT, expectations
    from dpib.owner.rehearsal import rehearse
    from dpib.owner.release import read_images_of
    from dpib.privacy.statement import describe_charge, round_up
    from dpib.progress import terminal_reporter

    with prints_on_stderr(), terminal_reporter(quiet) as reporter:
        read_images_of(job, reporter)
        with reporter.task("rehearse without images"):
            charges = rehearse(job)
    expected = expectations(job, records)
    request, spec = job.request, job.settings.spec
    group = group_for(charges, job)
    if json:
        print_json(
            {
                "request": request.model_dump(mode="json"),
                "settings": spec.model_dump(mode="json"),
                "delta": job.delta,
                "accesses": [charge.model_dump(mode="json", exclude={"session"}) for charge in charges],
                "group": group.model_dump(mode="json") if group else None,
                "expected": [asdict(one) for one in expected],
                "caveat": CAVEAT,
            }
        )
        return
    rows = [
        ("method", f"{job.settings.method.card.title}, settings of {spec.dataset} in {spec.track}"),
        ("budget", f"ε = {spec.epsilon:g}, δ = {round_up(job.delta)} for each image; nothing is spent now"),
        *(("access", describe_charge(charge)) for charge in charges),
        *_group_rows(group),
        ("preparation", request.preprocessing.describe()),
        ("makes", f"{request.n_images} images, {len(request.classes)} classes in turn, in {job.out}"),
    ]
    print_table(("", "What would happen"), rows)
    if not expected:
        note(f"No public records of {spec.method} in {records}: nothing is known about the utility to expect.")
        return
    columns = ("public runs on", "training images", "ε", "runs", "accuracy %", "real %", "dp-means %", "minutes", "on")
    cells = (
        (
            one.dataset,
            one.nominal_size,
            f"{one.epsilon:g}",
            one.runs,
            *("" if value is None else f"{value:.1f}" for value in (one.accuracy, one.ceiling, one.trivial)),
            f"{one.minutes:.1f}",
            one.hardware,
        )
        for one in expected
    )
    print_table(columns, cells)
    note(CAVEAT)

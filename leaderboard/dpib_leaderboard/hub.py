"""A store in a dataset repository on the Hugging Face Hub, through ``huggingface_hub`` alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._http import default_client_factory
from huggingface_hub.utils.logging import set_verbosity_error

from dpib.errors import DpibError, RecordError, StorageError
from dpib.files import write_text_atomically
from dpib_leaderboard import limits
from dpib_leaderboard.changes import PLACE, added_place
from dpib_leaderboard.entries import read_entries
from dpib_leaderboard.parsing import printable
from dpib_leaderboard.rows import CARD, ROWS, rows_content
from dpib_leaderboard.store import LIGHT, Receipt, Snapshot

_KIND = "dataset"
_POINTER = "last-good.json"
_CHANGED = 412
"""What the Hub answers when the commit that a change is based on is no longer the newest."""
_TRIES = 4
_PATHS_SHOWN = 10
_NO_TABLE = "The table is that of before; the next --publish writes it anew."
_NO_TOKEN = "Log in first: `hf auth login`, or set HF_TOKEN to a token that may write."


@contextmanager
def hub_errors(
    doing: str, repo: str, nothing: str = "Nothing was sent.", refusal: type[DpibError] = RecordError
) -> Iterator[None]:
    """Turn what the Hub or the way to it can do wrong into one message.

    Raises:
        StorageError: the Hub cannot be reached, or the token is missing or wrong.
        DpibError: ``refusal``: the Hub refuses what was asked.
    """
    try:
        yield
    except DpibError:
        raise
    except LocalTokenNotFoundError as error:
        raise StorageError(f"{doing}: there is no token. {_NO_TOKEN} {nothing}") from error
    except RepositoryNotFoundError as error:
        detail = f"hf:{repo} does not exist, or this token may not see it"
        raise StorageError(f"{doing}: {detail}. {nothing}") from error
    except HfHubHTTPError as error:
        raise _answered(doing, error, nothing, refusal) from error
    except httpx2.TimeoutException as error:
        raise StorageError(f"{doing}: the Hub does not answer in time. {nothing} Try again later.") from error
    except (httpx2.HTTPError, OSError, RuntimeError) as error:
        detail = f"the connection to the Hub failed ({type(error).__name__})"
        raise StorageError(f"{doing}: {detail}. {nothing} Try again later.") from error


def _answered(doing: str, error: HfHubHTTPError, nothing: str, refusal: type[DpibError]) -> DpibError:
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        return StorageError(f"{doing}: the Hub does not accept the token. {_NO_TOKEN} {nothing}")
    if status == 403:
        return StorageError(f"{doing}: this account may not do that (403). {nothing}")
    if status == _CHANGED:
        return refusal(f"{doing}: the repository has changed meanwhile (412). {nothing} Run the command again.")
    if status == 429 or status >= 500:
        return StorageError(f"{doing}: the Hub is overloaded or down ({status}). {nothing} Try again later.")
    return refusal(f"{doing}: the Hub refuses it ({status}: {error.server_message or 'no reason'}). {nothing}")


def _patient_client() -> httpx2.Client:
    """Return the Hub client's own connection with a limit on every wait; by itself it would wait for ever."""
    client = default_client_factory()
    client.timeout = httpx2.Timeout(limits.HUB_SECONDS)
    return client


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - _PATHS_SHOWN} more" if len(paths) > _PATHS_SHOWN else ""
    return ", ".join(printable(path, 150) for path in paths[:_PATHS_SHOWN]) + more


def _is_light(path: str) -> bool:
    match = PLACE.fullmatch(path)
    return match is not None and match[2] in LIGHT


class HubStore:
    """A store on the Hub: read without a token, pinned to a commit; the last good snapshot serves while it is down.

    Args:
        repo: ``ORG/REPO``, a dataset repository.
        endpoint: address of the Hub; None: the official one, or HF_ENDPOINT.
        token: the writer's; None: what ``hf auth login`` or HF_TOKEN gives. Reading never sends it.
        cache: folder of snapshots, the newest and the one before; by default below HF_HOME.
    """

    def __init__(
        self, repo: str, *, endpoint: str | None = None, token: str | None = None, cache: Path | None = None
    ) -> None:
        home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
        self.repo, self.address = repo, f"hf:{repo}"
        self.cache = cache or Path(home) / "dpib" / repo.replace("/", "--")
        set_client_factory(_patient_client)
        set_verbosity_error()  # its retries are not news; what fails in the end is told by `hub_errors`
        self.api = HfApi(endpoint=endpoint, token=token)

    def snapshot(self) -> Snapshot:
        """Return the repository's newest commit, or, while the Hub is down, the last one that was read in full."""
        pointer = self.cache / _POINTER
        try:
            with hub_errors("Reading the store", self.repo, ""):
                info = self.api.repo_info(self.repo, repo_type=_KIND, timeout=limits.HUB_SECONDS, token=False)
                commit = str(info.sha)
                folder = self.cache / commit
                if not (self.cache / f"{commit}.json").exists():
                    self._download(commit, folder)
        except (StorageError, RecordError) as error:
            return self._last_good(pointer, error)
        date = datetime.now(UTC).isoformat(timespec="seconds")
        earlier = json.loads(pointer.read_text())["commit"] if pointer.exists() else commit
        write_text_atomically(pointer, json.dumps({"commit": commit, "date": date}))
        if earlier != commit:
            self._prune({earlier, commit})
        return Snapshot(folder, commit, date)

    def _download(self, commit: str, folder: Path) -> None:
        """Fetch a commit without its images; what the last snapshot has already is linked, not fetched again."""
        listing = self.cache / f"{commit}.json"
        wanted = {path: blob for path, (blob, _) in self._blobs(commit).items() if _is_light(path)}
        known, earlier = self._last_listing()
        missing = []
        for path, blob in wanted.items():
            if known.get(path) != blob:
                missing.append(path)
            elif not (folder / path).exists():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                os.link(earlier / path, folder / path)
        if missing:
            self.api.snapshot_download(
                self.repo,
                repo_type=_KIND,
                revision=commit,
                local_dir=folder,
                allow_patterns=missing if known else [f"*/*/*/*/{name}" for name in LIGHT],
                token=False,
                etag_timeout=limits.HUB_SECONDS,
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(listing, json.dumps(wanted))

    def _last_listing(self) -> tuple[dict[str, str], Path]:
        """Return the files of the last good snapshot with their blobs, and its folder."""
        pointer = self.cache / _POINTER
        if not pointer.exists():
            return {}, self.cache
        commit = json.loads(pointer.read_text())["commit"]
        return json.loads((self.cache / f"{commit}.json").read_text()), self.cache / commit

    def _prune(self, kept: set[str]) -> None:
        """Delete all commits but these; a board serves the earlier one until it has built that of the newest."""
        for listing in self.cache.glob("*.json"):
            if listing.name != _POINTER and listing.stem not in kept:
                listing.unlink(missing_ok=True)
        for folder in self.cache.iterdir():
            if folder.is_dir() and folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _last_good(self, pointer: Path, error: DpibError) -> Snapshot:
        if not pointer.exists():
            raise StorageError(f"{error} No earlier snapshot of {self.address} is on this machine.") from error
        kept = json.loads(pointer.read_text())
        stale = f"{error} This is the store as of {kept['date']}."
        return Snapshot(self.cache / kept["commit"], kept["commit"], kept["date"], stale)

    def create(self) -> None:
        """Make the repository, with its card and an empty table, so that ``datasets.load_dataset`` reads it."""
        with hub_errors("Creating the store", self.repo):
            self.api.create_repo(self.repo, repo_type=_KIND, exist_ok=True)
            operations = [CommitOperationAdd("README.md", CARD.encode()), CommitOperationAdd(ROWS, rows_content([]))]
            self.api.create_commit(self.repo, operations, commit_message="An empty store", repo_type=_KIND)

    def account(self) -> str | None:
        """Return the name of the token's account.

        Raises:
            StorageError: if there is no token or the Hub does not know it.
        """
        with hub_errors("Looking up your account", self.repo):
            return str(self.api.whoami()["name"])

    def submit(self, folder: Path, place: str) -> Receipt:
        """Open one pull request of one commit that adds the folder's files under ``place`` and nothing else."""
        operations = [CommitOperationAdd(f"{place}/{path.name}", path) for path in sorted(folder.iterdir())]
        with hub_errors("Sending the submission", self.repo):
            done = self.api.create_commit(
                self.repo,
                operations,
                commit_message=f"Record {place}",
                commit_description="Sent by `dpib submit`; adds this one folder.",
                repo_type=_KIND,
                create_pr=True,
            )
        return Receipt(str(done.pr_url), done.pr_num)

    def submissions(self) -> list[tuple[str, str, str]]:
        """Return the pull requests of the repository, newest first."""
        with hub_errors("Looking up submissions", self.repo, ""):
            found = self.api.get_repo_discussions(
                self.repo, repo_type=_KIND, discussion_type="pull_request", token=False
            )
            return [(str(one.status), one.title, one.url) for one in found]

    def recently_sent(self, author: str, number: int) -> int:
        """Return how many pull requests an account opened within a day and before this one, whatever became of them."""
        since = datetime.now(UTC) - timedelta(days=1)
        with hub_errors("Looking up submissions", self.repo, ""):
            found = self.api.get_repo_discussions(
                self.repo, repo_type=_KIND, author=author, discussion_type="pull_request", token=False
            )
            return sum(one.num < number and one.created_at >= since for one in found)

    def fetch(self, number: int, scratch: Path) -> tuple[Path, str, str, str]:
        """Download what a pull request adds, after a look at its list of files.

        Args:
            number: of the pull request.
            scratch: an empty folder.

        Returns:
            The folder, its place in the store, the author's account, and the commit that was read.

        Raises:
            RecordError: if it changes anything but one new folder of a record, or a file is too large.
            StorageError: if the Hub does not give it out, which is not its author's fault.
        """
        revision = f"refs/pr/{number}"
        with hub_errors(f"Reading pull request {number}", self.repo, "", refusal=StorageError):
            details = self.api.get_discussion_details(self.repo, number, repo_type=_KIND, token=False)
            head = str(self.api.repo_info(self.repo, revision=revision, repo_type=_KIND, token=False).sha)
            place, names = added_place(self._blobs(self._base(head)), self._blobs(head), self._blobs("main"))
            for name in names:
                path = self.api.hf_hub_download(
                    self.repo, f"{place}/{name}", revision=head, repo_type=_KIND, token=False, cache_dir=scratch / "hub"
                )
                target = scratch / place / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        return scratch / place, place, details.author, head

    def _base(self, head: str) -> str:
        """Return the newest commit of the store that a pull request is built on."""
        store = {one.commit_id for one in self.api.list_repo_commits(self.repo, repo_type=_KIND, token=False)}
        commits = self.api.list_repo_commits(self.repo, repo_type=_KIND, revision=head, token=False)
        base = next((one.commit_id for one in commits if one.commit_id in store), None)
        if base is None:
            raise RecordError("The pull request has no history in common with the store.")
        return base

    def _blobs(self, revision: str) -> dict[str, tuple[str, int]]:
        tree = self.api.list_repo_tree(self.repo, recursive=True, revision=revision, repo_type=_KIND, token=False)
        return {item.path: (item.blob_id, item.size) for item in tree if isinstance(item, RepoFile)}

    def accept(self, number: int, place: str, review_json: str, head: str, store: str) -> None:
        """Add the review to the pull request as it was read, and merge it.

        Args:
            number: of the pull request.
            place: of its record.
            review_json: the review.
            head: the commit of the pull request that was reviewed.
            store: the commit of the store that it was compared with.

        Raises:
            RecordError: if the pull request or the store has changed since; or if the merge changed more than was
                reviewed, which names the paths.
        """
        review = CommitOperationAdd(f"{place}/{limits.REVIEW}", review_json.encode())
        with hub_errors("Accepting the submission", self.repo, "It was not merged."):
            if str(self.api.repo_info(self.repo, repo_type=_KIND, token=False).sha) != store:
                raise RecordError("The store has changed since the review read it; nothing was merged. Run it again.")
            before = self._blobs(store)
            done = self.api.create_commit(
                self.repo,
                [review],
                commit_message="Review",
                repo_type=_KIND,
                revision=f"refs/pr/{number}",
                parent_commit=head,
            )
            reviewed = self._blobs(done.oid)
            try:
                self.api.merge_pull_request(self.repo, number, repo_type=_KIND, comment="Accepted.")
            except (HfHubHTTPError, httpx2.HTTPError):
                self._take_back(number, review.path_in_repo, done.oid)
                raise
        with hub_errors("Comparing what was merged", self.repo, f"{place} is merged, the table is that of before."):
            merged = self._blobs("main")
        expected = before | {path: blob for path, blob in reviewed.items() if path.startswith(f"{place}/")}
        unexpected = sorted(path for path in expected | merged if expected.get(path) != merged.get(path))
        if unexpected:
            raise RecordError(
                f"{place} was merged, and with it the store changed in what was not reviewed: {_listed(unexpected)}. "
                "What another maintainer merged meanwhile is in order. Anything else was pushed between review and "
                "merge: take it back; if it is in this record, invalidate the record. The table was not published."
            )

    def _take_back(self, number: int, path: str, parent: str) -> None:
        """Delete the review from a pull request that could not be merged, which is then as its author left it."""
        self.api.create_commit(
            self.repo,
            [CommitOperationDelete(path)],
            commit_message="Not merged",
            repo_type=_KIND,
            revision=f"refs/pr/{number}",
            parent_commit=parent,
        )

    def publish_rows(self) -> None:
        """Commit ``rows.parquet`` of the store as it is now; if the store changes meanwhile, read it again.

        Raises:
            StorageError: if the store cannot be read as it is now.
            RecordError: if it changes at every try.
        """
        for _ in range(_TRIES):
            state = self.snapshot()
            if state.stale:
                raise StorageError(f"{state.stale} {_NO_TABLE}")
            if self._commit_rows(state):
                return
        raise RecordError(f"Publishing the table: the store changed at each of {_TRIES} tries. {_NO_TABLE}")

    def _commit_rows(self, state: Snapshot) -> bool:
        """Return whether the table of a snapshot was committed; not if the store has changed since."""
        rows = CommitOperationAdd(ROWS, rows_content(read_entries(state.folder)))
        with hub_errors("Publishing the table", self.repo, _NO_TABLE):
            try:
                self.api.create_commit(
                    self.repo, [rows], commit_message="Rows", repo_type=_KIND, parent_commit=state.commit
                )
            except HfHubHTTPError as error:
                if error.response is None or error.response.status_code != _CHANGED:
                    raise
                return False
        return True

    def refuse(self, number: int, report: str) -> None:
        """Comment the report on a pull request and close it."""
        with hub_errors("Refusing the submission", self.repo, ""):
            self.api.change_discussion_status(self.repo, number, "closed", comment=report, repo_type=_KIND)

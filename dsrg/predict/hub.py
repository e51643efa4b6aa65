"""Networks on the Hugging Face Hub: an export's files up, and the weights down, by huggingface_hub, an extra."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from dsrg.errors import InputError, reason

PREFIX = "hf:"
"""What the name of a network on the Hub begins with, where a path could stand too."""
_NAME = re.compile(r"(?P<repo>[\w.-]{1,96}/[\w.-]{1,96})(?:@(?P<revision>[\w./-]{1,200}))?", re.ASCII)


def is_name(path: str | Path) -> bool:
    """Whether this names a network on the Hub, hf:owner/name, and no file."""
    return str(path).startswith(PREFIX)


def fetch(name: str, file: str) -> Path:
    """A file of a network on the Hub, downloaded once and then taken from huggingface_hub's cache.

    Args:
        name: hf:owner/name, or hf:owner/name@revision, a branch, tag or commit.
        file: Its name there.

    Raises:
        InputError: huggingface_hub is missing, there is no such network or file, or the Hub cannot be reached.
    """
    found = _NAME.fullmatch(name.removeprefix(PREFIX))
    if found is None:
        raise InputError(f"{name}: is no name of a network on the Hub; write hf:owner/name or hf:owner/name@revision.")
    _check_library(name)
    import huggingface_hub

    with _told(name):
        return Path(
            huggingface_hub.hf_hub_download(found["repo"], file, revision=found["revision"], endpoint=_endpoint())
        )


def check(repo: str) -> None:
    """That files can be pushed to owner/name, as far as it is known before they are made.

    Raises:
        InputError: huggingface_hub is missing, the name is none, or nobody is logged in.
    """
    found = _NAME.fullmatch(repo)
    if found is None or found["revision"]:
        raise InputError(f"--push {repo}: is no name of a network on the Hub; write owner/name.")
    _check_library(f"--push {repo}")
    import huggingface_hub

    with _told(f"--push {repo}"):
        huggingface_hub.HfApi(endpoint=_endpoint()).whoami()


def push(files: Sequence[Path], repo: str, *, private: bool = False) -> str:
    """Put files into a repository of the Hub, in one commit; it is made where it is not there.

    Args:
        files: The files, which keep their names.
        repo: owner/name.
        private: Where it is made, make it for its owner alone.

    Returns:
        The repository's address.

    Raises:
        InputError: the Hub refuses them or cannot be reached.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi(endpoint=_endpoint())
    with _told(f"--push {repo}"):
        made = api.create_repo(repo, private=private, exist_ok=True)
        added = [huggingface_hub.CommitOperationAdd(path.name, str(path)) for path in files]
        api.create_commit(repo, added, commit_message="Exported by dsrg")
        return str(made)


def _endpoint() -> str | None:
    """The server, where the environment names another than the Hub's own."""
    return os.environ.get("HF_ENDPOINT") or None


def _check_library(what: str) -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise InputError(f"{what}: needs huggingface_hub; run: python -m pip install 'dsrg[hub]'.")


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what the library and its network raise into a sentence."""
    from huggingface_hub import errors

    # Those of the HTTP library below, which was requests once and is httpx now.
    web = cast(tuple[type[Exception], ...], errors.HfHubHTTPError.__bases__)
    refused: tuple[type[Exception], ...] = (*web, errors.HFValidationError, OSError)
    try:
        yield
    except errors.LocalTokenNotFoundError:
        raise InputError(f"{what}: nobody is logged in to the Hub; run hf auth login, or set HF_TOKEN.") from None
    except errors.GatedRepoError:
        raise InputError(f"{what}: its owner asks for consent; give it on its page of the Hub, and log in.") from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{what}: has no such revision; check what follows the @.") from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"{what}: is not on the Hub, or only for those who may see it; check the name, or log in (hf auth login)."
        ) from None
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise InputError(f"{what}: the Hub cannot be reached; check the connection ({reason(error)}).") from None
        raise InputError(f"{what}: holds no network that dsrg export wrote; check the name.") from None
    except refused as error:
        raise InputError(f"{what}: the Hub did not do it ({reason(error)}); try again, or check the name.") from None

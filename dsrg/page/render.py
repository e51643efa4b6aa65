"""Templates filled: pages in one file, which open from disk without a server or a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dsrg import __version__

Filters = Mapping[str, Callable[..., Any]]


def render(
    template: str, context: Mapping[str, Any], filters: Filters | None = None, *, script: str | None = None
) -> str:
    """A page. Every value is escaped: names of classes, photographs and folders, and questions are the user's.

    Args:
        template: The template's name; it also gets `style`, `script` and its `digest`, `made` (now), `version`, and
            `megabytes`, the page's own size.
        context: The template's values.
        filters: Its filters by name.
        script: Name of the script that the page holds; None for none.
    """
    environment = Environment(
        loader=PackageLoader("dsrg.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    code = "" if script is None else _package_text(environment, script)
    own = {
        "style": Markup(_package_text(environment, "style.css")),
        "script": Markup(code),
        # The browser runs this script and no other, whatever may have slipped into the page.
        "digest": base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": __version__,
    }
    page = environment.get_template(template)
    size = len(page.render(context, **own, megabytes=0.0).encode()) / 1e6
    return page.render(context, **own, megabytes=size)


def _package_text(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]

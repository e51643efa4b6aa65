"""Serve a page to try a trained run on any photograph: labels in; class activation maps, seeds and a mask out."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsrg.boundary import ENDINGS
from dsrg.cli import guard
from dsrg.errors import InputError

if TYPE_CHECKING:
    from dsrg.app.browser import Page
    from dsrg.run.folder import Run

QUEUE = 20
"""Requests that may wait; to a further one the page says that it is busy."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; the exit status is 0, or 2 after one sentence on what the user can mend."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--cfg", metavar="FILE", help="configuration of a trained run: a YAML file, or a preset such as demo/resnet18"
    )
    source.add_argument("--run", metavar="DIR", help="a trained run's folder, instead of its configuration")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1, only this machine)"
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="another name under which browsers may open the page, behind a proxy say; may be given several times "
        "(default: localhost and --host alone)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default 7860)")
    parser.add_argument(
        "--long-side", type=int, metavar="N",
        help="uploads are reduced to this long side, in pixels (default: the largest among 50 training photographs)",
    )  # fmt: skip
    parser.add_argument("--examples", type=int, default=4, metavar="N", help="photographs to choose from (default 4)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.root=data/mine device=cpu")
    options = parser.parse_intermixed_args(arguments)
    return guard(lambda: _serve(options))


def load_run(directory: Path, overrides: Sequence[str] = ()) -> Run:
    """The run that made a folder, by the configuration in it.

    The folder, that of a run whose classifier it shares (shared) and the data set (data.root) may have moved since.

    Args:
        directory: With config.yaml in it.
        overrides: key=value, see `config.load`.

    Raises:
        InputError: the folder is no run's, or an override does not fit.
    """
    from dsrg import config
    from dsrg.run.folder import Run

    path = directory / "config.yaml"
    if not path.is_file():
        raise InputError(f"{path}: does not exist; give the folder of a trained run, with its config.yaml.")
    run = Run(config.load(path, [f"run_dir={directory}", *overrides], trained=True))
    # The networks' settings are compared with the record in the folder, which knows the data set where it lay.
    run.cfg = config.change(run.cfg, {"data.root": config.load(path, trained=True).data.root}, trained=True)
    return run


def launch(page: Page, host: str, port: int, names: Sequence[str] = ()) -> str:
    """Start the server in its own thread; the address.

    Args:
        page: The page.
        host, port: To listen on.
        names: Further names under which the page may be opened, see `dsrg.app.guard.Guard`.

    Raises:
        InputError: the port is taken.
    """
    from gradio import themes
    from starlette.middleware import Middleware

    from dsrg.app.guard import Guard
    from dsrg.app.html import STYLE
    from dsrg.app.uploads import LARGEST_UPLOAD

    bounds: dict[str, Any] = {"room": page.room, "most_upload": LARGEST_UPLOAD + 2**20}  # and what is around the file
    guard_ = Middleware(Guard, hosts=names, listening=host, **bounds)
    page.blocks.queue(max_size=QUEUE, api_open=False)
    try:
        _, address, _ = page.blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            max_file_size=LARGEST_UPLOAD,
            app_kwargs={"middleware": [guard_]},
            state_session_capacity=100,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            # System fonts: nothing is fetched from elsewhere.
            theme=themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            css=STYLE,
        )
    except OSError:
        raise InputError(f"--port {port}: cannot be listened on at {host}; choose another.") from None
    return str(address)


def _serve(options: argparse.Namespace) -> None:
    for name, least in (("port", 0), ("examples", 0), ("long_side", 33)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')} {value}: give at least {least}.")
    if importlib.util.find_spec("gradio") is None:
        raise InputError("gradio: is not installed, and the page needs it; run pip install 'dsrg[app]'.")
    from dsrg import config
    from dsrg.app import studio
    from dsrg.app.scratch import scratch
    from dsrg.data.voc import spread
    from dsrg.run.folder import Run

    run = load_run(Path(options.run), options.overrides) if options.run else Run(
        config.load(options.cfg, options.overrides)
    )  # fmt: skip
    with scratch(Path(tempfile.gettempdir())) as folder:
        # Gradio keeps uploads and pictures here; they are gone with the page.
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        from dsrg.app import browser as studio_page  # an extra: gradio takes seconds to load

        page = studio_page.Page(
            studio.Studio(run),
            spread(run.val, options.examples),
            options.long_side or studio.usual_long_side(run),
            folder,
        )
        address = launch(page, options.host, options.port, options.allow_host)
        # What stops a service is to end it like Ctrl-C, or the photographs would stay in `folder`. Ctrl-C is set too:
        # a process that a shell starts in the background ignores it.
        before = {number: signal.signal(number, signal.default_int_handler) for number in ENDINGS}
        try:
            print(f"{address} shows {run.directory}; Ctrl-C ends it", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("ended")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            page.blocks.close(verbose=False)

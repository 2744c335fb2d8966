"""JupyterLab on loopback and a headless Chromium; both fail loudly where they cannot be had."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from notebook_files import NOTEBOOKS
from playwright.sync_api import sync_playwright
from tiny import tiny

import munit_lite as ml
from munit_lite.doctor import BROWSERS
from munit_lite.storage.checkpoints import save_model

CELLS = (
    "from munit_lite.course.explorers import *",
    "StyleExplorer('model.safetensors')",
    "ExampleExplorer('model.safetensors')",
    "AdaINExplorer('model.safetensors')",
    "WorldExplorer('model.safetensors')",
    "LossExplorer()",
    "PropositionExplorer()",
    "SymmetryExplorer()",
    "StyleExplorer('no_such_model')",
)


@pytest.fixture(scope="session")
def model():
    """Untrained, but with AdaIN that depends strongly on the style."""
    made = ml.build(tiny(num_residual_blocks=2)).eval()
    for auto_encoder in made.auto_encoders:
        auto_encoder.decoder.mlp[-1].weight.data.mul_(3)
    return made


@pytest.fixture(scope="session")
def lab(tmp_path_factory, model):
    """Notebook name -> its address. Lab saves by itself, so it serves a copy."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copytree(NOTEBOOKS, root / "notebooks", ignore=shutil.ignore_patterns(".*"))
    for notebook in (root / "notebooks").glob("*.ipynb"):
        notebook.write_text(notebook.read_text().replace("fast = False", "fast = True", 1))
    save_model(root / "model.safetensors", model, step=1)
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}  # else Lab asks
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), root / "explorers.ipynb")
    settings = root / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews":"false","checkForUpdates":false}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, log = secrets.token_hex(16), root / "lab.log"
    folders = {
        "JUPYTER_CONFIG_DIR": root / "config",
        "JUPYTER_DATA_DIR": root / "data",
        "JUPYTER_RUNTIME_DIR": root / "runtime",
        "IPYTHONDIR": root / "ipython",
        "JUPYTERLAB_SETTINGS_DIR": root / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": root / "workspaces",
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}",
        "--expose-app-in-browser",
    ]  # fmt: skip
    with open(log, "w") as told:
        server = subprocess.Popen(
            command,
            stdout=told,
            stderr=told,
            env=os.environ | {k: str(v) for k, v in folders.items()},
            start_new_session=True,
        )
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/api/status?token={token}", timeout=2)
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
                time.sleep(0.2)
        yield lambda notebook: f"{url}/lab/tree/{notebook}?token={token}&reset"
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def chromium():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "no Chromium was found; install one (apt-get install chromium), or deselect with -m 'not browser'"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def opened(chromium, lab):
    """Opens a notebook in a page of its own; `page.errors` collects what the page raised."""

    def open_notebook(name, width=1300):
        page = chromium.new_page(viewport={"width": width, "height": 1000})
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.set_default_timeout(60_000)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(lab(name))
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        return page

    return open_notebook


KERNEL_READY = """async () => {
  const ready = async () => {
    const panel = jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    const kernel = panel.sessionContext.session.kernel;
    await kernel.info;
    while (kernel.status !== 'idle') await new Promise(resolve => setTimeout(resolve, 50));
    return 'idle';
  };
  return Promise.race([ready(), new Promise(resolve => setTimeout(() => resolve('the kernel hangs'), 90000))]);
}"""


@pytest.fixture(scope="session")
def run_all():
    """Runs every cell and waits for the kernel to be idle again."""

    def run(page):
        assert page.evaluate(KERNEL_READY) == "idle"
        page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        assert page.evaluate(KERNEL_READY) == "idle"

    return run

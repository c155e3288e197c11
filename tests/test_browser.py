"""The course as a learner sees it: JupyterLab in Chromium (make browser-test).

Every chapter is opened, run, looked at, run again, saved and opened again; every
exercise is run as handed out. A failed test leaves its picture in tests/screenshots.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest
from jupyter_server.serverapp import list_running_servers
from PIL import Image
from test_notebooks import CHAPTERS, ROOT

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium"),
]

NOTEBOOKS = ROOT / "notebooks"
EXERCISES = sorted(NOTEBOOKS.glob("exercises/*/*.ipynb"))
SCREENSHOTS = ROOT / "tests/screenshots"
JUPYTER = "application/vnd.jupyter."
ERROR = ("stderr", "error")  # ends of the types of an error, by JupyterLab's version
MINUTES = 8  # that one run of a notebook may take, on a busy machine

# What is seen of each cell: its number and its outputs.
CELLS = """() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map(cell => {
    const prompt = cell.querySelector('.jp-InputPrompt');
    const outputs = [...cell.querySelectorAll('.jp-OutputArea-output')];
    return {
        number: parseInt(prompt?.textContent.slice(1)) || null,
        kinds: outputs.map(output => output.dataset.mimeType),
        texts: outputs.map(output => output.textContent),
        pictures: outputs.flatMap(o => [...o.querySelectorAll('img')]).map(i => i.src),
    };
})"""

# Wait until the cell `last` has the number `number`, or a cell failed. Meanwhile bring
# each cell `live` into view once it has a picture, and keep every frame in which it
# looked different: its pictures, its texts, and where on the screen the next cell is.
WATCH = """async ({live, last, number, minutes}) => {
    const cell = i => document.querySelectorAll('.jp-Notebook .jp-Cell')[i];
    const prompt = i => cell(i).querySelector('.jp-InputPrompt').textContent;
    const all = (i, selector) => [...cell(i).querySelectorAll(selector)];
    const failed = () => document.querySelector(
        '[data-mime-type$=stderr], [data-mime-type$=error]');
    const frames = Object.fromEntries(live.map(i => [i, []]));
    const settling = Object.fromEntries(live.map(i => [i, 0]));
    const end = Date.now() + minutes * 60_000;
    while (prompt(last) != `[${number}]:` && !failed() && Date.now() < end) {
        await new Promise(requestAnimationFrame);
        for (const i of live) {
            const pictures = all(i, '.jp-OutputArea-output img').map(i => i.src);
            if (prompt(i) != '[*]:' || !(settling[i] || pictures.length)) continue;
            if (settling[i]++ < 20) {  // heights of cells never seen are estimates
                cell(i + 1).scrollIntoView({block: 'end'});
                continue;
            }
            const frame = {
                pictures,
                texts: all(i, '.jp-RenderedText').map(output => output.textContent),
                below: Math.round(cell(i + 1).getBoundingClientRect().top),
            };
            if (JSON.stringify(frame) != JSON.stringify(frames[i].at(-1)))
                frames[i].push(frame);
        }
    }
    return frames;
}"""

NOTHING_RUNS = """() => [...document.querySelectorAll('.jp-InputPrompt')].every(
    prompt => prompt.textContent != '[*]:')"""

# Of each picture its width, and the width there is.
WIDTHS = """() => [...document.querySelectorAll('.jp-OutputArea-output img')].map(
    img => [img.clientWidth, img.closest('.jp-OutputArea-output').clientWidth])"""
# What has to be scrolled from left to right.
SCROLLED = """() => [
    ...document.querySelectorAll('.jp-WindowedPanel-outer, .jp-OutputArea-output')
].filter(e => e.scrollWidth > e.clientWidth).map(e => e.className)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab as `make lab` starts it, on a copy of the notebooks without outputs.

    The settings of whoever runs the test neither matter nor change.
    """
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(NOTEBOOKS, folder / "notebooks")
    for path in folder.glob("notebooks/**/*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.update(outputs=[], execution_count=None)
        nbformat.write(notebook, path)

    config = folder / "config"
    settings = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}
    for name, content in {
        "jupyter_server_config": {"ServerApp": {"open_browser": False, "port": 0}},
        "labconfig/default_setting_overrides": settings,
    }.items():
        path = config / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    env = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    env.pop("MPLBACKEND", None)
    make = ["make", "-f", ROOT / "Makefile", "lab", f"VENV={sys.prefix}"]
    make += ["-o", f"{sys.prefix}/reader"]  # it is made already
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(make, cwd=folder, env=env, stdout=log, stderr=log)
    while not (servers := list(list_running_servers(folder / "runtime"))):
        assert process.poll() is None, (folder / "lab.log").read_text()
        time.sleep(0.1)
    yield servers[0]
    os.kill(servers[0]["pid"], signal.SIGTERM)
    process.wait()


@pytest.fixture(scope="module")
def page(lab):
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page()
        page.goto(f"{lab['url']}lab?token={lab['token']}")
        yield page
        browser.close()


@pytest.fixture(autouse=True)
def screenshot(request, page):
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        path = SCREENSHOTS / f"{request.node.name}.png"
        page.screenshot(path=path)
        print("what the browser showed:", path)


class Notebook:
    """A notebook that is open in JupyterLab, beside the file it was copied from."""

    def __init__(self, page, lab, path):
        self.page, self.lab = page, lab
        self.path = path.relative_to(NOTEBOOKS).as_posix()
        self.cells = nbformat.read(path, as_version=4).cells
        self.code = [i for i, c in enumerate(self.cells) if c.cell_type == "code"]
        self.live = [i for i in self.code if is_training(self.cells[i])]
        self.executed = 0
        self.shut_down_all()
        self.open()

    def open(self):
        self.page.set_viewport_size({"width": 1366, "height": 1000})
        self.page.goto(f"{self.lab['url']}lab/tree/{self.path}?reset")
        self.page.locator(".jp-Notebook .jp-Cell").nth(len(self.cells) - 1).wait_for()
        self.page.get_by_text("(ipykernel) | Idle").wait_for()

    def shut_down_all(self):
        """End the kernels of the notebooks before this one: they take memory."""
        sessions = f"{self.lab['url']}api/sessions"
        headers = {"Authorization": f"token {self.lab['token']}"}
        for session in self.page.request.get(sessions, headers=headers).json():
            self.page.request.delete(f"{sessions}/{session['id']}", headers=headers)

    def menu(self, *names):
        for name in names:
            self.page.click(f'[class$=-itemLabel]:text-is("{name}")')

    def run_all(self):
        """Run All; returns the frames of each training cell."""
        self.menu("Run", "Run All Cells")
        return self.wait()

    def restart_and_run_all(self):
        self.menu("Run", "Restart Kernel and Run All Cells…")
        self.page.click(".jp-Dialog .jp-mod-accept")
        self.executed = 0
        return self.wait()

    def choose_theme(self, name):
        self.menu("Settings", "Theme", f"JupyterLab {name}")
        self.page.locator(f"[data-jp-theme-name$={name}]").wait_for(state="attached")

    def wait(self):
        self.executed += len(self.code)
        return self.page.evaluate(
            WATCH,
            {
                "live": self.live,
                "last": self.code[-1],
                "number": self.executed,
                "minutes": MINUTES,
            },
        )

    def seen(self):
        return self.page.evaluate(CELLS)

    def pictures(self):
        """Screenshots of all pictures, as arrays of shape (h, w, 3), less the rim."""
        for picture in self.page.locator(".jp-OutputArea-output img").all():
            picture.scroll_into_view_if_needed()
            self.page.wait_for_timeout(100)  # cells get their height when first seen
            image = Image.open(io.BytesIO(picture.screenshot())).convert("RGB")
            yield np.asarray(image, int)[3:-3, 3:-3]

    def assert_as_committed(self):
        """All cells ran, none failed, and each put out what the file in git has."""
        seen = self.seen()
        assert not [cell["texts"] for cell in seen if is_error(cell)]
        first = self.executed - len(self.code) + 1
        numbers = [seen[i]["number"] for i in self.code]
        assert numbers == list(range(first, self.executed + 1))
        for i in self.code:
            committed = [kinds(output) for output in self.cells[i].outputs]
            assert len(seen[i]["kinds"]) == len(committed), seen[i]
            for kind, possible in zip(seen[i]["kinds"], committed, strict=True):
                assert kind in possible, seen[i]


def is_training(cell):
    return any("training on" in output.get("text", "") for output in cell.outputs)


def is_error(cell):
    return any(kind.endswith(ERROR) for kind in cell["kinds"])


def kinds(output):
    """The MIME types that JupyterLab may choose from to show an output."""
    return output.get("data") or [JUPYTER + output.name]


def background(pixels):
    """The colour of the margin that matplotlib leaves around a figure."""
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.median(rim, axis=0)


def luminance(color):
    """From 0 (black) to 1 (white), as the rules for readable web pages define it."""
    c = np.asarray(color) / 255
    c = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return c @ [0.2126, 0.7152, 0.0722]


@pytest.fixture(scope="module", params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request, page, lab):
    """A chapter after Restart Kernel and Run All Cells; its tests use it in turn."""
    chapter = Notebook(page, lab, request.param)
    chapter.frames = chapter.restart_and_run_all()
    return chapter


def test_every_cell_runs(chapter):
    chapter.assert_as_committed()


def test_no_picture_is_empty(chapter):
    """An empty plot has no colour, and no more ink than its axes and labels."""
    for number, pixels in enumerate(chapter.pictures()):
        ink = (abs(pixels - background(pixels)).max(axis=2) > 40).mean()
        color = (np.ptp(pixels, axis=2) > 40).mean()
        assert color > 0.001 or ink > 0.1, f"picture {number} is empty"


def test_pictures_are_readable_in_both_themes(chapter):
    light = list(chapter.pictures())
    chapter.choose_theme("Dark")
    dark = list(chapter.pictures())
    chapter.choose_theme("Light")
    for on_light, on_dark in zip(light, dark, strict=True):
        paper = luminance(background(on_light))
        assert (paper + 0.05) / (luminance(on_light).min() + 0.05) > 7
        assert luminance(background(on_dark)) == paper, "the theme shines through"


@pytest.mark.parametrize("width, keys", [(1366, ""), (1920, ""), (1024, "Control+b")])
def test_nothing_is_too_wide(chapter, width, keys):
    """On a laptop and two projectors, the smaller one without the list of files."""
    page = chapter.page
    page.set_viewport_size({"width": width, "height": 768})
    if keys:
        page.keyboard.press(keys)
    page.wait_for_timeout(500)
    pictures, scrolled = page.evaluate(WIDTHS), page.evaluate(SCROLLED)
    if keys:
        page.keyboard.press(keys)
    assert all(0 < taken <= there for taken, there in pictures), pictures
    assert not scrolled


def test_a_training_is_one_figure_that_grows(chapter):
    """Nothing printed is lost, and the page stays where it is."""
    for frames in chapter.frames.values():
        assert {len(frame["pictures"]) for frame in frames} <= {1}
        assert all("training on" in frame["texts"][0] for frame in frames)
        while_it_ran = [f["below"] for f in frames if f["texts"] == frames[0]["texts"]]
        assert np.ptp(while_it_ran or [0]) <= 1
    if chapter.frames:
        looks = [
            len({frame["pictures"][0] for frame in frames})
            for frames in chapter.frames.values()
        ]
        assert max(looks) >= 3


def test_saved_and_opened_again(chapter):
    before = [cell["pictures"] for cell in chapter.seen()]
    chapter.page.keyboard.press("Control+s")
    chapter.page.wait_for_selector(".jp-mod-dirty", state="detached")
    chapter.open()
    assert [cell["pictures"] for cell in chapter.seen()] == before


def test_a_second_run_gives_the_same(chapter):
    chapter.run_all()
    chapter.assert_as_committed()


def test_interrupting_a_training_leaves_figure_and_kernel(page, lab):
    path = next(path for path in CHAPTERS if "training" in path.stem)
    notebook = Notebook(page, lab, path)
    i = notebook.live[0]
    training = page.locator(".jp-Notebook .jp-Cell").nth(i)
    notebook.menu("Run", "Run All Cells")
    training.locator("img").wait_for(timeout=120_000)
    page.get_by_title("Interrupt the kernel").click()
    training.get_by_text("interrupted in epoch").wait_for(state="attached")
    page.wait_for_function(NOTHING_RUNS)  # Run All stops where a cell misses results
    seen = notebook.seen()
    committed = [kinds(output) for output in notebook.cells[i].outputs]
    assert len(seen[i]["pictures"]) == 1 and len(seen[i]["kinds"]) == len(committed)

    first = page.locator(".jp-Notebook .jp-CodeCell").first
    first.click()
    page.keyboard.press("Shift+Enter")
    number = 1 + max(cell["number"] for cell in seen if cell["number"])
    first.locator(f'.jp-InputPrompt:text-is("[{number}]:")').wait_for()


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_an_exercise_says_what_is_still_to_do(page, lab, path):
    """Run All stops at the first check, without a traceback."""
    notebook = Notebook(page, lab, path)
    notebook.run_all()
    page.wait_for_function(NOTHING_RUNS)
    seen = notebook.seen()
    check = next(i for i in notebook.code if notebook.cells[i].metadata.nbgrader.grade)
    assert [i for i in notebook.code if is_error(seen[i])] == [check]
    assert seen[check]["texts"][-1].strip().endswith("still to do")
    ran = [i for i in notebook.code if seen[i]["number"]]
    assert ran == [i for i in notebook.code if i <= check]

"""The course as a learner sees it: JupyterLab in Chromium (make browser-test).

Every chapter is opened, run, looked at, run again, saved and opened again; every
exercise is run as handed out. A failed test leaves its picture in tests/screenshots.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import numpy as np
import pytest
from helpers import CHAPTERS, EXERCISES, NOTEBOOKS, ROOT, SOLUTIONS, TOOLS, read
from jupyter_server.serverapp import list_running_servers
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium"),
]

SCREENSHOTS = ROOT / "tests/screenshots"
STDOUT = "application/vnd.jupyter.stdout"
ERRORS = ("stderr", "error")  # how their types end; from JupyterLab 4.6 on the first
# Of the forms that an output has, JupyterLab shows the first of these.
SHOWN = ["text/html", "text/markdown", "text/latex", "image/svg+xml", "text/plain"]
MINUTES = 30  # that a run of a notebook may take, on a busy machine

# For the page: its cells, what is seen of one,
CELLS = "[...document.querySelectorAll('.jp-Notebook .jp-Cell')]"
LOOK = """cell => {
    const outputs = [...cell.querySelectorAll('.jp-OutputArea-output')];
    return {
        number: cell.querySelector('.jp-InputPrompt').textContent,
        kinds: outputs.map(output => output.dataset.mimeType),
        texts: outputs.map(output => output.textContent),
        pictures: outputs.flatMap(o => [...o.querySelectorAll('img')]).map(i => i.src),
    };
}"""
# and waiting until a run has begun and ended. Meanwhile each cell of `trainings` is
# brought into view once it has a picture, and every moment in which it looked different
# is kept, with the place of the next cell on the screen.
WATCH = """async ([trainings, milliseconds]) => {
    const end = Date.now() + milliseconds, look = LOOK;
    const prompts = () => [...document.querySelectorAll('.jp-InputPrompt')];
    const runs = () => prompts().some(prompt => prompt.textContent == '[*]:');
    const moments = trainings.map(() => []), looks = trainings.map(() => 0);
    for (const begun of [false, true])
        while (runs() == begun) {
            if (Date.now() > end) throw Error('the notebook still runs');
            await new Promise(done => setTimeout(done, 50));
            trainings.forEach((i, k) => {
                const [cell, next] = CELLS.slice(i, i + 2);
                const {number, texts, pictures} = look(cell);
                if (number != '[*]:' || !pictures.length && !looks[k]) return;
                // heights of cells that were never in view are estimates
                const settled = looks[k]++ >= 8;
                if (!settled) next.scrollIntoView({block: 'end'});
                const below = settled && Math.round(next.getBoundingClientRect().top);
                const moment = JSON.stringify({texts, pictures, below});
                if (moment != moments[k].at(-1)) moments[k].push(moment);
            });
        }
    return moments.map(m => m.map(JSON.parse));
}""".replace("LOOK", LOOK).replace("CELLS", CELLS)
# Of each picture its width, and the width there is.
WIDTHS = """[...document.querySelectorAll('.jp-OutputArea-output img')].map(
    img => [img.clientWidth, img.closest('.jp-OutputArea-output').clientWidth])"""
# What has to be scrolled from left to right.
SCROLLED = """[
    ...document.querySelectorAll('.jp-WindowedPanel-outer, .jp-OutputArea-output')
].filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"""


def answering(runtime):
    """The server that has its file in runtime, once it answers."""
    for server in list_running_servers(runtime):
        with suppress(URLError):
            urlopen(f"{server['url']}api").close()
            return server


@contextmanager
def jupyterlab(command, notebooks, folder):
    """JupyterLab as `make COMMAND` starts it, on a copy of notebooks without outputs.

    The settings of whoever runs the test neither matter nor change.
    """
    shutil.copytree(notebooks, folder / notebooks.name)
    for path in folder.glob("notebooks*/**/*.ipynb"):
        notebook = read(path)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.update(outputs=[], execution_count=None)
        nbformat.write(notebook, path)

    shutil.copytree(TOOLS / "jupyterlab", folder / "tools/jupyterlab")
    config = folder / "config"
    config.mkdir()
    server = {"ServerApp": {"open_browser": False, "port": 0}}
    (config / "jupyter_server_config.json").write_text(json.dumps(server))
    env = os.environ | {
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    env.pop("MPLBACKEND", None)

    make = ["make", "-f", ROOT / "Makefile", command, f"VENV={sys.prefix}"]
    make += ["--old-file=environment"]  # it is made already
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(make, cwd=folder, env=env, stdout=log, stderr=log)
    while not (server := answering(folder / "runtime")):
        assert process.poll() is None, (folder / "lab.log").read_text()
        time.sleep(0.1)
    yield server
    os.kill(server["pid"], signal.SIGTERM)
    process.wait()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with jupyterlab("lab", NOTEBOOKS, tmp_path_factory.mktemp("course")) as server:
        yield server


@pytest.fixture(scope="module")
def page(lab):
    # root, as in a container, may start Chromium only without its sandbox
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page()
        page.set_default_timeout(90_000)  # milliseconds; kernels start slowly at times
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

    def __init__(self, page, lab, path, folder=NOTEBOOKS):
        self.page, self.lab = page, lab
        self.path = path.relative_to(folder).as_posix()
        self.cells = read(path).cells
        self.code = [i for i, c in enumerate(self.cells) if c.cell_type == "code"]
        self.trainings = [i for i in self.code if is_training(self.cells[i])]
        self.end_all_kernels()
        self.open()

    def end_all_kernels(self):
        """Those of the notebooks before this one: they take memory."""
        sessions = f"{self.lab['url']}api/sessions"
        headers = {"Authorization": f"token {self.lab['token']}"}
        for session in self.page.request.get(sessions, headers=headers).json():
            self.page.request.delete(f"{sessions}/{session['id']}", headers=headers)

    def open(self):
        self.page.set_viewport_size({"width": 1366, "height": 1000})
        self.page.goto(f"{self.lab['url']}lab/tree/{self.path}?reset")
        self.page.locator(".jp-Notebook .jp-Cell").nth(len(self.cells) - 1).wait_for()
        self.page.get_by_text("(ipykernel) | Idle").wait_for()

    def menu(self, *names):
        for name in names:
            self.page.click(f'[class$=-itemLabel]:text-is("{name}")')

    def wait(self):
        """Wait for the end of a run; returns the moments of each training."""
        moments = self.page.evaluate(WATCH, [self.trainings, MINUTES * 60_000])
        # a folded cell has no number that would tell of its end
        self.page.wait_for_timeout(500)
        self.page.get_by_text("(ipykernel) | Idle").wait_for()
        return moments

    def seen(self):
        return self.page.evaluate(f"{CELLS}.map({LOOK})")

    def pictures(self):
        """Screenshots of all pictures, as arrays of shape (h, w, 3), less the rim."""
        for picture in self.page.locator(".jp-OutputArea-output img").all():
            picture.scroll_into_view_if_needed()
            self.page.wait_for_timeout(100)  # cells get their height when first seen
            image = Image.open(io.BytesIO(picture.screenshot())).convert("RGB")
            yield np.asarray(image, int)[3:-3, 3:-3]

    def assert_as_committed(self, first):
        """The cells ran in order from number first on, without an error, and each put
        out what the committed file has."""
        seen = self.seen()
        assert not [cell["texts"] for cell in seen if is_error(cell)]
        for number, i in enumerate(self.code, start=first):
            expected = [kind(output) for output in self.cells[i].outputs]
            # JupyterLab shows no number beside a folded cell
            shown = "" if is_folded(self.cells[i]) else f"[{number}]:"
            assert (seen[i]["number"], seen[i]["kinds"]) == (shown, expected)


def is_training(cell):
    return any("training on" in output.get("text", "") for output in cell.outputs)


def is_folded(cell):
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


def kind(output):
    """The MIME type that JupyterLab chooses to show an output."""
    if "data" in output:
        return next(kind for kind in SHOWN if kind in output.data)
    return f"application/vnd.jupyter.{output.name}"


def is_error(cell):
    return any(kind.endswith(ERRORS) for kind in cell["kinds"])


def background(pixels):
    """The colour of the margin that matplotlib leaves around a figure."""
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.median(rim, axis=0)


def luminance(color):
    """From 0 (black) to 1 (white), as the rules for readable web pages define it."""
    c = np.asarray(color) / 255
    c = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return c @ [0.2126, 0.7152, 0.0722]


def test_first_start_shows_chapter_1_and_asks_nothing(page, lab):
    """At the address that `make lab` prints, and no question about news."""
    page.goto(f"{lab['url']}?token={lab['token']}")
    page.get_by_text("(ipykernel) | Idle").wait_for()
    assert page.url == f"{lab['url']}lab/tree/{CHAPTERS[0].name}"
    page.wait_for_timeout(3000)  # a question would come a moment later
    assert not page.locator(".Toastify__toast").all_inner_texts()


@pytest.fixture(scope="module", params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request, page, lab):
    """A chapter after Restart Kernel and Run All Cells; its tests use it in turn."""
    chapter = Notebook(page, lab, request.param)
    chapter.menu("Run", "Restart Kernel and Run All Cells…")
    page.click(".jp-Dialog .jp-mod-accept")
    chapter.moments = chapter.wait()
    return chapter


def test_every_cell_runs(chapter):
    chapter.assert_as_committed(first=1)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_pictures_are_neither_empty_nor_unreadable(chapter, theme):
    """They are dark on a paper of their own. An empty plot has no colour, and no more
    ink than its axes and labels."""
    chapter.menu("Settings", "Theme", f"JupyterLab {theme}")
    body = chapter.page.locator(f"body[data-jp-theme-name$={theme}]")
    body.wait_for(state="attached")
    for number, pixels in enumerate(chapter.pictures()):
        ink = (abs(pixels - background(pixels)).max(axis=2) > 40).mean()
        color = (np.ptp(pixels, axis=2) > 40).mean()
        assert color > 0.001 or ink > 0.1, f"picture {number} is empty"
        paper = luminance(background(pixels)) + 0.05
        assert paper / (luminance(pixels).min() + 0.05) > 7, f"picture {number}"


@pytest.mark.parametrize("width, keys", [(1366, ""), (1920, ""), (1024, "Control+b")])
def test_nothing_is_too_wide(chapter, width, keys):
    """On a laptop and two projectors, the smaller one without the list of files."""
    page = chapter.page
    page.set_viewport_size({"width": width, "height": 768})
    if keys:
        page.keyboard.press(keys)
    page.wait_for_timeout(500)
    widths, scrolled = page.evaluate(WIDTHS), page.evaluate(SCROLLED)
    if keys:
        page.keyboard.press(keys)
    assert all(0 < taken <= there for taken, there in widths), widths
    assert not scrolled


def test_a_training_is_one_figure_that_grows(chapter):
    """Nothing printed is lost, and the page stays where it is."""
    if not chapter.trainings:
        pytest.skip("nothing is trained")
    looks, ends = [], chapter.seen()
    for i, moments in zip(chapter.trainings, chapter.moments, strict=True):
        for moment in [*moments, ends[i]]:
            assert "training on" in moment["texts"][0]
            assert len(moment["pictures"]) == 1
        # until it prints its result, which is below the figure
        live = [m for m in moments if m["texts"] == moments[0]["texts"]]
        places = [m["below"] for m in live if m["below"] is not False]
        assert not places or np.ptp(places) <= 1
        looks.append({m["pictures"][0] for m in [*moments, ends[i]]})
    # of the minute in chapter 5 some between; a short one may end before its second
    least = 3 if "training" in chapter.path else 2
    assert max(map(len, looks)) >= least


def test_saved_and_opened_again(chapter):
    before = [cell["pictures"] for cell in chapter.seen()]
    chapter.page.keyboard.press("Control+s")
    chapter.page.wait_for_selector(".jp-mod-dirty", state="detached")
    chapter.open()
    assert [cell["pictures"] for cell in chapter.seen()] == before


def test_a_second_run_gives_the_same(chapter):
    """Times differ, but in their digits only."""
    if chapter.path > "05":
        pytest.skip("takes minutes once more")
    before = chapter.seen()
    chapter.menu("Run", "Run All Cells")
    chapter.wait()
    chapter.assert_as_committed(first=1 + len(chapter.code))
    for first, second in zip(before, chapter.seen(), strict=True):
        texts = [re.sub(r"[\d.]+", "#", "".join(c["texts"])) for c in (first, second)]
        assert texts[0] == texts[1]


def test_interrupting_a_training_leaves_figure_and_kernel(page, lab):
    path = next(path for path in CHAPTERS if "training" in path.stem)
    notebook = Notebook(page, lab, path)
    i = notebook.trainings[0]
    after = notebook.code[notebook.code.index(i) + 1]
    training = page.locator(".jp-Notebook .jp-Cell").nth(i)
    notebook.menu("Run", "Run All Cells")
    training.locator("img").wait_for(state="attached")
    page.get_by_title("Interrupt the kernel").click()
    notebook.wait()
    seen = notebook.seen()
    assert "interrupted in epoch 1" in "".join(seen[i]["texts"])
    assert seen[i]["kinds"] == [STDOUT, "image/svg+xml", STDOUT]
    assert is_error(seen[after])  # it needs the whole training
    assert "run its cell to the end" in "".join(seen[after]["texts"])

    first = page.locator(".jp-Notebook .jp-CodeCell").first
    first.click()
    page.keyboard.press("Shift+Enter")
    number = 1 + int(seen[after]["number"].strip("[]:"))
    first.locator(f'.jp-InputPrompt:text-is("[{number}]:")').wait_for()


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_an_exercise_says_what_is_still_to_do(page, lab, path):
    """Run All stops at the first check, without a traceback."""
    notebook = Notebook(page, lab, path)
    notebook.menu("Run", "Run All Cells")
    notebook.wait()
    seen = notebook.seen()
    check = next(i for i in notebook.code if notebook.cells[i].metadata.nbgrader.grade)
    ran = [i for i in notebook.code if seen[i]["number"] != "[ ]:"]
    assert ran == [i for i in notebook.code if i <= check]
    assert [i for i in ran if is_error(seen[i])] == [check]
    assert re.fullmatch(r".+: still to do\n?", seen[check]["texts"][-1])


# ---------------------------------------------------------------- in Chinese

CHINESE = ROOT / "notebooks-zh"
HAN = "[\u3400-\u9fff]"
# The texts of a notebook without code and formulas, and the number of formulas.
TEXTS = """() => {
    const cells = [...document.querySelectorAll('.jp-RenderedMarkdown')];
    const copies = cells.map(cell => cell.cloneNode(true));
    copies.forEach(copy => copy.querySelectorAll('code, mjx-container').forEach(
        part => part.remove()));
    const formulas = document.querySelectorAll('.jp-RenderedMarkdown mjx-container');
    return [copies.map(copy => copy.textContent).join('\\n'), formulas.length];
}"""
# How many different pictures the letters give, in the font of the texts. What no font
# has is drawn as one and the same box.
PICTURES = """letters => {
    const text = document.querySelector('.jp-RenderedMarkdown');
    const family = getComputedStyle(text).fontFamily;
    const picture = letter => {
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = 40;
        const context = canvas.getContext('2d');
        context.font = `30px ${family}`;
        context.fillText(letter, 4, 32);
        return canvas.toDataURL();
    };
    return new Set([...letters].map(picture)).size;
}"""


@pytest.fixture(scope="module")
def lab_zh(tmp_path_factory, page):
    folder = tmp_path_factory.mktemp("course-zh")
    with jupyterlab("lab-zh", CHINESE, folder) as server:
        page.goto(f"{server['url']}lab?token={server['token']}")
        yield server


@pytest.mark.parametrize(
    "path",
    [CHINESE / path.relative_to(NOTEBOOKS) for path in CHAPTERS + EXERCISES],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_notebook_in_chinese_is_shown_well(page, lab_zh, path):
    """As it lies there; its code is run in English."""
    notebook = Notebook(page, lab_zh, path, CHINESE)
    sources = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    source = re.sub("(?s)```.*?```|`[^`]+`", "", "\n".join(sources))
    formulas = re.findall(r"\$\$.+?\$\$|\$[^$]+\$", source, re.DOTALL)
    page.wait_for_function(f"n => ({TEXTS})()[1] == n", arg=len(formulas))
    text, _ = page.evaluate(TEXTS)
    assert "*" not in text
    assert "$" not in text
    letters = set(re.findall(HAN, source))
    assert letters == set(re.findall(HAN, text))
    assert page.evaluate(PICTURES, "".join(letters)) == len(letters)


def test_checks_of_a_notebook_in_chinese_speak_chinese(page, lab_zh):
    """One exercise is right, the next one is not."""
    folder = Path(lab_zh["root_dir"])
    path = folder / EXERCISES[0].relative_to(NOTEBOOKS)
    filled = read(path)
    answers = {cell.id: cell.source for cell in read(SOLUTIONS[0]).cells}
    for cell in filled.cells:
        if cell.id == "e01-03":
            cell.source = answers[cell.id]
        if cell.id == "e01-06":
            cell.source = answers[cell.id].replace("* c + c)", "* c)")
    nbformat.write(filled, path)

    notebook = Notebook(page, lab_zh, path, folder)
    notebook.menu("Run", "Run All Cells")
    notebook.wait()
    texts = {
        cell.id: "".join(seen["texts"])
        for cell, seen in zip(notebook.cells, notebook.seen(), strict=True)
    }
    right = "输入边长比smallest(7, 11, 2, 4)少一个像素时，输出的边长：正确。"
    assert right in texts["e01-04"]
    assert texts["e01-07"].strip() == (
        "params_in_a_row(2, 3, 3)：你的结果是162，太小了。\n"
        "提示：每对通道有一个卷积核，每个输出通道有一个偏置"
    )

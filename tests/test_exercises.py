"""The exercises, with nbgrader itself: what it makes of the solutions, and its grades.

Four made-up students hand in: one the solutions, one nothing, one the first wrong
answer to each exercise in the table below, and one right answers with accidents. The
other wrong answers are tried without nbgrader. And a
program tries that copies whatever it can see.
"""

import re
import shutil
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from fractions import Fraction
from io import StringIO
from pathlib import Path

import make_exercises
import nbformat
import numpy as np
import pytest
import torch
from helpers import (
    NOTEBOOKS,
    NUM_CHECKS,
    ROOT,
    SOLUTIONS,
    answers,
    cells_of,
    nbgrader,
    read,
)
from nbclient import NotebookClient
from nbgrader.api import Gradebook

import d2lmini
from d2lmini.exercises import NotYet, check

CHAPTERS = {path.stem[:2]: path.stem for path in SOLUTIONS}

# A student who makes the names of the checks and numbers to say what pleases.
CHEAT = """return Right(1)


check = ask = torch = lambda *args, **kwargs: print("right")


class Right(int):
    __eq__ = __le__ = __lt__ = __gt__ = lambda self, other: True
    __sub__ = __rsub__ = __abs__ = lambda self, *other: 0


def unused(k):
    return 0"""
SWAP_INSIDE = """block[-2], block[-1] = block[-1], block[-2]
    return block"""

CHINESE = ROOT / "notebooks-zh/exercises"

# Chapter, exercise, and what a student wrote instead of what is right; and the check
# that it fails where it is not the exercise's first one.
WRONG = [
    ("01", "sizes", "return (k - 1) // 2", "return k // 2 - 1"),
    ("01", "sizes", "- 2 * p", "- p"),  # padding on one side only
    ("01", "sizes", "return (k - 1) // 2", CHEAT),
    ("01", "in-a-row", "(k * k * c * c + c)", "(k * k * c * c + 1)"),  # one bias
    ("01", "in-a-row", "1 + num_convs * (k - 1)", "k * num_convs"),
    ("01", "in-a-row", "1 + num_convs * (k - 1)", "{3: 7, 2: 9}[num_convs]"),
    ("01", "wide-block", "padding=2", "padding=1"),
    ("01", "wide-block", "in_channels = out_channels", "pass"),
    ("01", "wide-block", "nn.MaxPool2d", "nn.AvgPool2d"),
    ("01", "wide-block", "layers.append(nn.ReLU())", "pass"),
    ("01", "wide-block", "return nn.Sequential(*layers)", "return layers"),
    ("01", "as-one", "kernel[a + b] += u * v", "kernel[a + b] = u * v"),
    ("01", "as-one", "return kernel", "return kernel[::-1]"),
    ("01", "swapped", "*layers, relu, pool = block", SWAP_INSIDE),
    ("01", "swapped", "*layers, pool, relu)", "*layers, relu, pool)"),
    ("01", "swapped", "pool, relu)", "nn.MaxPool2d(2), nn.ReLU())"),
    ("01", "average", "[4 * target, -4", "[target, -1"),
    ("01", "average", "-4 * target", "0"),
    ("02", "fitting", "image_size // step * step", "image_size"),
    ("02", "fitting", "smallest + step - 1", "smallest + step"),
    ("02", "features", "(height // 2**n) * (width // 2**n)", "height * width // 4**n"),
    ("02", "features", "(width // 2**n)", "(height // 2**n)"),
    ("02", "features", "conv_arch[-1][1]", "conv_arch[-1]"),
    ("02", "head", "features * units + units", "features * units"),
    ("02", "head", "        features = units\n", ""),
    ("02", "slim-head", "nn.AdaptiveAvgPool2d(1), ", ""),
    ("02", "slim-head", "nn.Flatten(), ", ""),
    ("02", "slim-head", "nn.Linear(channels, num_classes)", "nn.Linear(512, 10)"),
    ("02", "receptive-field", "2 * d * num_convs + d", "2 * d + d"),
    ("02", "receptive-field", "        d *= 2\n", ""),
    ("02", "receptive-field", "2 * d * num_convs + d", "2 * d * num_convs"),
    ("03", "untouched", "3 * num_hidden + 1", "7"),
    ("03", "untouched", "layer in (1, 9)", "layer == 1"),
    ("03", "untouched", "layer > 9", "layer > 8"),
    ("03", "arithmetic", "return 2 * k", "return k"),
    ("03", "arithmetic", "(side - k + 2 * p + 1)", "side"),
    ("03", "inner", "(old / new) ** 2", "(old / new)"),
    ("03", "inner", ", ratio**2", ", ratio"),
    ("03", "file", "+ 1 + 10", "+ 10"),
    ("03", "file", "- 576_832", ""),
    ("03", "uses", "2**poolings_before", "2**layer"),
    ("03", "uses", "if layer > 8", "if layer > 11"),
    ("04", "among-best", ".sum()", ".float().mean()"),  # a share
    ("04", "among-best", "best = ", "return d2l.accuracy(y_hat, y)\n    best = "),
    ("04", "among-best", ", descending=True", ""),
    ("04", "largest", ", strict=True", "", "largest-refuses"),
    ("04", "largest", 'float("-inf")', "0"),
    ("04", "largest", "data[idx]", "data[idx]\n\n\nLargest = d2l.Accumulator"),
    ("04", "last-batch", "(mean * size, size)", "(mean, 1)"),  # mean of means
    ("04", "last-batch", "/ metric[1]", "/ len(means)"),
    ("04", "one-answer", "/ len(y)", "/ len(counts)"),
    ("04", "one-answer", "int(counts.argmax())", "int(counts.max())"),
    ("04", "predict", "    net.eval()\n", ""),
    ("04", "predict", "    net.train(was_training)\n", ""),
    ("04", "predict", "net.train(was_training)", "net.train()"),
    ("04", "predict", "torch.no_grad()", "torch.enable_grad()"),
    ("05", "guessing", "math.log(", "math.log10("),
    ("05", "guessing", "-math.log(", "math.log("),
    ("05", "guessing", "-math.log(1 / num_classes)", "1 / num_classes"),
    ("05", "step", "    net.zero_grad()\n", ""),  # gradients add up
    ("05", "step", "    return l.item()", "    return loss(net(X), y).item()"),  # after
    ("05", "step", "    return l.item()", "    pass"),
    ("05", "step", "p -= lr", "p += lr"),  # uphill
    ("05", "parts", " * len(y) / num_images", ""),  # a sum of means
    ("05", "parts", " * len(y) / num_images", " / len(parts)"),  # a mean of means
    ("05", "parts", "    net.zero_grad()\n", ""),
    (
        "05",
        "parts",
        "    for X, y in parts:\n",
        "    for X, y in parts:\n        net.zero_grad()\n",
    ),
    ("05", "curve", "i // n * n", "0"),  # since the training began
    ("05", "curve", "i // n * n", "max(0, i + 1 - n)"),  # the last n
    (
        "05",
        "curve",
        "            return i\n    return len(train_loss)",
        "            continue\n        n = i + 1\n    return n",
    ),
    (
        "05",
        "curve",
        "abs(l - math.log(10)) >= 0.05",
        "l < math.log(10) - 0.05",
    ),  # 5.1 is guessing
    ("05", "confusion", "confusion[k].sum()", "confusion[:, k].sum()"),
    ("05", "confusion", "called = confusion[:, k]", "called = confusion[k]"),
    ("05", "confusion", " if called > 0 else 0.0", ""),  # nan
    ("05", "snippets", "EDCFAB", "EDEFAB"),
    ("05", "snippets", "EDCFAB", "ABCDEF"),
    ("06", "epochs", "(160 / side) ** 2", "160 / side"),
    ("06", "epochs", "(160 / side) ** 2", "(side / 160) ** 2"),
    ("06", "size", "c / 2 if relu else c", "c"),
    ("06", "size", "num_layers / 2", "num_layers"),  # the mean square
    ("06", "batch-norm", "(0, 2, 3)", "0"),  # a mean per pixel
    ("06", "batch-norm", "(0, 2, 3)", "(2, 3)"),  # a mean per image
    ("06", "batch-norm", ", keepdim=True", ""),
    ("06", "batch-norm", "((X - mean) ** 2).mean(", "X.var("),
    ("06", "batch-norm", "torch.sqrt(var + eps)", "torch.sqrt(var)"),
    ("06", "batch-norm", "torch.sqrt(var + eps)", "(var + eps)"),
    (
        "06",
        "one-image",
        "0.1 * (batch.mean().item() - running)",
        "0.9 * (batch.mean().item() - running)",
    ),
    (
        "06",
        "one-image",
        "running += 0.1 * (batch.mean().item() - running)",
        "running += batch.mean().item() / len(seen)",
    ),
    ("06", "one-image", "for batch in seen:", "for batch in [*seen, X]:"),
    ("06", "one-image", "    if training:\n        return X.mean().item()\n", ""),
    ("06", "smooth", "epsilon / num_classes", "epsilon / (num_classes - 1)"),
    (
        "06",
        "smooth",
        "(1 - epsilon) * one_hot + epsilon / num_classes",
        "torch.where(one_hot == 1, 1 - epsilon, epsilon / (num_classes - 1))",
    ),
    ("06", "smooth", "one_hot(y, num_classes)", "one_hot(y, num_classes)[0]"),
    ("06", "flip", "X.flip(3)", "X.flip(2)"),  # upside down
    (
        "06",
        "flip",
        "torch.rand(len(X)) < 0.5",
        "torch.arange(len(X)) < len(X) // 2",
    ),  # always the first half
    ("06", "flip", "torch.rand(len(X)) < 0.5", "(torch.rand(1) < 0.5).expand(len(X))"),
    (
        "06",
        "flip",
        "torch.where(chosen[:, None, None, None], X.flip(3), X)",
        "X.copy_(torch.where(chosen[:, None, None, None], X.flip(3), X))",
    ),
    ("06", "channels-last", "row, 1, row, channels", "row, height * width, width, 1"),
    ("06", "channels-last", "    return height * row, 1, row, channels", "    pass"),
    ("07", "ratios", "(inputs + 1)", "inputs"),  # biases forgotten
    ("07", "ratios", " * side * side", ""),
    ("07", "ratios", "return params_ratio, ", "return "),
    ("07", "stacks", "(k - 1) // 2", "k // 3"),
    ("07", "stacks", "1 - 9", "9"),  # kept
    ("07", "wide", "math.isqrt(budget // k**2)", "budget // k**2"),
    ("07", "wide", "math.isqrt(budget // k**2)", "round((budget / k**2) ** 0.5)"),
    ("07", "wide", "math.isqrt(budget // k**2)", "54"),
    ("07", "speed", "len(X) / min(timer.times)", "min(timer.times) / len(X)"),
    ("07", "speed", "min(timer.times)", "timer.avg()"),  # the mean
    ("07", "speed", "return len(X) / min(timer.times)", "return 99"),
    ("07", "speed", "range(repeats)", "range(3)"),
    ("07", "seeds", "/ math.sqrt(len(values))", "/ len(values)"),
    ("07", "seeds", " / math.sqrt(len(values))", ""),  # of one value
    (
        "07",
        "seeds",
        "math.ceil((stdev(values) / error) ** 2)",
        "math.ceil(stdev(values) / error)",
    ),
    (
        "07",
        "seeds",
        "math.ceil((stdev(values) / error) ** 2)",
        "round((stdev(values) / error) ** 2)",
    ),
    (
        "07",
        "lead",
        "error = math.sqrt(stdev(a) ** 2 / len(a) + stdev(b) ** 2 / len(b))",
        "error = stdev(a) / math.sqrt(len(a)) + stdev(b) / math.sqrt(len(b))",
    ),
    (
        "07",
        "lead",
        "error = math.sqrt(stdev(a) ** 2 / len(a) + stdev(b) ** 2 / len(b))",
        "error = stdev([*a, *b]) / math.sqrt(len(a))",
    ),
    ("07", "lead", "(mean(a) - mean(b))", "abs(mean(a) - mean(b))"),
    ("07", "sentences", "lead > 3", "lead > 0"),  # any lead
    (
        "07",
        "sentences",
        'letters += "F"',
        'letters = "A" + letters + "F"',
    ),  # not shown, so equal
    ("07", "sentences", 'letters += "C"', 'letters += "CD"'),
    ("07", "sentences", "max(x) > max(y)", "mean(x) > mean(y)"),
    ("07", "sentences", "abs(lead) <= 3", "lead <= 3"),
]
# What a student's function may say on stderr, past whatever redirects it.
NOTE = '    print("note", file=STDERR)\n'
FIRST_WRONG = {row[:2]: row for row in reversed(WRONG)}.values()


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder with the exercises as nbgrader makes them now."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(NOTEBOOKS / "solutions", folder / "solutions")
    shutil.copy(NOTEBOOKS / "nbgrader_config.py", folder)
    make_exercises.make(folder)
    return folder


def hand_in(course, student, chapter, texts, lost=None, exercises=None):
    """Submit the exercises of a chapter with these answers, without the cell lost.

    exercises: another edition's folder of them.
    """
    exercises = exercises or course / "exercises"
    notebook = read(exercises / chapter / f"{chapter}.ipynb")
    if lost:
        notebook.cells.remove(cells_of(notebook)[lost])
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = texts.get(name, cell.source)
    folder = course / "submitted" / student / chapter
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{chapter}.ipynb")


def wrong_answers(chapter, texts, table=FIRST_WRONG):
    for number, name, right, wrong, *_ in table:
        if chapter.startswith(number):
            assert right in texts[name]
            texts = texts | {name: texts[name].replace(right, wrong)}
    return texts


@pytest.fixture(scope="module")
def graded(course):
    """The course folder after the grading, and two gradebooks, as two processes grade
    half of the chapters each."""
    for path in SOLUTIONS:
        right = answers(path)
        wrong = wrong_answers(path.stem, right)
        for student, texts in [("right", right), ("missing", {}), ("wrong", wrong)]:
            hand_in(course, student, path.stem, texts)
            if path == SOLUTIONS[0]:
                hand_in(course, f"{student}-zh", path.stem, texts, exercises=CHINESE)
    texts = answers(SOLUTIONS[0])
    noisy = texts["sizes"].replace("    return (k", NOTE + "    return (k")
    texts["sizes"] = f"import sys\n\nSTDERR = sys.stderr\n{noisy}"
    hand_in(course, "unlucky", SOLUTIONS[0].stem, texts, lost="average-check")

    def grade(chapters):
        gradebook = shutil.copy(course / "gradebook.db", course / f"{chapters}.db")
        nbgrader(course, "autograde", chapters, f"--db=sqlite:///{gradebook}")
        return gradebook

    with ThreadPoolExecutor() as pool:
        return course, list(pool.map(grade, ["0[13579]_*", "0[2468]_*"]))


def points(graded, student):
    """(points, points at most) of each check cell of a student, by chapter and name."""
    found = {}
    for path in graded[1]:
        with Gradebook(f"sqlite:///{path}") as gradebook:
            for handed_in in gradebook.student_submissions(student):
                for grade in handed_in.notebooks[0].grades:
                    key = handed_in.name, grade.name
                    found[key] = grade.score, grade.max_score
    return found


def message(graded, student, chapter, name):
    """What the student reads below a check cell that failed."""
    path = graded[0] / "autograded" / student / chapter / f"{chapter}.ipynb"
    (error,) = [o for o in cells_of(path)[name].outputs if o.output_type == "error"]
    assert error.ename == "NotYet"
    return "\n".join(error.traceback)


def max_points():
    """Points of every check cell, as the solutions give them."""
    return {
        (path.stem, name): cell.metadata.nbgrader.points
        for path in SOLUTIONS
        for name, cell in cells_of(path).items()
        if cell.metadata.nbgrader.grade
    }


@pytest.mark.slow
def test_right_answers_get_every_point(graded):
    assert len(max_points()) == NUM_CHECKS
    assert points(graded, "right") == {k: (p, p) for k, p in max_points().items()}


@pytest.mark.slow
def test_accidents_cost_no_points(graded):
    """A deleted check comes back; what is on stderr is no failure."""
    chapter = SOLUTIONS[0].stem
    expected = {k: (p, p) for k, p in max_points().items() if k[0] == chapter}
    assert points(graded, "unlucky") == expected


@pytest.mark.slow
@pytest.mark.parametrize("student", ["right", "missing", "wrong"])
def test_exercises_in_chinese_get_the_same_points(graded, student):
    """In the English course; what the feedback shows stays Chinese."""
    chapter = SOLUTIONS[0].stem
    expected = {k: p for k, p in points(graded, student).items() if k[0] == chapter}
    assert points(graded, f"{student}-zh") == expected
    path = graded[0] / "autograded" / f"{student}-zh" / chapter / f"{chapter}.ipynb"
    assert read(path).cells[0].source.startswith("# 练习1")


@pytest.mark.slow
def test_missing_answers_get_no_point_and_a_short_message(graded):
    assert points(graded, "missing") == {k: (0, p) for k, p in max_points().items()}
    for key in max_points():
        assert re.fullmatch(r".+: still to do", message(graded, "missing", *key))


def failed_check(name, *check):
    """The check that fails with a row of WRONG, which may name it after the answers."""
    return f"{(*check, name)[0]}-check"


# A message says which way to go and gives a hint.
FAULT = r".+ (is .+: .+\.|fails: .+(\nIn your line: .+)?)\nHint: .+"
FAULT += "|.+ returned None, or no return at all: still to do"


@pytest.mark.slow
def test_wrong_answers_lose_their_points_and_no_others(graded):
    lost = {(CHAPTERS[row[0]], failed_check(row[1], *row[4:])) for row in FIRST_WRONG}
    expected = {k: (0 if k in lost else p, p) for k, p in max_points().items()}
    assert points(graded, "wrong") == expected
    for key in lost:
        assert re.fullmatch(FAULT, message(graded, "wrong", *key))


def run(source, names):
    """What a cell prints, and the message when it fails."""
    with redirect_stdout(StringIO()) as text, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec(compile(source, "a cell", "exec"), names)
        except Exception as error:
            return text.getvalue(), str(error)
    return text.getvalue(), ""


@pytest.mark.parametrize("row", WRONG, ids=lambda row: "-".join(row[:2]))
def test_no_wrong_answer_passes(row):
    (path,) = [path for path in SOLUTIONS if path.stem.startswith(row[0])]
    cells = cells_of(path)
    texts = wrong_answers(path.stem, answers(path), [row])
    names = {}
    for name, cell in cells.items():
        what = cell.metadata.nbgrader
        if name == row[1] or not (what.solution or what.grade):
            assert run(texts.get(name, cell.source), names) == ("", "")
    _, message = run(cells[failed_check(row[1], *row[4:])].source, names)
    assert re.fullmatch(FAULT, message)


# What a program can copy

NUMBER = re.compile(r"(?<![\w.])-?\d[\d_]*(?:\.\d+)?")
# Names of the package, without what would fetch, train or draw long rows of pictures.
SLOW = {"load_data_fashion_mnist", "show_images", "train_ch6"}
COPIED = [getattr(d2lmini, name) for name in set(d2lmini.__all__) - SLOW]


def harvest(text):
    """Numbers and quoted texts in text."""
    numbers = {float(n) if "." in n else int(n) for n in NUMBER.findall(text)}
    return [*sorted(numbers), *sorted(set(re.findall(r'["\'](\w+)["\']', text)))]


def copy_into(source, check, names):
    """Set what the answer cell source asks for to what gets furthest in check."""
    seen = check
    wanted = re.findall(r"^(?:def|class) (\w+)|^(\w+) = None$", source, re.M)
    for _ in range(2):  # the second time with what the messages of the first one tell
        for function, variable in wanted:
            best = -1
            values = harvest(seen)
            if function:
                answers = [lambda *args, v=v: v for v in values] + COPIED
            else:
                answers = values
            for answer in answers:
                trial = names | {function or variable: answer}
                text, message = run(check, trial)
                seen += "" if message in seen else message
                if text.count(": right") > best:
                    best, names[function or variable] = text.count(": right"), answer


@pytest.mark.slow
@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_copying_what_can_be_seen_gets_a_tenth_of_the_points_at_most(path, course):
    released = cells_of(course / "exercises" / path.stem / path.name)
    hidden, names, got = cells_of(path), {}, 0
    for name, cell in released.items():
        if not cell.metadata.nbgrader.grade:
            run(cell.source, names)
            answer_cell = cell.source
        else:
            copy_into(answer_cell, cell.source, names)
            _, message = run(hidden[name].source, names)
            got += 0 if message else cell.metadata.nbgrader.points
    most = sum(p for key, p in max_points().items() if key[0] == path.stem)
    assert got <= most / 10


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_check_needs_none_of_a_students_names_and_changes_none(path):
    names = {}
    taken = dict.fromkeys(["check", "ask", "hint", "expected", "answer", "test"])
    for cell in cells_of(path).values():
        names |= taken
        before = {k: v for k, v in names.items() if k[0] != "_"}
        assert run(cell.source, names)[1] == ""
        if cell.metadata.nbgrader.grade:  # its own names begin with _
            assert {k: v for k, v in names.items() if k[0] != "_"} == before


def files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_making_the_exercises_loses_nothing(tmp_path, monkeypatch, capfd):
    """Not another course's either, which the teacher's own settings name."""
    course, home, path = tmp_path / "course", tmp_path / "home", SOLUTIONS[2]
    shutil.copytree(path.parent, course / "solutions" / path.stem)
    shutil.copy(NOTEBOOKS / "nbgrader_config.py", course)
    (home / ".jupyter").mkdir(parents=True)
    settings = f"get_config().CourseDirectory.root = {str(home)!r}\n"
    (home / ".jupyter/nbgrader_config.py").write_text(settings)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("JUPYTER_CONFIG_DIR", raising=False)

    make_exercises.make(course)
    made = course / "exercises" / path.stem / path.name
    assert read(made) == read(NOTEBOOKS / "exercises" / path.stem / path.name)
    assert not (home / "gradebook.db").exists()
    assert sorted(p.name for p in course.iterdir()) == [
        "exercises", "gradebook.db", "nbgrader_config.py", "solutions"
    ]  # fmt: skip

    with Gradebook(f"sqlite:///{course}/gradebook.db", "vgg") as gradebook:
        gradebook.add_student("ada")
        gradebook.add_submission(path.stem, "ada")
    solution = course / "solutions" / path.stem / path.name
    notebook = read(solution)
    notebook.cells.remove(cells_of(notebook)["uses-check"])
    nbformat.write(notebook, solution)
    before = files(course)
    with pytest.raises(SystemExit, match=r"(?s)unchanged.*move gradebook\.db away"):
        make_exercises.make(course)
    assert files(course) == before


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
class TestAssignment:
    def test_exercises_are_what_nbgrader_makes_of_the_solutions(self, path, course):
        """After a change of a solution: make exercises."""
        name = Path("exercises", path.stem, path.name)
        assert read(NOTEBOOKS / name) == read(course / name)

    def test_texts_name_the_points(self, path):
        texts = [c.source for c in read(path).cells if c.cell_type == "markdown"]
        text = "\n".join(texts)
        promised = [int(n) for n in re.findall(r"^## .*\((\d) points?\)$", text, re.M)]
        given = sum(p for key, p in max_points().items() if key[0] == path.stem)
        assert f"**{given} points** in {len(promised)} exercises" in text
        assert sum(promised) == given

    def test_belongs_to_its_chapter(self, path):
        assert f"(../../{path.name})" in read(path).cells[0].source


@pytest.mark.parametrize(
    ("answer", "expected", "tolerance"),
    [
        (3, 3, 0),
        (3.0, 3, 0),
        (np.int64(3), 3, 0),
        (Fraction(1, 2), 0.5, 0),
        (torch.tensor(3.0, requires_grad=True), 3, 0),
        ([1, 2], torch.Size([1, 2]), 0),
        (np.array([[1, 2]]), [(1, 2)], 0),
        (2.78, 25 / 9, 0.01),
        ("b", "b", 0),
        (True, True, 0),
        (lambda: 3, 3, 0),
    ],
)
def test_check_takes_right_answers_of_any_kind(answer, expected, tolerance, capsys):
    check("it", answer, expected, "a hint", tolerance=tolerance)
    assert capsys.readouterr().out == "it: right.\n"


def test_check_says_why(capsys):
    check("it", 3, 3, "a hint", "Twice 1.5.")
    assert capsys.readouterr().out == "it: right. Twice 1.5.\n"


class Pleasing(int):
    """A number that is equal to all."""

    __eq__ = __le__ = lambda self, other: True
    __sub__ = __rsub__ = __abs__ = lambda self, *other: 0


@pytest.mark.parametrize(
    ("answer", "expected", "tolerance", "fault"),
    [
        (133_047_849, 133_047_848, 0, "too large"),
        (2.76, 25 / 9, 0.01, "too small"),
        (float("nan"), 3, 0, "not a number"),
        ("3", 3, 0, "a number is wanted"),
        (True, 1, 0, "a number is wanted"),
        (1j, 1, 0, "a number is wanted"),
        (Pleasing(7), 3, 0, "too large"),
        (1, True, 0, "not right"),
        ("a", "b", 0, "not right"),
        (3, [3], 0, "several values are wanted"),
        ([3], 3, 0, "a number is wanted"),
        ([3, 3], [3], 0, "its shape is (2,), where (1,) is wanted"),
        ([[1], []], [[1], [3]], 0, "number 2: its shape is (0,), where (1,) is wanted"),
        ([1, 2, 4], [1, 2, 3], 0, "number 3: too large"),
        ([[1, 2], [3, 3]], [[1, 2], [3, 4]], 0, "number 2: too small"),
    ],
)
def test_check_says_which_way_to_go(answer, expected, tolerance, fault):
    with pytest.raises(NotYet) as error:
        check("it", answer, expected, "a hint", tolerance=tolerance)
    assert str(error.value) == f"it is {answer!r}: {fault}.\nHint: a hint"


@pytest.mark.parametrize("answer", [None, lambda: None])
def test_check_says_what_is_still_to_do(answer):
    with pytest.raises(NotYet, match="^it.*: still to do$"):
        check("it", answer, 3, "a hint")


def test_a_check_inside_an_answer_speaks_for_itself():
    with pytest.raises(NotYet, match="^inner: still to do$"):
        check("outer", lambda: check("inner", None, 3, "a hint"), 3, "a hint")


def test_long_answers_are_cut():
    with pytest.raises(NotYet, match="^it is a tensor of shape"):
        check("it", torch.zeros(5, 5), 3, "a hint")
    with pytest.raises(NotYet) as error:
        check("it", "x" * 1000, 3, "a hint")
    assert len(str(error.value)) < 200


def test_printing_and_warning_do_not_matter(capsys):
    def answer():
        print("here")
        warnings.warn("nbgrader takes what is on stderr for a failure", stacklevel=1)
        print("there", file=sys.stderr)
        return 3

    check("it", answer, 3, "a hint")
    out, err = capsys.readouterr()
    assert out.endswith("there\nit: right.\n")
    assert err == ""


STUDENT = """\
import torch

def half(X):
    print("here")
    torch.nn.functional.softmax(X)  # warns
    return X @ X

def late():
    return missing

check = None
"""
CHECK = """\
def _check():
    from d2lmini.exercises import check
    X = {X}
    check("{what}", lambda: {what}, 3, "a hint")
_check()
"""


@pytest.mark.slow
def test_a_message_names_the_line_of_the_notebook():
    """In a real kernel, and in nothing else: no traceback, nothing on stderr."""
    cells = [
        STUDENT,
        CHECK.format(X="torch.ones(2, 3)", what="half(X)"),
        CHECK.format(X=0, what="late()"),
        CHECK.format(X=0, what="late(1)"),
        CHECK.format(X=0, what="unknown()"),
    ]
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    NotebookClient(notebook, kernel_name="python3", allow_errors=True).execute()
    seen = [cell.outputs for cell in notebook.cells]
    assert seen[0] == []
    for outputs in seen:
        assert not [o for o in outputs if o.get("name") == "stderr"]
    texts = ["\n".join(outputs[-1].traceback) for outputs in seen[1:]]
    lines = [text.splitlines() for text in texts]
    assert lines[0][0].startswith("half(X) fails: RuntimeError: mat1 and mat2")
    assert lines[0][1:] == ["In your line: return X @ X", "Hint: a hint"]
    assert lines[1] == [
        "late() fails: NameError: name 'missing' is not defined",
        "In your line: return missing",
        "Hint: a hint",
    ]
    assert lines[2][0].startswith("late(1) fails: TypeError: late() takes 0 positional")
    assert lines[2][1:] == ["Hint: a hint"]
    assert lines[3][0] == "unknown() fails: NameError: name 'unknown' is not defined"

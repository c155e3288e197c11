"""python -m d2lmini check | data | train, the requirements, and the public names."""

import importlib.metadata
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from packaging.requirements import Requirement

import d2lmini
from d2lmini.__main__ import main, parse
from d2lmini.engine import fashion_mnist

REPOSITORY = Path(__file__).parents[1]
LINES = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
REQUIREMENTS = {
    requirement.name: requirement
    for requirement in (Requirement(line.split("#")[0]) for line in LINES[1:-1])
}


def run_python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=600
    )


# ---------------------------------------------------------------- check


def test_check_finds_all_that_the_course_needs():
    """An OK line for Python, each requirement, the kernel, device, sample and data."""
    done = run_python("-m", "d2lmini", "check")
    assert (done.returncode, done.stderr) == (0, "")
    expected = [
        f"Python {sys.version.split()[0]} ",
        *(f"{name} {importlib.metadata.version(name)}" for name in REQUIREMENTS),
        "kernel python3 runs ",
        f"device: {d2lmini.try_gpu()}",
        "sample: 6,000 + 1,000 images",
        "full data: ",
    ]
    *lines, verdict = done.stdout.splitlines()
    assert verdict == "All that the chapters need is here."
    assert all(line.startswith("OK   ") for line in lines)
    for text in expected:
        assert [line for line in lines if line.startswith(f"OK   {text}")], text
    assert len(lines) == len(expected)


def failures(capsys):
    """What `check` finds wrong; its exit status is 1 where that is something."""
    status = main(["check"])
    lines = capsys.readouterr().out.splitlines()
    failed = [line.removeprefix("FAIL ") for line in lines if line.startswith("FAIL ")]
    assert status == (1 if failed else 0)
    return failed


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_check_tells_which_package_is_missing(monkeypatch, capsys, name):
    real = importlib.metadata.version

    def version(asked):
        if asked == name:
            raise importlib.metadata.PackageNotFoundError(asked)
        return real(asked)

    monkeypatch.setattr(importlib.metadata, "version", version)
    (failure,) = failures(capsys)
    assert failure.startswith(f"{name}>=")
    assert f"pip install '{REQUIREMENTS[name]}'" in failure


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_check_tells_which_package_is_too_old(monkeypatch, capsys, name):
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda n: "0.0.9" if n == name else real(n)
    )
    (failure,) = failures(capsys)
    assert failure == f"{name} 0.0.9: pip install -U '{REQUIREMENTS[name]}'"


def test_a_local_build_of_a_package_is_new_enough(monkeypatch, capsys):
    """torch's CPU builds are called 2.9.0+cpu."""
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda n: "2.9.0+cpu" if n == "torch" else real(n),
    )
    assert failures(capsys) == []


def test_check_tells_that_the_sample_is_damaged(monkeypatch, capsys, tmp_path):
    damaged = tmp_path / "sample.npy.xz"
    damaged.write_bytes(fashion_mnist.SAMPLE.read_bytes()[:-1])
    monkeypatch.setattr(fashion_mnist, "SAMPLE", damaged)
    (failure,) = failures(capsys)
    assert failure.startswith(f"sample: {damaged} is damaged")


def test_check_tells_that_the_sample_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(fashion_mnist, "SAMPLE", tmp_path / "sample.npy.xz")
    (failure,) = failures(capsys)
    assert re.match(r"sample: .*sample\.npy\.xz", failure)


@pytest.mark.parametrize("where", ["another environment", "a removed environment"])
def test_check_tells_that_the_kernel_is_anothers(monkeypatch, capsys, tmp_path, where):
    """Though the interpreters of two environments are links to the same file."""
    interpreter = tmp_path / "bin" / "python"
    if where == "another environment":
        interpreter.parent.mkdir()
        interpreter.symlink_to(Path(sys.executable).resolve())
    spec = KernelSpec(argv=[str(interpreter), "-m", "ipykernel_launcher"])
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
    (failure,) = failures(capsys)
    assert failure == f"kernel python3 runs {interpreter}, not {sys.executable}"


@pytest.mark.parametrize("name", ["python", sys.executable])
def test_check_accepts_this_environments_kernel(monkeypatch, capsys, name):
    spec = KernelSpec(argv=[name, "-m", "ipykernel_launcher"])
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
    assert failures(capsys) == []


def test_check_tells_that_there_is_no_kernel(monkeypatch, capsys):
    def none(self, name):
        raise NoSuchKernel(name)

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", none)
    (failure,) = failures(capsys)
    assert failure.startswith("kernel python3: not found")


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("edition", ["", "-zh"])
def test_make_lab_offers_this_environments_kernel(tmp_path, edition):
    """Though the user has a kernel of that name, of another environment."""
    users = tmp_path / "kernels/python3/kernel.json"
    users.parent.mkdir(parents=True)
    users.write_text('{"argv": ["/another/python"], "display_name": "another"}')
    prefers_the_users = {"JUPYTER_PREFER_ENV_PATH": "0"}
    jupyter = tmp_path / "jupyter"  # instead of opening JupyterLab, lists its kernels
    real = Path(sys.executable).with_name("jupyter")
    jupyter.write_text(f"#!/bin/sh\necho $* >&2\nexec {real} kernelspec list --json\n")
    jupyter.chmod(0o755)
    make = ["make", "--silent", "--no-print-directory", f"BIN={tmp_path}"]
    done = subprocess.run(
        [*make, "--old-file=environment", f"lab{edition}"],
        env=os.environ | {"JUPYTER_DATA_DIR": str(tmp_path)} | prefers_the_users,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.stderr.startswith(f"lab --notebook-dir=notebooks{edition} ")
    kernel = json.loads(done.stdout)["kernelspecs"]["python3"]
    folder = Path(kernel["resource_dir"]).resolve()
    assert folder.is_relative_to(Path(sys.prefix).resolve())


def test_check_does_not_need_the_full_data(monkeypatch, capsys):
    monkeypatch.setattr("d2lmini.__main__.find_fashion_mnist", lambda: None)
    assert main(["check"]) == 0
    assert "OK   full data: not here" in capsys.readouterr().out


# ---------------------------------------------------------------- data, and no command


def test_data_finds_the_full_set(full_folder, capsys):
    assert main(["data"]) == 0
    assert capsys.readouterr().out == f"60,000 + 10,000 images in {full_folder}\n"


def test_data_tells_which_file_is_damaged(tmp_path, capsys):
    for name in fashion_mnist.FILES:
        (tmp_path / name).write_bytes(b"not an image")
    assert main(["data", "--root", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{tmp_path / 'train-images-idx3-ubyte'} is not Fashion-MNIST's" in err


@pytest.mark.parametrize("arguments", [[], ["fly"], ["check", "--fast"]])
def test_unknown_commands_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: python -m d2lmini" in capsys.readouterr().err


# ---------------------------------------------------------------- requirements


def test_requirements_and_pyproject_say_the_same():
    tomllib = pytest.importorskip("tomllib", reason="part of Python from 3.11")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    declared = project["dependencies"] + project["optional-dependencies"]["lab"]
    assert {(r.name, r.specifier) for r in REQUIREMENTS.values()} == {
        (r.name, r.specifier) for r in map(Requirement, declared)
    }
    assert len(declared) == len(LINES) - 2


def test_every_requirement_has_a_lower_bound_and_a_comment():
    for requirement in REQUIREMENTS.values():
        assert [s.operator for s in requirement.specifier] == [">="], requirement
    for line in LINES:
        assert re.search(r"(^| )# \S", line), line


def test_the_last_requirement_is_the_package_itself():
    assert LINES[-1].split("#")[0].strip() == "-e ."


# ---------------------------------------------------------------- public names

NAMES = """
    vgg_block vgg VGG11 VGG13 VGG16 VGG19 shrink
    load_data_fashion_mnist get_dataloader_workers get_fashion_mnist_labels show_images
    accuracy Accumulator Timer use_svg_display set_axes Animator
    try_gpu evaluate_accuracy_gpu train_ch6 History
"""


def test_the_public_names():
    assert sorted(d2lmini.__all__) == sorted(NAMES.split())
    for name in d2lmini.__all__:
        assert getattr(d2lmini, name).__doc__ or name.startswith("VGG")


def test_import_loads_no_library_for_pictures():
    code = "import sys, d2lmini; print({'matplotlib', 'IPython'} & set(sys.modules))"
    # torch 2.6 leaves a folder behind, to be removed, with a warning, at the exit
    warnings = ["-W", "error", "-W", "ignore::ResourceWarning"]
    done = run_python(*warnings, "-c", code)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# ---------------------------------------------------------------- train

QUICK = ["--sample", "--resize=32", "--ratio=16", "--batch-size=600", "--num-epochs=1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_records_settings_and_results(folder, capsys, one_thread):
    arguments = ["train", *QUICK, "--lr=0.01", "--seed=3", "--history=h.json"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "training on cpu"
    history = d2lmini.History.load("h.json")
    assert printed[1] == (
        f"loss {history.train_loss[0]:.3f}, train acc {history.train_acc[0]:.3f}, "
        f"test acc {history.test_acc[0]:.3f}"
    )
    assert history.about["settings"] == {
        "sample": True, "depth": 11, "ratio": 16, "resize": 32, "batch_size": 600,
        "lr": 0.01, "num_epochs": 1, "seed": 3,
    }  # fmt: skip
    assert history.about["torch"] == torch.__version__
    assert history.examples == 6000
    assert os.listdir() == ["h.json"]


def test_train_is_by_default_the_books_run(capsys):
    options = vars(parse(["train"]))
    expected = {"sample": False, "depth": 11, "ratio": 4, "resize": 160}
    expected |= {"batch_size": 128, "lr": 0.05, "num_epochs": 10}
    assert expected.items() <= options.items()


def test_train_goes_on_from_a_checkpoint(folder, capsys, one_thread):
    """Two epochs in one call or in two: the same numbers."""
    two = [*QUICK, "--num-epochs=2"]
    assert main(["train", *two, "--history=whole.json"]) == 0
    assert main(["train", *QUICK, "--checkpoint=run.pt"]) == 0
    assert main(["train", *two, "--checkpoint=run.pt", "--history=parts.json"]) == 0
    whole, parts = map(d2lmini.History.load, ("whole.json", "parts.json"))
    assert parts.points() == whole.points() and len(whole) == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--history=no/h.json"], "--history: there is no folder no"),
        (["--checkpoint=no/run.pt"], "cannot write"),
        (["--resize=16"], "images of 16x16 are too small for 5 poolings"),
        (["--ratio=65"], "ratio 65 would leave 0 of the 64 channels"),
        (["--lr=-1"], "lr must be 0 or a positive number"),
        (["--num-epochs=0"], "num_epochs must be a whole number from 1"),
        (["--batch-size=0"], "batch_size must be a whole number from 1"),
    ],
)
def test_train_refuses_in_one_line(arguments, message, folder, capsys):
    assert main(["train", *QUICK, *arguments]) == 1
    printed = capsys.readouterr()
    assert message in printed.err and "Traceback" not in printed.err
    assert "examples/sec" not in printed.out and os.listdir() == []


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals to play with")
def test_train_in_a_terminal_shows_progress_and_can_be_interrupted(folder):
    """Ctrl-C in the second epoch: what was done is kept, and the way on is told."""
    import fcntl
    import pty
    import termios

    screen, terminal = pty.openpty()
    rows_and_columns = struct.pack("HHHH", 24, 120, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, rows_and_columns)
    command = [sys.executable, "-m", "d2lmini", "train", *QUICK, "--num-epochs=99"]
    command += ["--checkpoint=run.pt", "--history=h.json"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # a shell's background jobs, as these tests may be one, ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        shown = ""
        while "epoch 2/99" not in shown:
            shown += os.read(screen, 1000).decode()
        process.send_signal(signal.SIGINT)
        printed = process.communicate()[0]
    assert process.returncode == 130
    assert re.search(r"epoch 1/99: .*<.*, loss 2\.\d+, \d+ examples/sec", shown)
    assert "interrupted in epoch 2" in printed
    assert "the same command goes on after epoch 1" in printed
    assert len(d2lmini.History.load("h.json")) == 1
    assert sorted(os.listdir()) == ["h.json", "run.pt"]

"""Grade what students handed in with nbgrader: all of it, several at a time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from jupyter_core.utils import run_sync
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader import preprocessors
from nbgrader.utils import has_failed, is_grade
from tqdm import tqdm


class ExecuteAll(preprocessors.Execute):  # named in nbgrader_config.py
    """A cell that ends the kernel, or does not let itself be stopped, has failed.

    nbgrader by itself gives such a student no grade at all. Here the cells after it
    run in a new kernel, after those before it that are no checks and had no error.
    """

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict, index: int
    ) -> tuple[NotebookNode, dict]:
        try:
            return super().preprocess_cell(cell, resources, index)
        except (CellTimeoutError, DeadKernelError) as error:
            text = f"{type(error).__name__}: the cell ended the kernel, or ran too long"
            cell.outputs = [
                new_output("error", ename="Stopped", evalue=text, traceback=[text])
            ]
            run_sync(self.km.restart_kernel)(now=True)
            run_sync(self.kc.wait_for_ready)(timeout=self.startup_timeout)
            for earlier in self.nb.cells[:index]:
                left_out = is_grade(earlier) or has_failed(earlier)
                if earlier.cell_type == "code" and not left_out:
                    self.wait_for_reply(self.kc.execute(earlier.source))
            return cell, resources


def grade(course: Path, assignment: str, processes: int) -> Iterator[tuple[str, str]]:
    """Grade an assignment, so many students at a time; (student, log) where it fails.

    course: nbgrader's folder. As nbgrader does, it leaves out who has been graded.
    ValueError: nobody has handed in assignment.
    """
    students = [f.parent.name for f in course.glob(f"submitted/[!.]*/{assignment}")]
    if not students:
        raise ValueError(f"{course} has no folder submitted/STUDENT/{assignment}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def grade_one(student: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "nbgrader", "autograde", assignment]
        return subprocess.run(
            [*command, f"--student={student}"],
            cwd=course,
            env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    with ThreadPoolExecutor(processes) as pool:
        runs = {pool.submit(grade_one, student): student for student in students}
        for run in tqdm(as_completed(runs), total=len(runs), unit=" students"):
            if run.result().returncode:
                yield runs[run], run.result().stderr

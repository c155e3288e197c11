"""How nbgrader runs what students handed in: nbgrader_config.py names it."""

from jupyter_core.utils import run_sync
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader import preprocessors
from nbgrader.utils import has_failed, is_grade


class ExecuteAll(preprocessors.Execute):
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

"""A class on a real JupyterHub, from the first login to the feedback.

python tools/classroom.py [STUDENTS ...] [--chapter-5 N]

A class for each number of students: at once they log in, start their servers, fetch
the exercise of chapter 1, run the chapter and the exercise, and submit. A third of them
answers rightly, a third wrongly, a third not at all. One server is killed. The teacher
releases, collects, grades and returns. Each step is checked. A table tells what a
student costs; from the first class's the memory of the others is foretold.

Linux only. In a namespace of its own the account is called jovyan, as in a container:
then nbgrader asks the hub for the student's name. No root is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import make_exercises
import nbformat
import psutil
import requests
import websocket

COURSE = Path(__file__).resolve().parents[1]
CHAPTER, CHAPTER_5 = "01_vgg_blocks.ipynb", "05_training.ipynb"
COURSE_ID, ASSIGNMENT = "vgg", "01_vgg_blocks"
FETCHED = f"{COURSE_ID}/{ASSIGNMENT}"  # in a student's home
EXERCISE = f"{FETCHED}/{CHAPTER}"
JOVYAN = """
names=$(mktemp) && sed s/^root:/jovyan:/ /etc/passwd > $names
mount --bind $names /etc/passwd && rm $names && exec "$@"
"""
HUB = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{}"
c.JupyterHub.authenticator_class = "dummy"  # any password will do
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"  # all servers run under the hub's account
c.SimpleLocalProcessSpawner.home_dir_template = "{home}/{{username}}"
c.Spawner.environment = {environment}
c.Spawner.args = ["--allow-root"]
c.Spawner.start_timeout = c.Spawner.http_timeout = 600
"""
# What a hub needs. The last line: an exercise's links lead to the chapters, where a
# student's server starts in the chapters' folder.
NBGRADER = """
c = get_config()
c.Exchange.root = "{}/exchange"
c.CourseDirectory.course_id = "{}"
c.Exchange.path_includes_course = True
"""


class Row(NamedTuple):
    """What a stage cost a student, and what all share (with the hub), in MiB."""

    stage: str
    seconds: float  # the median, of all at once
    own: float
    shared: float

    def memory(self, num_students: int) -> float:
        return self.shared + num_students * self.own


class Student:
    """A student at a browser: the hub's pages and what JupyterLab sends to a server."""

    def __init__(self, hub: str, name: str) -> None:
        self.hub, self.name = hub, name

    def call(self, method: str, path: str, **more: Any) -> Any:
        """The answer of the hub, or, where path begins so, of the student's server."""
        path = path.replace("~", f"user/{self.name}")
        answer = requests.request(
            method, f"{self.hub}/{path}", headers=self.headers, timeout=900, **more
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def log_in(self) -> None:
        with requests.Session() as browser:
            browser.get(f"{self.hub}/hub/login")
            xsrf = browser.cookies.get("_xsrf", path="/hub/")
            form = {"username": self.name, "password": "any", "_xsrf": xsrf}
            browser.post(f"{self.hub}/hub/login", data=form).raise_for_status()
            xsrf = browser.cookies.get("_xsrf", path="/hub/")
            answer = browser.post(
                f"{self.hub}/hub/api/users/{self.name}/tokens",
                headers={"X-XSRFToken": xsrf},
            )
            answer.raise_for_status()
        self.headers = {"Authorization": f"token {answer.json()['token']}"}
        self.start()

    def start(self) -> None:
        user = f"hub/api/users/{self.name}"
        while True:
            try:
                self.call("POST", f"{user}/server")
                break
            except requests.HTTPError as error:
                if error.response.status_code != 400:
                    raise
            time.sleep(0.5)  # the hub takes one that was just killed for alive
        while not self.call("GET", user)["servers"].get("", {}).get("ready"):
            time.sleep(0.5)

    def exchange(self, action: str) -> None:
        """What JupyterLab's Assignment List does: fetch, submit or fetch_feedback."""
        what = {"course_id": COURSE_ID, "assignment_id": ASSIGNMENT}
        answer = self.call("POST", f"~/assignments/{action}", params=what)
        if not answer["success"]:
            raise RuntimeError(f"{self.name} cannot {action}: {answer['value']}")

    def notebook(self, path: str) -> nbformat.NotebookNode:
        content = self.call("GET", f"~/api/contents/{path}")["content"]
        return nbformat.from_dict(content)

    def save(self, path: str, notebook: nbformat.NotebookNode) -> None:
        content = {"type": "notebook", "content": notebook}
        self.call("PUT", f"~/api/contents/{path}", json=content)

    def run(self, path: str) -> list[str]:
        """Open a notebook and run its cells; their errors. The kernel stays."""
        for _ in range(3):
            # Kernels that several servers start at once may choose the same ports.
            with contextlib.suppress(websocket.WebSocketException):
                return self.run_once(path)
            self.close()
        raise RuntimeError(f"{self.name}: no kernel for {path} in three tries")

    def run_once(self, path: str) -> list[str]:
        about = {"path": path, "name": path, "type": "notebook"}
        session = self.call(
            "POST", "~/api/sessions", json=about | {"kernel": {"name": "python3"}}
        )
        url = f"{self.hub}/user/{self.name}/api/kernels/{session['kernel']['id']}"
        with contextlib.closing(
            websocket.create_connection(
                f"{url.replace('http', 'ws', 1)}/channels",
                header=self.headers,
                timeout=900,
            )
        ) as kernel:
            cells = [c for c in self.notebook(path).cells if c.cell_type == "code"]
            return list(filter(None, (execute(kernel, cell.source) for cell in cells)))

    def close(self) -> None:
        for session in self.call("GET", "~/api/sessions"):
            self.call("DELETE", f"~/api/sessions/{session['id']}")


def execute(kernel: websocket.WebSocket, source: str) -> str | None:
    """Run source; its error."""
    number = uuid.uuid4().hex
    header = {"msg_id": number, "msg_type": "execute_request", "version": "5.3"}
    message = {
        "channel": "shell",
        "header": header | {"session": "a class", "username": ""},
        "parent_header": {},
        "metadata": {},
        "content": {"code": source, "allow_stdin": False, "stop_on_error": False},
    }
    kernel.send(json.dumps(message))
    while True:
        reply = json.loads(kernel.recv())
        mine = reply["parent_header"].get("msg_id") == number
        if mine and reply["msg_type"] == "execute_reply":
            result = reply["content"]
            if result["status"] == "ok":
                return None
            return f"{result['ename']}: {result['evalue']}"


class Class:
    """A hub, a teacher and students, in a folder of their own."""

    def __init__(self, folder: Path, num_students: int) -> None:
        self.folder, self.course, self.rows = folder, folder / "course", []
        self.released = self.course / "exercises" / ASSIGNMENT / CHAPTER
        solution = COURSE / "notebooks/solutions" / ASSIGNMENT
        shutil.copytree(solution, self.course / "solutions" / ASSIGNMENT)
        shutil.copy(COURSE / "notebooks/nbgrader_config.py", self.course)
        (folder / "etc").mkdir()
        (folder / "etc/nbgrader_config.py").write_text(
            NBGRADER.format(folder, COURSE_ID)
        )
        (folder / "exchange").mkdir()
        (folder / "exchange").chmod(0o777)
        configs = os.pathsep.join(
            [str(folder / "etc"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
        )
        self.environment = {
            "JUPYTER_CONFIG_PATH": configs.rstrip(os.pathsep),
            # threads of several kernels that wait for each other take all processors
            "OMP_NUM_THREADS": "1",
        }
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            ports = [each.getsockname()[1] for each in sockets]
        text = HUB.format(*ports, home=folder, environment=self.environment)
        (folder / "jupyterhub_config.py").write_text(text)
        self.hub = f"http://127.0.0.1:{ports[0]}"
        # where chapters look for them, from a student's home
        shutil.copytree(COURSE / "notebooks/records", folder / "notebooks/records")
        self.students = []
        for i in range(num_students):
            self.students.append(Student(self.hub, f"student{i + 1}"))
            home = folder / self.students[-1].name
            home.mkdir()
            for chapter in CHAPTER, CHAPTER_5:
                shutil.copy(COURSE / "notebooks" / chapter, home)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """The hub runs; in the end, nothing of it does."""
        with open(self.folder / "hub.log", "wb") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "jupyterhub"],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        try:
            while True:
                with contextlib.suppress(requests.ConnectionError):
                    if requests.get(f"{self.hub}/hub/health").ok:
                        break
                if self.process.poll() is not None:
                    raise RuntimeError("the hub does not start")
                time.sleep(0.5)
            yield
        except Exception:
            print((self.folder / "hub.log").read_text()[-5000:], file=sys.stderr)
            raise
        finally:
            processes = [self.process, *self.process.children(recursive=True)]
            self.process.terminate()
            _, alive = psutil.wait_procs(processes, 30)
            for process in alive:
                process.kill()

    def processes(self, name: str) -> list[psutil.Process]:
        """A student's server and kernels."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.environ().get("JUPYTERHUB_USER") == name:
                    found.append(process)
        return found

    def stage(self, name: str, do: Callable[[Student], None], at_once: int) -> None:
        """The first at_once students do it together; a row of what it cost."""

        def timed(student: Student) -> float:
            begin = time.perf_counter()
            do(student)
            return time.perf_counter() - begin

        with ThreadPoolExecutor(at_once) as pool:
            seconds = list(pool.map(timed, self.students[:at_once]))
        own = [self.memory(student) for student in self.students]
        everything = [self.process, *self.process.children(recursive=True)]
        pss = sum(process.memory_full_info().pss for process in everything) / 2**20
        self.rows.append(
            Row(
                name,
                statistics.median(seconds),
                statistics.mean(own[:at_once]),
                pss - sum(own),
            )
        )

    def memory(self, student: Student) -> float:
        """MiB that no other process has."""
        found = self.processes(student.name)
        return sum(process.memory_full_info().uss for process in found) / 2**20

    def teacher(self, *command: str) -> None:
        """Run nbgrader, or another of the course's commands, in the course's folder."""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.course,
            env=os.environ | self.environment | {"HOME": str(self.folder)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")

    def answered(self, i: int) -> nbformat.NotebookNode:
        """What student number i hands in, by turns: right, wrong, or as it came."""
        notebook = nbformat.read(self.released, as_version=4)
        solution = self.course / "solutions" / ASSIGNMENT / CHAPTER
        right = {c.id: c.source for c in nbformat.read(solution, 4).cells}
        for cell in notebook.cells:
            if i % 3 < 2 and cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = right[cell.id]
                if i % 3 == 1 and cell.metadata.nbgrader.grade_id == "sizes":
                    cell.source = re.sub("return .*", "return 0", cell.source)
        return notebook

    def expected(self, i: int) -> float:
        """The points that student number i is to get."""
        points = {
            mark.grade_id: mark.points
            for cell in nbformat.read(self.released, 4).cells
            if (mark := cell.metadata.get("nbgrader")) and mark.grade
        }
        lost = [0, points["sizes-check"], sum(points.values())][i % 3]
        return sum(points.values()) - lost

    def finish(self, student: Student, chapter: str) -> None:
        if errors := student.run(chapter):
            raise RuntimeError(f"{student.name}: {chapter} fails: {errors}")

    def chapter_1(self, student: Student) -> None:
        student.exchange("fetch")
        self.finish(student, CHAPTER)

    def exercise(self, student: Student) -> None:
        """Answer, run and submit; the first one's server is killed on the way."""
        i = self.students.index(student)
        student.close()
        answered = self.answered(i)
        student.save(EXERCISE, answered)
        failed = student.run(EXERCISE)
        if i == 0:
            self.kill(student)
            student.start()
            failed = student.run(EXERCISE)
        if bool(failed) != (i % 3 > 0):
            raise RuntimeError(f"{student.name}: the exercise's errors are {failed}")
        kept = [cell.source for cell in student.notebook(EXERCISE).cells]
        if kept != [cell.source for cell in answered.cells]:
            raise RuntimeError(f"{student.name}: what was saved is lost")
        student.exchange("submit")

    def kill(self, student: Student) -> None:
        """SIGKILL for the student's server."""
        for process in self.processes(student.name):
            if "jupyterhub-singleuser" in " ".join(process.cmdline()):
                process.kill()

    def chapter_5(self, student: Student) -> None:
        self.finish(student, CHAPTER_5)

    def grade(self) -> None:
        self.teacher("nbgrader", "collect", ASSIGNMENT)
        self.teacher("d2lmini", "submissions")
        self.teacher("d2lmini", "grade", ASSIGNMENT)
        for command in "generate_feedback", "release_feedback":
            self.teacher("nbgrader", command, ASSIGNMENT)

    def check_grades(self) -> None:
        """Each student has the right points, and reads them in the feedback."""
        for i, student in enumerate(self.students):
            student.exchange("fetch_feedback")
            home = self.folder / student.name
            (page,) = home.glob(f"{FETCHED}/feedback/*/*.html")
            score = re.search(r"Score: ([\d.]+)", page.read_text(encoding="utf-8"))
            if float(score[1]) != self.expected(i):
                raise RuntimeError(
                    f"{student.name}: {score[0]}, not {self.expected(i)}"
                )


def hold(num_students: int, chapter_5: int) -> list[Row]:
    """Hold a class; what each stage cost."""
    with tempfile.TemporaryDirectory() as folder:
        room = Class(Path(folder), num_students)
        make_exercises.make(room.course)
        room.teacher("nbgrader", "release_assignment", ASSIGNMENT)
        with room.open():
            room.stage("idle", Student.log_in, num_students)
            room.stage("chapter 1", room.chapter_1, num_students)
            room.stage("exercise", room.exercise, num_students)
            if chapter_5:
                for student in room.students:
                    student.close()
                room.stage("chapter 5", room.chapter_5, min(chapter_5, num_students))
            room.grade()
            room.check_grades()
        return room.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("students", nargs="*", type=int, default=[12, 6])
    parser.add_argument("--chapter-5", type=int, default=2, help="how many run it")
    options = parser.parse_args()
    # where the hub finds its proxy, and nbgrader alembic
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if pwd.getpwuid(os.getuid()).pw_name != "jovyan":
        command = ["unshare", "-r", "--mount", "sh", "-ec", JOVYAN, "sh"]
        os.execvp("unshare", [*command, sys.executable, *sys.argv])
    first = []
    for num_students in options.students:
        rows = hold(num_students, options.chapter_5)
        first = first or rows
        print(f"{num_students} students at once on {os.cpu_count()} processors:\n")
        print("| stage | seconds | MiB | students in 16 GiB |")
        print("|---|---|---|---|")
        for row in rows:
            fit = int((16 * 1024 - row.shared) / row.own)
            print(f"| {row.stage} | {row.seconds:.0f} | {row.own:.0f} | {fit} |")
        worst = max(
            abs(before.memory(num_students) / row.memory(num_students) - 1)
            for before, row in zip(first, rows, strict=True)
        )
        print(f"\nThe first class foretells this memory to within {worst:.0%}.\n")
        if worst > 0.15:
            sys.exit("That is too far off.")


if __name__ == "__main__":
    main()

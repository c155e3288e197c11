"""d2lmini beside d2l 1.0.3: python benchmarks/bench.py [ROUNDS]      (make bench)

Each measurement has a process of its own. The two libraries alternate, and the table
shows medians over the rounds (at least 3): wall time of the whole call, and the largest
memory of the process with its children. It is printed and kept in results.md.
Needs the full Fashion-MNIST on this machine (python -m d2lmini data).
"""

import gzip
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import psutil

LIBRARIES = {"d2lmini": "d2lmini", "d2l": "d2l.torch"}
SIZES = 28, 96, 160, 224
BATCH = 128

# name: (unit, whether more is better). A number in a name is an argument.
SPEED, SECONDS, MS = ("images/s", True), ("s", False), ("ms", False)
TASKS = {f"loader {size}, default workers": SPEED for size in SIZES}
TASKS |= {f"loader {size}, no workers": SPEED for size in SIZES}
TASKS |= {
    "train_ch6, whole call": SECONDS,
    "train_ch6, steps alone": SPEED,
    "evaluate_accuracy_gpu": SPEED,
    "Animator.add, 10th point": MS,
    "Animator.add, 1,000th point": MS,
    "import": SECONDS,
}


# ------------------------------------------------- what a process of its own measures


def loaders(library, resize, workers=None, cut=None):
    """The library's two loaders; cut: keep so many training and test images."""
    from torch.utils.data import DataLoader, Subset

    if workers is not None and library.__name__ != "d2lmini":  # d2l has no argument
        library.get_dataloader_workers.__globals__["get_dataloader_workers"] = lambda: (
            workers
        )
    pair = library.load_data_fashion_mnist(BATCH, None if resize == 28 else resize)
    if cut is None:
        return pair
    return [
        DataLoader(
            Subset(loader.dataset, range(n)),
            BATCH,
            shuffle=loader is pair[0],
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
        )
        for loader, n in zip(pair, cut, strict=True)
    ]


def measure_loader(library, size, workers):
    """Images per second over 60 batches, start of the workers included."""
    train_iter, _ = loaders(library, size, workers)
    began = time.perf_counter()
    batches = enumerate(train_iter, 1)
    while next(batches)[0] < 60:
        pass
    return 60 * BATCH / (time.perf_counter() - began)


def network(library):
    """VGG-11 with a quarter of the channels, for 160x160, and for d2l the book's."""
    from torch import nn

    if library.__name__ == "d2lmini":
        return library.vgg(library.shrink(library.VGG11, 4))
    layers, channels = [], 1
    for num_convs, out_channels in (1, 16), (1, 32), (2, 64), (2, 128), (2, 128):
        for _ in range(num_convs):
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU()]
            channels = out_channels
        layers += [nn.MaxPool2d(2, 2)]
    layers += [nn.Flatten(), nn.Linear(3200, 1024), nn.ReLU(), nn.Dropout(0.5)]
    layers += [nn.Linear(1024, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    return nn.Sequential(*layers)


def measure_training(library):
    """Seconds of train_ch6, its own examples per second, and a yardstick for them."""
    import contextlib
    import io

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from d2lmini.engine.machine import matrix_rate

    torch.manual_seed(0)
    net, pair = network(library), loaders(library, 160, cut=(2560, 512))
    printed, device = io.StringIO(), library.try_gpu()
    with contextlib.redirect_stdout(printed):
        began = time.perf_counter()
        library.train_ch6(net, *pair, 1, 0.05, device)
        seconds = time.perf_counter() - began
    lines = printed.getvalue().splitlines()
    speed = float(next(line for line in lines if "examples/sec" in line).split()[0])

    with FlopCounterMode(display=False) as counter:
        net(torch.rand(8, 1, 160, 160, device=device)).sum().backward()
    return {
        "train_ch6, whole call": seconds,
        "train_ch6, steps alone": speed,
        "result": next(line for line in lines if line.startswith("loss")),
        "operations": speed * counter.get_total_flops() / 8,
        "matrix_rate": matrix_rate(device),
    }


def measure_evaluation(library):
    net, (_, test_iter) = network(library), loaders(library, 160, cut=(BATCH, 2560))
    net.to(library.try_gpu())
    began = time.perf_counter()
    library.evaluate_accuracy_gpu(net, test_iter)
    return 2560 / (time.perf_counter() - began)


def measure_animator(library, n):
    """Milliseconds of the n-th add, in a notebook's kernel."""
    from jupyter_client.manager import start_new_kernel

    code = f"""
import time, warnings
warnings.simplefilter("ignore")
import {library.__name__} as d2l
animator = d2l.Animator("epoch", xlim=[0, 1000], legend=["loss", "train", "test"])
animator.add(0, (0, 0, 0))
for curve in range(3):  # what {n - 2} further adds would leave
    animator.X[curve].extend(range(1, {n - 1}))
    animator.Y[curve].extend([0.5] * {n - 2})
began = time.perf_counter()
animator.add({n}, (1, 1, 1))
seconds = time.perf_counter() - began
"""
    manager, client = start_new_kernel()
    try:
        client.execute_interactive(code, output_hook=lambda message: None, timeout=120)
        reply = client.execute_interactive(
            "", user_expressions={"seconds": "seconds"}, timeout=120
        )
        value = reply["content"]["user_expressions"]["seconds"]
        return 1000 * float(value["data"]["text/plain"])
    finally:
        manager.shutdown_kernel()


def measure(task, name):
    """One measurement, in this process: a number, or several by their tasks."""
    if task == "import":
        began = time.perf_counter()
        importlib.import_module(LIBRARIES.get(name, "torchvision"))
        return time.perf_counter() - began
    library = importlib.import_module(LIBRARIES[name])
    if task.startswith("loader"):
        workers = 0 if task.endswith("no workers") else None
        return measure_loader(library, int(task.split()[1].strip(",")), workers)
    if task.startswith("train_ch6"):
        return measure_training(library)
    if task.startswith("Animator"):
        return measure_animator(library, 10 if "10th" in task else 1000)
    return measure_evaluation(library)


# ------------------------------------------------------------ rounds, and the table


def memory(process):
    """MiB of a process and its children; what they share is counted once."""
    total = 0
    for p in [process, *process.children(recursive=True)]:
        try:
            info = p.memory_full_info()
            total += getattr(info, "pss", info.uss)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            pass
    return total / 2**20


def run(task, name, folder):
    """(result of `measure`, MiB at most) in a process of its own."""
    command = [sys.executable, __file__, "--one", task, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as p:
        peak, process, output = 0.0, psutil.Process(p.pid), []
        reader = threading.Thread(target=lambda: output.append(p.stdout.read()))
        reader.start()
        while p.poll() is None:
            peak = max(peak, memory(process) if process.is_running() else 0)
            time.sleep(0.1)
        reader.join()
    if p.returncode:
        raise RuntimeError(f"{task} with {name} failed")
    return json.loads(output[0].splitlines()[-1]), peak


def copy_data(folder):
    """Let d2l find the full set in ../data; returns the folder to run it in."""
    from d2lmini.engine.fashion_mnist import FILES, find_fashion_mnist

    source = find_fashion_mnist()
    if source is None:
        raise SystemExit("the full set is needed: python -m d2lmini data")
    raw = folder / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        packed = source / f"{name}.gz"
        if packed.exists():
            (raw / name).write_bytes(gzip.decompress(packed.read_bytes()))
        else:
            (raw / name).write_bytes((source / name).read_bytes())
    start = folder / "start"
    start.mkdir()
    return start


def all_rounds(rounds):
    """{(task, name): values}, {(task, name): MiB}, all results of train_ch6."""
    values, peaks, trainings = {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        start = copy_data(Path(folder))
        for i in range(rounds):
            for task in TASKS:
                if task == "train_ch6, steps alone":  # measured by the task before it
                    continue
                names = list(LIBRARIES) + ["torch"] * (task == "import")
                for name in names if i % 2 == 0 else reversed(names):
                    result, peak = run(task, name, start)
                    peaks.setdefault((task, name), []).append(peak)
                    if not isinstance(result, dict):
                        result = {task: result}
                    else:
                        trainings.append((name, result))
                    for key in result.keys() & TASKS.keys():
                        values.setdefault((key, name), []).append(result[key])
                    print(f"round {i + 1}", task, name, result, f"{peak:.0f} MiB")
    return values, peaks, trainings


def table(values, peaks, trainings):
    """The lines of results.md."""
    yield "| | d2lmini | d2l 1.0.3 | ratio | memory: d2lmini | d2l | share |"
    yield "|---|---|---|---|---|---|---|"
    for task, (unit, more_is_better) in TASKS.items():
        ours, theirs = (statistics.median(values[task, name]) for name in LIBRARIES)
        ratio = ours / theirs if more_is_better else theirs / ours
        digits = 0 if ours > 1000 else 1
        row = f"| {task} | {ours:,.{digits}f} {unit} | {theirs:,.{digits}f} {unit} "
        row += f"| {ratio:.2f} "
        if (task, "d2l") in peaks:
            mine, his = (max(peaks[task, name]) for name in LIBRARIES)
            row += f"| {mine:,.0f} MiB | {his:,.0f} MiB | {mine / his:.2f} |"
        else:
            row += "| | | |"
        yield row
    ours, bare = (statistics.median(values["import", n]) for n in ("d2lmini", "torch"))
    yield f"\n`import d2lmini` takes {ours / bare:.2f} times `import torchvision`."
    for library in LIBRARIES:
        shares = [
            r["operations"] / r["matrix_rate"] for n, r in trainings if n == library
        ]
        rates = [r["matrix_rate"] / 1e9 for n, r in trainings if n == library]
        yield (
            f"\nTraining steps of {library} do {statistics.median(shares):.0%} of the "
            f"operations per second of a large matrix product "
            f"({statistics.median(rates):.0f} GFLOP/s)."
        )
    results = {name: result["result"] for name, result in trainings}
    yield f"\nResults: d2lmini {results['d2lmini']}; d2l {results['d2l']}."


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    from d2lmini import try_gpu
    from d2lmini.engine.files import write_whole
    from d2lmini.engine.machine import facts

    here = facts(try_gpu())
    lines = [
        f"# d2lmini beside d2l 1.0.3, {here['date']}\n",
        f"{here['machine']} ({here['instructions']}); "
        f"Python {here['python']}, torch {here['torch']}, "
        f"torchvision {here['torchvision']}. Medians over {rounds} rounds, made by "
        f"`make bench`. A ratio above 1 means that d2lmini is faster.\n",
        *table(*all_rounds(rounds)),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    write_whole(Path(__file__).with_name("results.md"), text.encode())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        warnings.simplefilter("ignore")  # importing d2l warns
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main()

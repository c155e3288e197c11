"""The book's full run, recorded: python notebooks/records/full_run.py [CHECKPOINT]

VGG-11 with a quarter of the channels on all 60,000 images at 160x160, batch 128,
lr 0.05, 10 epochs: hours on 2 cores. With a checkpoint file, it can be interrupted and
started again. Writes the epochs done so far to full_run.json beside this script.
"""

import os
import platform
import sys
from datetime import date
from pathlib import Path

import torch
import torchvision

import d2lmini as d2l

if __name__ == "__main__":
    checkpoint = sys.argv[1] if len(sys.argv) > 1 else None
    settings = {"seed": 0, "images": 160, "batch_size": 128, "lr": 0.05, "epochs": 10}
    torch.manual_seed(settings["seed"])
    net = d2l.vgg(d2l.shrink(d2l.VGG11, 4), image_size=settings["images"])
    loaders = d2l.load_data_fashion_mnist(settings["batch_size"], settings["images"])
    history = d2l.train_ch6(
        net,
        *loaders,
        num_epochs=settings["epochs"],
        lr=settings["lr"],
        device=d2l.try_gpu(),
        checkpoint=checkpoint,
    )
    history.about = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {d2l.try_gpu()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "settings": settings,
    }
    history.save(Path(__file__).with_name("full_run.json"))

"""d2lmini: the helpers of Dive into Deep Learning, small enough to read."""

from d2lmini.data import (
    get_dataloader_workers,
    get_fashion_mnist_labels,
    load_data_fashion_mnist,
)
from d2lmini.history import History
from d2lmini.metrics import Accumulator, Timer, accuracy
from d2lmini.models import VGG11, VGG13, VGG16, VGG19, shrink, vgg, vgg_block
from d2lmini.plotting import Animator, set_axes, show_images, use_svg_display
from d2lmini.training import evaluate_accuracy_gpu, train_ch6, try_gpu

__all__ = [
    "VGG11",
    "VGG13",
    "VGG16",
    "VGG19",
    "Accumulator",
    "Animator",
    "History",
    "Timer",
    "accuracy",
    "evaluate_accuracy_gpu",
    "get_dataloader_workers",
    "get_fashion_mnist_labels",
    "load_data_fashion_mnist",
    "set_axes",
    "show_images",
    "shrink",
    "train_ch6",
    "try_gpu",
    "use_svg_display",
    "vgg",
    "vgg_block",
]

"""When a scheduler of the learning rate makes its step."""

from typing import Any

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


class Schedule:
    """A scheduler or None: a step after each batch, or, where it looks at the loss,
    after each epoch."""

    def __init__(self, scheduler: LRScheduler | None):
        looks_at_loss = isinstance(scheduler, ReduceLROnPlateau)
        self.per_batch = None if looks_at_loss else scheduler
        self.per_epoch = scheduler if looks_at_loss else None

    def after_batch(self) -> None:
        if self.per_batch is not None:
            self.per_batch.step()

    def after_epoch(self, history: Any) -> None:
        if self.per_epoch is not None:
            self.per_epoch.step(history.train_loss[-1])

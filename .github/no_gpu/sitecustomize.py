"""Python reads this at its start: PyTorch shall find no GPU.

Hosted Macs show one to PyTorch that fails in use.
"""

import torch

torch.accelerator.is_available = lambda: False

"""VGG as blocks: vgg_block, vgg, the paper's architectures, and shrink.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
Image Recognition" (2014), table 1; d2l 1.0.3, section 8.2.
"""

from collections.abc import Sequence

from torch import nn

from d2lmini.engine.checks import check_image_size, check_ratio

# An architecture is a pair (num_convs, out_channels) for each block.
ConvArch = Sequence[tuple[int, int]]

VGG11: ConvArch = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))
VGG13: ConvArch = ((2, 64), (2, 128), (2, 256), (2, 512), (2, 512))
VGG16: ConvArch = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
VGG19: ConvArch = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))


def vgg_block(num_convs: int, in_channels: int, out_channels: int) -> nn.Sequential:
    """num_convs times (3x3 convolution with padding 1, ReLU), then 2x2 max pooling.

    Turns (batch, in_channels, h, w) into (batch, out_channels, h // 2, w // 2).
    """
    layers = []
    for _ in range(num_convs):
        layers.append(nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))
        layers.append(nn.ReLU())
        in_channels = out_channels
    layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)


def vgg(
    conv_arch: ConvArch,
    in_channels: int = 1,
    num_classes: int = 10,
    image_size: int = 160,
    hidden: Sequence[int] = (1024, 128),
) -> nn.Sequential:
    """VGG for square images: a child per block, Flatten, then the fully connected head.

    Turns (batch, in_channels, image_size, image_size) into scores of shape
    (batch, num_classes). hidden: widths of the head's hidden layers; the paper has
    (4096, 4096). Raises ValueError when the images are too small for the poolings.
    """
    blocks, channels = [], in_channels
    for num_convs, out_channels in conv_arch:
        blocks.append(vgg_block(num_convs, channels, out_channels))
        channels = out_channels

    check_image_size(image_size, len(blocks))
    side = image_size // 2 ** len(blocks)  # every block halves height and width
    head, features = [], channels * side * side
    for units in hidden:
        head += [nn.Linear(features, units), nn.ReLU(), nn.Dropout(0.5)]
        features = units
    return nn.Sequential(*blocks, nn.Flatten(), *head, nn.Linear(features, num_classes))


def shrink(conv_arch: ConvArch, ratio: int) -> ConvArch:
    """The same architecture with every channel number divided by ratio (rounded down).

    Raises ValueError for a ratio below 1 and for one that leaves a layer no channel.
    """
    check_ratio(ratio, [channels for _, channels in conv_arch])
    return tuple((num_convs, channels // ratio) for num_convs, channels in conv_arch)

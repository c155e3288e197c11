"""The explorer's page in Chromium: from a disk, without a network (make browser-test).

The yardstick is torch: scores, what each unit sees, what pushes a score.
"""

import base64
import json
import re
import shutil
from itertools import islice

import numpy as np
import pytest
import torch
from helpers import NOTEBOOKS
from PIL import Image
from torch import nn

import d2lmini
from d2lmini.data import ImagesInMemory
from d2lmini.explorer import read_net, write_page

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium"),
    pytest.mark.usefixtures("one_thread"),
]

TEST = d2lmini.load_data_fashion_mnist(1, sample=True)[1].dataset
# what the page offers: the first three of each class
OFFERED = [i for c in range(10) for i in (TEST.labels == c).nonzero()[:3, 0].tolist()]


# ---------------------------------------------------------------- the nets


def chapter_6():
    """The recipe's net, as it was recorded."""
    return read_net(NOTEBOOKS / "records/recipe_0.93.pt"), None


def chapter_5():
    """The chapter's VGG-11 with a quarter of the channels, fresh: after 30 batches."""
    torch.manual_seed(1)
    net = d2lmini.vgg(d2lmini.shrink(d2lmini.VGG11, 4), image_size=48)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    train_iter, _ = d2lmini.load_data_fashion_mnist(32, 48, sample=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for X, y in islice(train_iter, 30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X), y).backward()
        optimizer.step()
    return net, 48


def every_layer():
    """Untrained: all that the page computes, windows and sizes of many kinds."""
    torch.manual_seed(2)
    relu = nn.ReLU(inplace=True)  # one layer may stand in several places
    net = nn.Sequential(
        nn.Sequential(
            nn.Conv2d(1, 6, (5, 3), stride=(2, 1), padding=(2, 0)),
            nn.BatchNorm2d(6, affine=False),
            relu,
            nn.MaxPool2d(3, stride=2, padding=1),
        ),
        nn.Sequential(
            nn.Sequential(nn.Conv2d(6, 8, 3, padding="valid", bias=False), nn.ReLU()),
            nn.AvgPool2d(3, stride=2, padding=1),
        ),
        nn.Conv2d(8, 4, 1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(4 * 4 * 10, 12, bias=False),
        relu,
        nn.Linear(12, 10),
    )
    net(torch.rand(8, 1, 40, 44))  # a running mean and variance
    net[-1].weight.data *= 30  # scores of several units
    return net, (40, 44)


NETS = {make.__name__: make for make in (chapter_6, chapter_5, every_layer)}


@pytest.fixture(scope="module")
def nets():
    return {name: make() for name, make in NETS.items()}


@pytest.fixture(scope="module")
def files(nets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {
        name: write_page(net, folder / f"{name}.html", resize=resize)
        for name, (net, resize) in nets.items()
    }


def scores(net, images, resize):
    """torch's, of uint8 images (n, 28, 28)."""
    size = list(resize) if isinstance(resize, tuple) else resize and [resize, resize]
    dataset = ImagesInMemory(images, torch.zeros(len(images)), size)
    with torch.no_grad():
        return net.eval()(dataset.__getitems__(range(len(images))).X)


# ---------------------------------------------------------------- the browser


@pytest.fixture(scope="module")
def browser():
    # root, as in a container, may start Chromium only without its sandbox
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=options)


@pytest.fixture
def open_page(browser):
    """A function that opens a file; at the end, nothing went wrong and nothing was
    asked for but the file."""
    errors, requests, contexts = [], [], []

    def open_page(path, width=1280, theme="light"):
        options = {"width": width, "height": 900}
        context = browser.new_context(
            offline=True, viewport=options, color_scheme=theme
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(error))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors
    assert all(url.startswith("file:") for url in requests)


def pixels(page):
    return np.array(page.evaluate("[...state.pixels]"), np.uint8).reshape(28, 28)


def settle(page):
    """Wait until what was changed is shown."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def prediction(page):
    return page.inner_text("#says"), page.locator("#scores .best .name").inner_text()


# ---------------------------------------------------------------- the numbers


@pytest.mark.parametrize("name", NETS)
def test_scores_are_torchs(name, nets, files, open_page):
    """Of all test images of the sample, and the same class, but where two are as good
    as equal."""
    net, resize = nets[name]
    page = open_page(files[name])
    images = TEST.images if name.startswith("chapter") else TEST.images[:50]
    expected = scores(net, images, resize)
    computed = page.evaluate(
        """([text, number]) => {
            const all = decode(text, Uint8Array), scores = [];
            for (let i = 0; i < number; i++)
                scores.push([...scoresOf(all.subarray(784 * i, 784 * (i + 1)))]);
            return JSON.stringify(scores);
        }""",
        [base64.b64encode(images.numpy().tobytes()).decode(), len(images)],
    )
    computed = torch.tensor(json.loads(computed))
    assert (computed - expected).abs().max() < 1e-3
    first, second = expected.topk(2).values.T
    clear = first - second > 2e-4
    assert clear.sum() >= len(images) - 2
    assert torch.equal(computed.argmax(dim=1)[clear], expected.argmax(dim=1)[clear])


def test_images_are_resized_as_by_the_loader(files, open_page):
    page = open_page(files["every_layer"])
    for size in ([32, 32], [45, 160], [48, 48], [20, 13]):
        _, test_iter = d2lmini.load_data_fashion_mnist(5, size, sample=True)
        expected = next(iter(test_iter))[0].flatten(1) * 255
        computed = page.evaluate(
            "([size, images]) => { DATA.size = size; return images.map(i => "
            "[...resize(i)].map(grey => Math.round(255 * grey))); }",
            [size, TEST.images[:5].flatten(1).tolist()],
        )
        assert torch.equal(torch.tensor(computed).float(), expected.round()), size


def test_the_page_of_chapter_6_is_small(files):
    assert files["chapter_6"].stat().st_size < 1.5e6


def test_the_way_shows_the_shapes_of_chapter_2(files, open_page):
    """At 48x48: a side is halved five times, rounding down."""
    page = open_page(files["chapter_5"])
    shapes = ["16 × 24 × 24", "32 × 12 × 12", "64 × 6 × 6", "128 × 3 × 3"]
    shapes += ["128 × 1 × 1", "128", *["1024"] * 3, *["128"] * 3, "10"]
    assert page.locator("#way .shape").all_inner_texts() == shapes


def test_all_maps_of_a_layer_are_there_the_strongest_first(nets, files, open_page):
    page = open_page(files["chapter_5"])
    page.locator("#way button").nth(2).click()
    X = ImagesInMemory(TEST.images, TEST.labels, [48, 48])[OFFERED[0]][0]
    with torch.no_grad():
        maps = nets["chapter_5"][0][:3](X.unsqueeze(0))[0]
    expected = [f"channel {c}," for c in maps.mean(dim=(1, 2)).argsort(descending=True)]
    labels = [
        map.get_attribute("aria-label") for map in page.locator("#maps button").all()
    ]
    assert len(labels) == 64
    positive = (maps.amax(dim=(1, 2)) > 0).sum()
    assert [label[: label.index(",") + 1] for label in labels][:positive] == expected[
        :positive
    ]


def test_what_a_unit_sees_is_chapter_2s(files, open_page):
    page = open_page(files["chapter_5"])
    fields = page.evaluate(
        "places.slice(0, 5).map(p => DATA.layers[p.layers.at(-1)].field.size)"
    )
    assert fields == [[r, r] for r in (4, 10, 30, 70, 150)]
    page.locator("#way button").nth(1).click()
    assert "10 × 10 pixels" in page.inner_text("#input-caption")


def test_the_frame_is_where_torchs_gradient_is(tmp_path, open_page):
    """With positive weights and average pooling each seen pixel has one (chapter 2)."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, (5, 3), stride=(2, 1), padding=(2, 0)),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 2, 3, padding=1),
        *(nn.Flatten(), nn.Linear(2 * 7 * 13, 10)),
    )
    for p in net.parameters():
        nn.init.constant_(p, 0.1)
    page = open_page(write_page(net, tmp_path / "page.html"))
    for row, column in ((3, 6), (0, 12)):
        X = torch.rand(1, 1, 28, 28, requires_grad=True)
        net[:4](X)[0, 1, row, column].backward()
        rows, columns = (X.grad[0, 0].sum(dim=d).nonzero() for d in (1, 0))
        expected = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        size, first = page.evaluate(f"seenBy(3, [1, {row}, {column}])")
        seen = [*first, *(f + s for f, s in zip(first, size, strict=True))]
        assert [min(max(edge, 0), 28) for edge in seen] == [int(e) for e in expected]


def cells(table):
    texts = table.locator("td").all_inner_texts()
    return np.array([float(text.replace("−", "-")) for text in texts])


def test_a_number_is_explained_from_the_window_on(nets, files, open_page):
    """Chapter 6, block 1: convolution, pooling, normalisation and ReLU of one unit."""
    net, _ = nets["chapter_6"]
    page = open_page(files["chapter_6"])
    X = (TEST.images[OFFERED[0]] / 255).reshape(1, 1, 28, 28)
    with torch.no_grad():
        conv, pool, norm, relu = (net.eval()[0][:n](X.clone())[0] for n in (1, 2, 3, 4))
    channel, row, column = unit = np.unravel_index(int(relu.argmax()), relu.shape)
    page.evaluate(f"chooseMap(3, {channel})")
    assert f"Channel {channel}, row {row}, column {column}:" in page.inner_text("#unit")

    inside = conv[channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
    down, right = divmod(int(inside.argmax()), 2)
    at = (channel, 2 * row + down, 2 * column + right)
    results = page.locator("#steps strong").all_inner_texts()
    expected = [conv[at], pool[unit], norm[unit], relu[unit]]
    assert results == [f"{float(y):.2f}".replace("-", "−") for y in expected]

    window, kernel, products, pooled = map(cells, page.locator("#steps table").all())
    padded = nn.functional.pad(X, (1, 1, 1, 1))[0, 0]
    seen = padded[at[1] : at[1] + 3, at[2] : at[2] + 3].flatten()
    weights = net[0][0].weight[channel].detach().flatten()
    np.testing.assert_allclose(window, seen, atol=0.0051)
    np.testing.assert_allclose(kernel, weights, atol=0.0051)
    np.testing.assert_allclose(products, seen * weights, atol=0.0051)
    np.testing.assert_allclose(pooled, inside.flatten(), atol=0.0051)
    assert page.locator("#steps .marked").inner_text() == results[1]


def test_the_pointer_and_the_arrows_choose_the_number(files, open_page):
    page = open_page(files["chapter_6"])
    large = page.locator("#large")
    side = large.bounding_box()["width"] / 14  # block 1 gives out 14x14
    large.hover(position={"x": 3.5 * side, "y": 9.5 * side})
    assert "row 9, column 3:" in page.inner_text("#unit")
    page.focus("#large")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert "row 8, column 4:" in page.inner_text("#unit")


def test_other_input_channels_are_shown(nets, files, open_page):
    """Their sums, and the bias, make the number: chapter 5, block 2, before ReLU."""
    page = open_page(files["chapter_5"])
    page.locator("#way button").nth(1).click()
    page.locator("#layers button").first.click()
    options = page.locator("#input-channel option").all_inner_texts()
    assert len(options) == 16
    sums = [float(option.split(": ")[1].replace("−", "-")) for option in options]
    assert sums == sorted(sums, key=abs, reverse=True)
    channel = page.evaluate("state.unit[0]")
    bias = nets["chapter_5"][0][1][0].bias[channel].item()
    result = page.inner_text("#steps strong").replace("−", "-")
    assert abs(sum(sums) + bias - float(result)) < 0.1  # 17 rounded numbers
    before = page.locator("#steps table").first.inner_text()
    page.select_option("#input-channel", label=options[-1])
    assert page.locator("#steps table").first.inner_text() != before


@pytest.mark.parametrize("name, last", [("chapter_6", 4), ("chapter_5", 5)])
def test_what_pushed_a_score_is_torchs_gradient(name, last, nets, files, open_page):
    """Of the head, which is linear where it stands: slope times number."""
    net, resize = nets[name]
    page = open_page(files[name])
    page.locator("#gallery button").nth(20).click()
    page.locator("#scores button").nth(7).click()
    size = [resize, resize] if resize else None
    X = ImagesInMemory(TEST.images, TEST.labels, size)[OFFERED[20]][0]
    maps = net.eval()[:last](X.unsqueeze(0)).detach().requires_grad_()
    score = net[last:](maps)[0, 7]
    score.backward()
    pushes = (maps.grad * maps).sum(dim=(0, 2, 3)).detach()
    assert page.inner_text("#pushes-heading") == "What pushed “sneaker”?"
    strongest = pushes.abs().argsort(descending=True)[:6].tolist()
    names = page.locator("#pushes .name").all_inner_texts()
    assert names == [f"channel {channel}" for channel in strongest]
    values = page.locator("#pushes .value").all_inner_texts()
    for text, channel in zip(values, strongest, strict=True):
        way, size = text.split()
        assert way == ("up" if pushes[channel] > 0 else "down")
        assert abs(float(size) - abs(pushes[channel])) < 0.006
    page.locator("#pushes button").first.click()
    assert f"Channel {strongest[0]}, row" in page.inner_text("#unit")


# ---------------------------------------------------------------- what a reader does


def assert_alive(page, net, resize=None):
    """What is shown is what torch says of the pixels that are drawn."""
    settle(page)
    image = torch.from_numpy(pixels(page)).unsqueeze(0)
    chances = scores(net, image, resize).softmax(dim=1)[0]
    says, best = prediction(page)
    name = d2lmini.get_fashion_mnist_labels([chances.argmax()])[0]
    assert best == name and says.startswith(f"{name}, ")
    assert abs(float(re.search(r"([\d.]+)%", says)[1]) - 100 * chances.max()) < 0.6
    shown = page.evaluate(
        "[...$('drawing').getContext('2d').getImageData(0, 0, 28, 28).data]"
    )
    assert torch.equal(torch.tensor(shown[::4]).reshape(28, 28), image[0].int())


def test_drawing_with_the_mouse(nets, files, open_page):
    net, _ = nets["chapter_6"]
    page = open_page(files["chapter_6"])
    page.click("text=Clear")
    settle(page)
    assert not pixels(page).any()
    box = page.locator("#drawing").bounding_box()
    side = box["width"] / 28
    page.mouse.move(box["x"] + 5.5 * side, box["y"] + 20.5 * side)
    page.mouse.down()
    page.mouse.move(box["x"] + 22.5 * side, box["y"] + 20.5 * side)
    page.mouse.up()
    drawn = pixels(page)
    assert (drawn[20, 5:23] == 255).all() and not drawn[:18].any()
    assert_alive(page, net)
    assert page.inner_text("#truth") == "Nobody has told the network what it is."
    page.click("text=Eraser")
    page.mouse.click(box["x"] + 10.5 * side, box["y"] + 20.5 * side)
    assert not pixels(page)[19:22, 9:12].any() and pixels(page)[20, 5] == 255
    assert_alive(page, net)


def test_drawing_with_the_keyboard(nets, files, open_page):
    page = open_page(files["chapter_6"])
    page.click("text=Clear")
    page.focus("#drawing")
    page.keyboard.press("Space")  # in the middle
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    drawn = pixels(page)
    assert drawn[14, 14] == drawn[14, 20] == 255 and drawn[14, 17] == 0
    assert page.inner_text("#note") == "row 14, column 20: 255"
    assert_alive(page, nets["chapter_6"][0])


def test_mirror_and_shifts(nets, files, open_page):
    page = open_page(files["chapter_6"])
    image = TEST.images[OFFERED[27]].numpy()  # a boot
    page.locator("#gallery button").nth(27).click()
    settle(page)
    assert (pixels(page) == image).all()
    page.click("text=Mirror")
    assert (pixels(page) == image[:, ::-1]).all()
    assert_alive(page, nets["chapter_6"][0])
    assert page.inner_text("#truth") == "It is: ankle boot."
    page.click("text=Mirror")
    for name in ("Shift right", "Shift down"):
        page.get_by_role("button", name=name).click()
    moved = np.zeros_like(image)
    moved[1:, 1:] = image[:-1, :-1]
    assert (pixels(page) == moved).all()
    for name in ("Shift left", "Shift up"):
        page.get_by_role("button", name=name).click()
    moved = image.copy()
    moved[-1], moved[:, -1] = 0, 0
    assert (pixels(page) == moved).all()
    assert_alive(page, nets["chapter_6"][0])


@pytest.mark.parametrize("bright", [True, False])
def test_a_photo(bright, nets, files, open_page, tmp_path):
    """Twice as wide as high: its middle counts. A thing of 10x12 of the 28x28 pixels,
    on a background that is neither black nor white."""
    photo = np.full((280, 560, 3), 220 if bright else 30, np.uint8)
    photo[:, :100] = photo[:, -100:] = (255, 0, 0)  # cut off
    photo[80:180, 220:340] = 20 if bright else 240
    Image.fromarray(photo).save(tmp_path / "photo.png")
    page = open_page(files["chapter_6"])
    page.set_input_files("#file", tmp_path / "photo.png")
    page.wait_for_selector("#note:not(:empty)")
    settle(page)
    expected = np.zeros((28, 28))
    expected[8:18, 8:20] = 255
    inner = np.zeros((28, 28), bool)  # at its edges, the browser smooths
    inner[9:17, 9:19] = True
    outside = np.ones((28, 28), bool)
    outside[7:19, 7:21] = False
    drawn = pixels(page)
    assert (abs(drawn - expected)[inner | outside] < 3).all()
    assert ("was inverted" in page.inner_text("#note")) == bright
    assert_alive(page, nets["chapter_6"][0])


def test_a_file_that_is_no_photo_is_told_and_changes_nothing(
    files, open_page, tmp_path
):
    (tmp_path / "photo.png").write_bytes(b"years of work")
    page = open_page(files["chapter_6"])
    before = pixels(page)
    page.set_input_files("#file", tmp_path / "photo.png")
    page.wait_for_selector("#note:not(:empty)")
    assert page.inner_text("#note").startswith("This file is not an image")
    assert (pixels(page) == before).all()


def test_the_keyboard_reaches_everything(files, open_page):
    """A stop for each group and tool, in the order of the page; arrows choose."""
    page = open_page(files["chapter_6"])
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            "(document.activeElement.closest('[role=radiogroup]') ??"
            " document.activeElement).id"
        )
        if stop in stops:
            break
        stops.append(stop)
    expected = "languages gallery drawing brush eraser clear mirror left right up down"
    expected += " file scores pushes way layers maps large"
    assert [stop for stop in stops if stop] == expected.split()

    page.focus("#gallery [aria-checked=true]")
    page.keyboard.press("End")
    settle(page)
    assert page.inner_text("#truth") == "It is: ankle boot."
    page.keyboard.press("ArrowRight")  # from the last to the first
    settle(page)
    assert page.inner_text("#truth") == "It is: t-shirt."
    page.focus("#way [aria-checked=true]")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#inside-heading") == "Inside block 2"
    page.focus("#maps [aria-checked=true]")
    page.keyboard.press("ArrowRight")
    second = page.locator("#maps button").nth(1)
    assert second.get_attribute("aria-checked") == "true"
    channel = second.get_attribute("aria-label").split(",")[0]
    assert page.inner_text("#unit").startswith(channel.capitalize())


# ---------------------------------------------------------------- for all


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_axe_finds_no_fault(theme, width, files, open_page):
    page = open_page(files["chapter_6"], width, theme)
    for place in (1, 6):  # with a choice of input channels; with a table of products
        page.locator("#way button").nth(place).click()
        results = axe.Axe().run(page)
        assert not results.response["violations"], results.generate_report()


@pytest.mark.parametrize("name", NETS)
def test_nothing_is_wider_than_a_phone(name, files, open_page):
    page = open_page(files[name], 375)
    widths = page.evaluate(
        "DATA.layers.map((_, i) => (chooseLayer(i), document.body.scrollWidth))"
    )
    assert max(widths) <= 375


def test_chinese(files, open_page):
    page = open_page(files["chapter_5"])
    english = page.inner_text("body")
    page.click("text=中文")
    assert page.evaluate("document.documentElement.lang") == "zh"
    assert page.inner_text("#truth") == "实际是：T恤。"
    assert page.locator("#way .name").first.inner_text() == "块1"
    chinese = page.inner_text("body")
    assert "undefined" not in english + chinese and "{" not in english + chinese
    words = set(re.findall("[A-Za-z]{2,}", chinese))
    assert words <= {"English", "ReLU", "PyTorch", "Python", "max", "softmax"}


# ---------------------------------------------------------------- broken pages


def broken(html):
    """Pages with one fault each: name, html."""
    begin = html.index('"weight":"') + len('"weight":"')
    end = html.index('"', begin)
    middle = (begin + end) // 2
    factor = html.index('"factor":"') + len('"factor":"')
    return {
        # the first 16 weights are given other values
        "weights": html[:begin] + "fw" * 20 + html[begin + 40 :],
        # NaN, in four bytes: 0x7fc00000
        "nan": html[:factor] + "AADAfwAAwH8" + html[factor + 11 :],
        "cut": html[:begin] + html[begin + 8 :],
        "letters": html[:middle] + "*" + html[middle + 1 :],
    }


@pytest.mark.parametrize(
    "fault, message",
    [
        ("weights", "not those that PyTorch computed"),
        ("nan", "not those that PyTorch computed"),
        ("cut", "This page is damaged (141 ≠ 144)"),
        ("letters", "This page is damaged ("),
    ],
)
def test_a_broken_page_says_so(fault, message, files, open_page, tmp_path):
    html = broken(files["chapter_6"].read_text("utf-8"))[fault]
    (tmp_path / "page.html").write_text(html, "utf-8")
    page = open_page(tmp_path / "page.html")
    assert message in page.inner_text("#trouble")


def test_a_whole_page_is_not_called_broken(files, open_page):
    page = open_page(files["chapter_6"])
    assert page.locator("#trouble").is_hidden()
    difference = re.search(r"differ by ([\d.]+) at most", page.inner_text("#measured"))
    assert float(difference[1]) < 1e-3

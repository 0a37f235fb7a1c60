"""A page with every kind of part, and with names that try to break it."""

from __future__ import annotations

import io

from PIL import Image

from groundwork.pages import (
    Bar,
    Bars,
    Card,
    Cards,
    Code,
    Column,
    Figure,
    Fold,
    Gallery,
    Number,
    Page,
    Picture,
    Row,
    Score,
    Section,
    Table,
    Text,
    Tile,
)

HOSTILE = [
    "<script>window.broken = 1</script>",
    "\"><img src=x onerror='window.broken = 1'>",
    "</style></script><h1>",
    "{{ 7 * 7 }} {% raw %}",
    "$\\frac{1$",
    "猫と犬",
    "قطة \u202e",
    "javascript:window.broken=1",
    "a_name_without_any_space_" * 8,
    "\udcff not UTF-8",
]
NAMES = [*HOSTILE, "cat", "dog", "10", "9"]
ACCURACIES = [0.5 + 0.01 * (7 * number % 13) for number in range(len(NAMES))]


def image(shade: int = 0, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """A file of one color."""
    file = io.BytesIO()
    Image.new("RGB", size, (shade % 256, 90, 160)).save(file, kind)
    return file.getvalue()


def _mistake(number: int) -> Tile:
    label, other = NAMES[number % len(NAMES)], NAMES[(number + 3) % len(NAMES)]
    return Tile(
        [Picture(image(number), f"test image {number}")],
        caption=label,
        note=f"taken for {other}",
        facets={"Label": [label], "Taken for": [other]},
        answers=[
            Score(other, 0.6),
            Score(label, 0.25, right=True),
            *(Score(f"class {rank}", 0.05) for rank in range(3)),
        ],
    )


def example_page() -> Page:
    """The page."""
    classes = [
        [name, 100 + number, accuracy, None if number % 3 else "cat"]
        for number, (name, accuracy) in enumerate(zip(NAMES, ACCURACIES, strict=True))
    ]
    return Page(
        kind="Example",
        subject=HOSTILE[0],
        headline=f"93.8 % of {HOSTILE[1]} are right",
        lead=HOSTILE[8],
        summary=[Cards([Card(name, name, name, "bad") for name in HOSTILE])],
        sections=[
            Section(
                HOSTILE[2],
                [
                    Row(
                        [
                            Bars(
                                [Bar(name, [1, 2], name) for name in NAMES],
                                title=HOSTILE[0],
                                legend=["train", HOSTILE[0]],
                            ),
                            Bars([Bar("one", [0.9], "90 %", (0.8, 1.2), muted=True)], full=1),
                            Figure(image(size=(3000, 500)), HOSTILE[1], HOSTILE[8]),
                        ]
                    ),
                    Text(HOSTILE[0], "bad"),
                ],
                lead=HOSTILE[8],
            ),
            Section(
                "Classes",
                [
                    Table(
                        ["class", "images", Column("recall", ".1%", bar=True, full=1), "taken for"],
                        classes,
                        caption=HOSTILE[0],
                        shown=10,
                    ),
                    Table(
                        [HOSTILE[8], "score"],
                        [
                            ["a", Number(0.5, "50 ± 9", "good")],
                            ["b", Number(0.7, "70 ± 1")],
                            ["c", None],
                        ],
                    ),
                ],
            ),
            Section("Mistakes", [Gallery([_mistake(n) for n in range(40)], shown=12)]),
            Section(
                "Raw values",
                [Fold(HOSTILE[0], [Code.of_json({"names": HOSTILE, "long": "x" * 500})])],
            ),
        ],
    )

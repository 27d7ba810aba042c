"""Makes the README's picture of a report: the top of the report of a synthetic catalog of household items.

python benchmarks/report_picture.py --out=docs/images/report.webp

This script needs Chromium with its driver, and the packages selenium and pillow.
"""

from __future__ import annotations

import argparse
import io
import itertools
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from selenium import webdriver

import sid_jax
from sid_jax.data.text.encode import encode_texts

_WIDTH, _HEIGHT = 1112, 1480
_KINDS = {
    "lighting": ["floor lamp", "desk lamp", "lantern", "string lights", "ceiling light", "candle holder"],
    "seating": ["armchair", "sofa", "bar stool", "rocking chair", "bench", "office chair"],
    "textiles": ["cushion", "curtain", "blanket", "rug", "towel", "tablecloth"],
    "kitchen": ["frying pan", "kettle", "bread knife", "mixing bowl", "baking tray", "coffee grinder"],
    "garden": ["watering can", "plant pot", "hedge shears", "bird house", "garden hose", "seed tray"],
    "toys": ["wooden puzzle", "doll", "building blocks", "board game", "toy train", "plush bear"],
    "music": ["ukulele", "drum", "piano keyboard", "violin", "microphone", "metronome"],
    "stationery": ["notebook", "fountain pen", "pencil case", "stapler", "calendar", "envelope"],
    "outdoors": ["tent", "hiking boots", "sleeping bag", "backpack", "camping stove", "waterproof jacket"],
    "clocks": ["wall clock", "alarm clock", "cuckoo clock", "kitchen timer", "wrist watch", "hourglass"],
}
_ADJECTIVES = ["small", "large", "modern", "vintage", "foldable", "handmade", "waterproof", "colorful", "plain", "soft"]
_MATERIALS = ["oak", "steel", "cotton", "wool", "glass", "bamboo", "ceramic"]


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a .webp file")
    out = parser.parse_args().out
    things = [(kind, thing) for kind, names in _KINDS.items() for thing in names]
    rows = list(itertools.product(things, _ADJECTIVES, _MATERIALS))
    titles = [f"{adjective} {material} {thing}" for (_, thing), adjective, material in rows]
    kinds = [kind for (kind, _), _, _ in rows]
    vectors = encode_texts([f"{title}, {kind}" for title, kind in zip(titles, kinds, strict=True)], "wordllama")
    tokenizer = sid_jax.SemanticIdTokenizer(num_levels=3, codebook_size=64)
    tokenizer.fit(vectors, np.arange(len(titles)), columns={"title": titles, "kind": kinds})
    with tempfile.TemporaryDirectory() as folder:
        page = tokenizer.save(Path(folder) / "homeware", report=True) / "report.html"
        picture = Image.open(io.BytesIO(photograph(page)))
        picture.convert("RGB").crop((0, 0, _WIDTH, _HEIGHT)).save(out, quality=80, method=6)


def photograph(page: Path) -> bytes:
    """Returns a PNG of the top of a report in light mode, taken after the page's performance mark `ready`."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={_WIDTH},{_HEIGHT + 200}"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options)
    try:
        browser.get(page.as_uri())
        browser.set_script_timeout(60)
        browser.execute_async_script(
            "const done = arguments[0], ready = () => performance.getEntriesByName('ready').length;"
            "(function wait() { ready() ? setTimeout(done, 1000) : setTimeout(wait, 50) })()"
        )
        # The search section is empty without a query. Its removal brings the map into the picture.
        browser.execute_script("document.getElementById('find').remove()")
        return browser.get_screenshot_as_png()
    finally:
        browser.quit()


if __name__ == "__main__":
    main()

"""The JPEG files that are decoded while a backbone is timed."""

from importlib.resources import as_file, files
from pathlib import Path

from bench import images

#: Pixels of every file, as in many photo collections.
WIDTH, HEIGHT, QUALITY = 500, 375, 90
#: Photographs that scikit-image ships; so many crops of each, moved by STEP pixels.
FILES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
CROPS, STEP = 8, 8


def write(folder: Path) -> list[Path]:
    """Write crops of the photographs, scaled so that these just fit, into an existing folder; the files' paths."""
    room = STEP * (CROPS - 1)
    scaled = {}
    for name in FILES:
        with as_file(files("skimage") / "data" / name) as path:
            whole = images.decode(path)
        scale = max((WIDTH + room) / whole.width, (HEIGHT + room) / whole.height)
        scaled[name] = whole.resize((round(whole.width * scale), round(whole.height * scale)))
    written = []
    for number in range(CROPS):
        for name, whole in scaled.items():
            left = top = STEP * number
            place = folder / f"{Path(name).stem}-{number}.jpg"
            whole.crop((left, top, left + WIDTH, top + HEIGHT)).save(place, quality=QUALITY)
            written.append(place)
    return written

"""Oxford, Paris, INSTRE, GPR1200 and CUB-200 in miniature, written in their published layouts."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from bench.interfaces import Box

SCENES = ("defense", "eiffel", "louvre")
VIEWS = range(4)
BOX = (4, 3.4, 50.5, 40)


@dataclass
class Truth:
    """What a miniature is made of: by query the file, box, names of positives and of junk; the database by name."""

    queries: list[tuple[Path, Box | None, set[str], set[str]]] = field(default_factory=list)
    database: dict[str, Path] = field(default_factory=dict)


def view(path: Path, scene: int, number: int) -> Path:
    """A small photograph: the views of a scene are shifted cut-outs of one part of a picture."""
    left, top = 170 * scene + 17 * number, 60 + 11 * number
    path.parent.mkdir(parents=True, exist_ok=True)
    _picture().crop((left, top, left + 150, top + 120)).resize((60, 48)).save(path, quality=90)
    return path


@cache
def _picture() -> Image.Image:
    import skimage

    return Image.open(Path(skimage.__file__).parent / "data" / "coffee.png").convert("RGB")


def make_revisited(folder: Path, base: str = "roxford5k", protocol: int = 2, nested: bool = False) -> Truth:
    """View 0 of each scene is the query; a view of the next scene is junk; the last scene has no easy image."""
    truth = Truth()
    names = [f"{scene}_{number:06d}" for scene in SCENES for number in VIEWS if number]
    gnd = []
    for scene, landmark in enumerate(SCENES):
        place = folder / "jpg" / (f"paris/{landmark}" if nested else "")
        files = [view(place / f"{landmark}_{number:06d}.jpg", scene, number) for number in VIEWS]
        truth.database |= {path.stem: path for path in files[1:]}
        easy, hard, junk = [3 * scene, 3 * scene + 1], [3 * scene + 2], [(3 * scene + 4) % 9]
        if scene == 2:
            easy, hard = [], easy + hard
        gnd.append({"bbx": list(BOX), "easy": easy, "hard": np.array(hard), "junk": np.array(junk, np.int32)})
        truth.queries.append((files[0], BOX, {names[row] for row in easy + hard}, {names[row] for row in junk}))
    content = {"imlist": names, "qimlist": [f"{scene}_000000" for scene in SCENES], "gnd": gnd}
    (folder / f"gnd_{base}.pkl").write_bytes(pickle.dumps(content, protocol))
    return truth


def make_buildings(folder: Path, landmarks: str, prefix: str) -> Truth:
    """The query's own photograph is good, view 1 good and named twice, view 2 ok, view 3 junk."""
    truth = Truth()
    (folder / "lab").mkdir(parents=True)
    for scene, landmark in enumerate(SCENES):
        place = folder / "jpg" / (f"paris/{landmark}" if landmarks else "")
        files = [view(place / f"{landmarks}{landmark}_{number:06d}.jpg", scene, number) for number in VIEWS]
        names = [path.stem for path in files]
        truth.database |= dict(zip(names, files, strict=True))
        truth.queries.append((files[0], BOX, set(names[:3]), {names[3]}))
        lists = {"good": [names[0], names[1], names[1]], "ok": [names[2]], "junk": [names[3]]}
        for part, named in lists.items():
            (folder / f"lab/{landmark}_1_{part}.txt").write_text("".join(f"{name}\n" for name in named))
        (folder / f"lab/{landmark}_1_query.txt").write_text(f"{prefix}{names[0]} {' '.join(map(str, BOX))}\n")
    return truth


def make_paris(folder: Path) -> Truth:
    """As unpacked, with one of the files that are no image, which a list names."""
    truth = make_buildings(folder, "paris_", "")
    (folder / "jpg/paris/louvre/paris_louvre_000136.jpg").write_text("<html>302 Found</html>")
    with (folder / "lab/louvre_1_ok.txt").open("a") as stream:
        stream.write("paris_louvre_000136\n")
    return truth


def make_instre(folder: Path) -> Truth:
    """View 0 of each scene is the query, the others its positives; rows count from 1."""
    truth, entries, queried = Truth(), [], []
    for scene, name in enumerate(SCENES):
        files = [view(folder / f"INSTRE-S1/{scene:02d}a_{name}/{number:03d}.jpg", scene, number) for number in VIEWS]
        within = [str(path.relative_to(folder)) for path in files]
        truth.queries.append((files[0], BOX, set(within[1:]), set()))
        truth.database |= dict(zip(within[1:], files[1:], strict=True))
        queried.append(within[0])
        entries.append((np.array([[3 * scene + 1, 3 * scene + 2, 3 * scene + 3]], np.uint16), np.array([BOX])))
    write_mat(folder / "gnd_instre.mat", list(truth.database), queried, entries)
    return truth


def write_mat(path: Path, names: list[str], queried: list[str], entries: list[tuple[Any, Any]]) -> None:
    gnd = np.array([entries], [("ok", object), ("bbx", object)])
    cells = {key: np.array([value], object) for key, value in (("imlist", names), ("qimlist", queried))}
    savemat(path, {"gnd": gnd, **cells})


def make_gpr1200(folder: Path) -> Truth:
    """Class 2 comes before class 11, whatever the names."""
    truth = Truth()
    for scene, label in enumerate((2, 11, 700)):
        files = [view(folder / f"images/{label}_{number}_x.jpg", scene, number) for number in VIEWS]
        names = [f"images/{path.name}" for path in files]
        truth.database |= dict(zip(names, files, strict=True))
        truth.queries += [(path, None, {*names} - {n}, {n}) for path, n in zip(files, names, strict=True)]
    return truth


def make_cub200(folder: Path) -> Truth:
    """The last view of each scene is training."""
    truth, rows = Truth(), []
    for scene, label in enumerate(SCENES):
        place = folder / "CUB_200_2011/images"
        files = [view(place / f"{scene + 1:03d}.{label}/{label}_{number}.jpg", scene, number) for number in VIEWS]
        names = [str(path.relative_to(place)) for path in files]
        rows += [(name, scene + 1, int(number == 3)) for number, name in enumerate(names)]
        tested = dict(zip(names[:3], files[:3], strict=True))
        truth.database |= tested
        truth.queries += [(path, None, {*tested} - {name}, {name}) for name, path in tested.items()]
    for column, file in enumerate(("images", "image_class_labels", "train_test_split")):
        text = "".join(f"{number} {row[column]}\n" for number, row in enumerate(rows, 1))
        (folder / f"CUB_200_2011/{file}.txt").write_text(text)
    return truth


MAKERS: Mapping[str, Callable[[Path], Truth]] = {
    "roxford5k": make_revisited,
    "rparis6k": lambda folder: make_revisited(folder, "rparis6k", 4, nested=True),
    "oxford5k": lambda folder: make_buildings(folder, "", "oxc1_"),
    "paris6k": make_paris,
    "instre": make_instre,
    "gpr1200": make_gpr1200,
    "cub200": make_cub200,
}

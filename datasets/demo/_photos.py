"""The photographs that ship inside scikit-image and scikit-learn, and the disjoint tiles they are cut into."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageStat

from bench import images
from bench.errors import DatasetError
from bench.files import sha256_file

TILE_SIDE = 128  # shortest side of a tile, in pixels
MOST_TILES_A_SIDE = 4
LEAST_DEVIATION = 6.0  # grey levels; flatter tiles (sky, the black around a retina) show nothing to be found


@dataclass(frozen=True)
class Photo:
    """A file inside a package. Photographs of one scene taken from two places share `scene`."""

    package: str
    file: str
    sha256: str
    scene: str = ""

    @property
    def name(self) -> str:
        return Path(self.file).stem

    def open(self) -> Image.Image:
        """The photograph as RGB. Raises DatasetError where the package ships another file."""
        spec = find_spec(self.package)
        path = Path((spec.submodule_search_locations or [""])[0] if spec else "") / self.file
        if not path.is_file() or sha256_file(path) != self.sha256:
            raise DatasetError(f"the photograph {path} is missing or not the expected one: reinstall {self.package}")
        return images.decode(path)


PHOTOS = (
    Photo("skimage", "data/astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    Photo("skimage", "data/brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf"),
    Photo("skimage", "data/camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"),
    Photo("skimage", "data/cell.png", "8d23a7fb81f7cc877cd09f330357fc7f595651306e84e17252f6e0a1b3f61515"),
    Photo("skimage", "data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    Photo("skimage", "data/clock_motion.png", "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955"),
    Photo("skimage", "data/coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    Photo("skimage", "data/coins.png", "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba"),
    Photo("skimage", "data/grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89"),
    Photo("skimage", "data/gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12"),
    Photo(
        "skimage",
        "data/hubble_deep_field.jpg",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    ),
    Photo("skimage", "data/ihc.png", "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef"),
    Photo("skimage", "data/moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577"),
    Photo(
        "skimage",
        "data/motorcycle_left.png",
        "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "motorcycle",
    ),
    Photo(
        "skimage",
        "data/motorcycle_right.png",
        "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
        "motorcycle",
    ),
    Photo("skimage", "data/page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3"),
    Photo("skimage", "data/retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6"),
    Photo("skimage", "data/rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
    Photo("skimage", "data/text.png", "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1"),
    Photo(
        "sklearn",
        "datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    Photo(
        "sklearn",
        "datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
)


def tiles(photo: Photo) -> Iterator[tuple[str, Image.Image]]:
    """Disjoint tiles of a photograph with their names, row by row; flat ones are left out."""
    image = photo.open()
    columns, rows = (max(1, min(MOST_TILES_A_SIDE, side // TILE_SIDE)) for side in image.size)
    width, height = image.width // columns, image.height // rows
    for row in range(rows):
        for column in range(columns):
            tile = image.crop((column * width, row * height, (column + 1) * width, (row + 1) * height))
            if ImageStat.Stat(tile.convert("L")).stddev[0] >= LEAST_DEVIATION:
                yield f"{photo.name}_{row}{column}", tile

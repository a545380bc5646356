"""Colours without a profile, and ICC profiles converted to sRGB."""

import io

from PIL import Image

from bench.images import notices

#: The colour space that a profile names, by the mode of the image.
SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def to_srgb(colours: Image.Image, profile: object = None) -> Image.Image:
    """RGB from colours of any mode, by their ICC profile where there is one.

    A profile that is damaged, or of another kind of colours than the image's, is ignored and counted as a warning.
    """
    if isinstance(profile, bytes) and profile:
        try:
            return _converted(colours, profile)
        except Exception as error:  # noqa: BLE001
            notices.note(f"the ICC profile is ignored: {error}")
    return colours if colours.mode == "RGB" else colours.convert("RGB")


def _converted(colours: Image.Image, profile: bytes) -> Image.Image:
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if SPACES.get(colours.mode) != space:
        raise ValueError(f"it is for {space}, the image is {colours.mode}")
    converted = ImageCms.profileToProfile(colours, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None
    return converted

"""The hard level of segmix: what is done to an object before it is pasted. Objects are RGBA, alpha is their mask."""

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from datasets.demo._rng import Rng

ENHANCERS = (
    ("brightness", ImageEnhance.Brightness),
    ("contrast", ImageEnhance.Contrast),
    ("colour", ImageEnhance.Color),
)


def hardened(cutout: Image.Image, rng: Rng) -> tuple[Image.Image, float, list[str]]:
    """The object changed, how its side is to be scaled (0.75 to 1), and what was done to it."""
    rgb, done = cutout.convert("RGB"), []
    if rng.real(0, 1) < 0.8:
        for name, enhancer in ENHANCERS:
            factor = rng.real(0.6, 1.4)
            rgb = enhancer(rgb).enhance(factor)
            done.append(f"{name}={factor:.2f}")
    if rng.real(0, 1) < 0.2:
        rgb, done = ImageOps.grayscale(rgb).convert("RGB"), [*done, "grey"]
    if rng.real(0, 1) < 0.2:
        threshold = rng.integer(96, 192)
        rgb, done = ImageOps.solarize(rgb, threshold), [*done, f"solarise={threshold}"]
    if rng.real(0, 1) < 0.5:
        radius = rng.real(0.002, 0.01) * max(rgb.size)
        rgb, done = rgb.filter(ImageFilter.GaussianBlur(radius)), [*done, f"blur={radius:.2f}"]
    changed = rgb.convert("RGBA")
    changed.putalpha(cutout.getchannel("A"))
    if rng.real(0, 1) < 0.5:
        changed, done = ImageOps.mirror(changed), [*done, "mirror"]
    if rng.real(0, 1) < 0.1:
        changed, done = ImageOps.flip(changed), [*done, "flip"]
    angle, scale = rng.real(-10, 10), rng.real(0.75, 1)
    turned = changed.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    return turned.crop(turned.getbbox()), scale, [*done, f"rotate={angle:.1f}", f"resize={scale:.2f}"]

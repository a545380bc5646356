"""Edits that put something on or around an image: text, stickers, frames, the window of a programme."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from datasets.copyedits._parts import Edited, Original, real
from datasets.copyedits._stickers import DRAWN, cut_out
from datasets.demo._rng import Rng

WORDS = (
    "when you see it",
    "nobody:  absolutely nobody:",
    "SALE  -50 %",
    "breaking news",
    "@someone",
    "best day ever",
    "do not copy",
    "part two in the comments",
    "wait for it ...",
    "me on Monday",
)
LIGHT = ((255, 255, 255), (32, 33, 36), (218, 220, 224))  # page, text, lines
DARK = ((18, 18, 18), (232, 234, 237), (60, 64, 67))
PHONE = 360  # width of a phone's screen in its own pixels
WINDOW = (640, 480)
SMALLEST = 6  # size of a font that still shows letters


def text(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """A caption in outlined capitals above, below or both; a line on a bar; words anywhere; a repeated watermark."""
    style = rng.choice(("caption", "bar", "words", "watermark"))
    words = rng.choice(WORDS)
    layer = Image.new("RGBA", image.size)
    drawing = {"caption": _caption, "bar": _bar, "words": _words, "watermark": _watermark}[style]
    drawing(layer, words, rng)
    return _over(image, layer), {"style": style, "words": words}


def _caption(layer: Image.Image, words: str, rng: Rng) -> None:
    places = rng.choice((("top",), ("bottom",), ("top", "bottom")))
    font = _fitted(words.upper(), layer.width * 0.94, layer.height // 6)
    draw = ImageDraw.Draw(layer)
    for place in places:
        y, anchor = (layer.height * 0.03, "ma") if place == "top" else (layer.height * 0.97, "md")
        stroke = max(1, round(font.size / 14))
        draw.text((layer.width / 2, y), words.upper(), "white", font, anchor, stroke_width=stroke, stroke_fill="black")


def _bar(layer: Image.Image, words: str, rng: Rng) -> None:
    height = max(1, int(layer.height * real(rng, 0.1, 0.2)))
    top = int(layer.height * rng.choice((0.0, 0.4, 0.8)))
    ImageDraw.Draw(layer).rectangle((0, top, layer.width, top + height), (*rng.colour(), rng.choice((170, 255))))
    font = _fitted(words, layer.width * 0.9, int(height * 0.7))
    ImageDraw.Draw(layer).text((layer.width / 2, top + height / 2), words, "white", font, "mm")


def _words(layer: Image.Image, words: str, rng: Rng) -> None:
    for line, share in ((words, 0.0), (rng.choice(WORDS), 0.5)):
        font = _fitted(line, layer.width * real(rng, 0.4, 0.9), layer.height // 4)
        stroke = max(1, round(font.size / 20))
        _, _, right, bottom = font.getbbox(line, stroke_width=stroke)
        x = rng.integer(0, max(0, int(layer.width - right)))
        y = rng.integer(0, max(0, int(layer.height / 2 - bottom))) + int(layer.height * share)
        ImageDraw.Draw(layer).text((x, y), line, rng.colour(), font, stroke_width=stroke, stroke_fill=rng.colour())


def _watermark(layer: Image.Image, words: str, rng: Rng) -> None:
    """Half-transparent, slanting, all over the image."""
    font = _font(max(SMALLEST, max(layer.size) // 14))
    side = 2 * max(layer.size)
    turned = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(turned)
    width, opacity = int(font.getlength(words) + 2 * font.size), rng.integer(90, 160)
    for row, y in enumerate(range(0, side, int(3 * font.size))):
        for x in range(-(row % 2) * width // 2, side, width):
            draw.text(
                (x, y), words, (255, 255, 255, opacity), font, stroke_width=1, stroke_fill=(0, 0, 0, opacity // 2)
            )
    turned = turned.rotate(30, Image.Resampling.BICUBIC)
    left, top = (side - layer.width) // 2, (side - layer.height) // 2
    layer.paste(turned.crop((left, top, left + layer.width, top + layer.height)))


def _fitted(words: str, width: float, height: int) -> ImageFont.FreeTypeFont:
    """The bundled font, so large that the words fit into the width and a line into the height."""
    size = max(SMALLEST, height)
    return _font(max(SMALLEST, int(size * min(1.0, width / _font(size).getlength(words)))))


def _font(size: float) -> ImageFont.FreeTypeFont:
    """Pillow's own."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # pillow was built with FreeType, as its published wheels are
    return font


def sticker(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """One to three drawn figures, or round cuttings of other images, each 25 to 45 % of the short side."""
    layer = Image.new("RGBA", image.size)
    placed = []
    for _ in range(rng.integer(1, 3)):
        kind = rng.choice((*DRAWN, "cutting"))
        side = max(4, round(min(image.size) * real(rng, 0.25, 0.45)))
        made = DRAWN[kind](side, rng) if kind in DRAWN else cut_out(rng.choice(others).open(), side)
        turned = made.rotate(rng.real(-25, 25), Image.Resampling.BICUBIC, expand=True)
        place = rng.integer(-side // 5, image.width - side), rng.integer(-side // 5, image.height - side)
        layer.paste(turned, place, turned)
        placed.append(f"{kind} {_told((*place, place[0] + turned.width, place[1] + turned.height))}")
    return _over(image, layer), {"stickers": "; ".join(placed)}


def _over(image: Image.Image, layer: Image.Image) -> Image.Image:
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def frame(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """A plain border, an instant photograph's, or plain or blurred bars that fill an upright screen or a square."""
    style = rng.choice(("border", "instant", "bars", "blurred"))
    if style in ("border", "instant"):
        share = real(rng, 0.04, 0.14)
        edge = max(1, round(max(image.size) * share))
        below = edge * 3 if style == "instant" else edge
        colour = (250, 249, 245) if style == "instant" else rng.colour()
        framed = Image.new("RGB", (image.width + 2 * edge, image.height + edge + below), colour)
        framed.paste(image, (edge, edge))
        return framed, {"style": style, "edge": share}
    # of the two the one whose shape is farther from the image's: else there would be no bars
    shape = "upright" if 0.8 <= image.width / image.height <= 1.5 else "square"
    long = max(image.size)
    size = (long, long) if shape == "square" else (long, round(long * 16 / 9))
    framed = Image.new("RGB", size, rng.choice(((0, 0, 0), (255, 255, 255))))
    if style == "blurred":
        framed = ImageOps.fit(image, size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(long / 20))
    inside = ImageOps.contain(image, size, Image.Resampling.BICUBIC)
    framed.paste(inside, ((size[0] - inside.width) // 2, (size[1] - inside.height) // 2))
    return framed, {"style": style, "shape": shape}


def screenshot(image: Image.Image, rng: Rng, others: Sequence[Original]) -> Edited:
    """A post on a phone, or a page in a window, light or dark, with the image scaled into it."""
    device, theme = rng.choice(("phone", "window")), rng.choice(("light", "dark"))
    colours = LIGHT if theme == "light" else DARK
    screen, box = (_phone if device == "phone" else _window)(image, rng, colours)
    return screen, {"device": device, "theme": theme, "box": _told(box)}


Theme = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]
Place = tuple[int, int, int, int]


def _told(box: Place) -> str:
    return ",".join(map(str, box))


def _put(image: Image.Image, screen: Image.Image, left: int, top: int) -> Place:
    """The box that the image then takes."""
    screen.paste(image, (left, top))
    return left, top, left + image.width, top + image.height


def _phone(image: Image.Image, rng: Rng, theme: Theme) -> tuple[Image.Image, Place]:
    """Status line, who posted it, the image over the whole width, buttons, comments, navigation."""
    page, ink, lines = theme
    inside = ImageOps.contain(image, (PHONE, 420), Image.Resampling.BICUBIC)
    screen = Image.new("RGB", (PHONE, rng.integer(640, 760)), page)
    draw = ImageDraw.Draw(screen)
    small, large = _font(13), _font(16)
    draw.text((14, 6), f"{rng.integer(7, 22)}:{rng.integer(10, 59)}", ink, small)
    draw.rounded_rectangle((PHONE - 40, 8, PHONE - 16, 20), 3, outline=ink)
    draw.rectangle((PHONE - 38, 10, PHONE - 38 + rng.integer(6, 20), 18), fill=ink)
    draw.ellipse((12, 36, 44, 68), fill=rng.colour())
    draw.text((54, 38), rng.choice(("anna.k", "daily_pictures", "someone", "M. Rossi")), ink, large)
    draw.text((54, 56), f"{rng.integer(2, 23)} h", lines, small)
    draw.text((PHONE - 30, 36), "...", ink, large)
    box = _put(inside, screen, (PHONE - inside.width) // 2, 78)
    y = box[3] + 12
    for x in (14, 54, 94):  # a heart, a bubble, an arrow, as far as such icons are told apart at this size
        draw.rounded_rectangle((x, y, x + 24, y + 22), 8, outline=ink, width=2)
    draw.text((14, y + 32), f"{rng.integer(12, 4000)} likes", ink, small)
    _lines(draw, rng, (14, y + 56, PHONE - 14, screen.height - 60), lines)
    draw.line((0, screen.height - 46, PHONE, screen.height - 46), lines)
    for place in range(5):
        draw.ellipse((place * 72 + 26, screen.height - 34, place * 72 + 46, screen.height - 14), outline=ink, width=2)
    return screen, box


def _window(image: Image.Image, rng: Rng, theme: Theme) -> tuple[Image.Image, Place]:
    """Three round buttons, an address, and a page with the image beside lines of text."""
    page, ink, lines = theme
    width, height = WINDOW
    screen = Image.new("RGB", WINDOW, page)
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, width, 40), fill=lines)
    for place, colour in enumerate(((255, 95, 86), (255, 189, 46), (39, 201, 63))):
        draw.ellipse((12 + 20 * place, 14, 24 + 20 * place, 26), fill=colour)
    draw.rounded_rectangle((90, 8, width - 20, 32), 12, fill=page)
    draw.text((104, 12), rng.choice(("example.org/news/today", "example.com/gallery")), ink, _font(13))
    inside = ImageOps.contain(image, (rng.integer(360, 460), height - 120), Image.Resampling.BICUBIC)
    left = rng.choice((24, width - 24 - inside.width))
    draw.text((24, 52), rng.choice(("What happened today", "Picture of the week", "Seen and heard")), ink, _font(22))
    box = _put(inside, screen, left, 92)
    beside = (24, left - 20) if left > 24 else (box[2] + 20, width - 24)
    _lines(draw, rng, (beside[0], 96, beside[1], height - 20), lines)
    return screen, box


def _lines(draw: ImageDraw.ImageDraw, rng: Rng, box: Place, colour: tuple[int, int, int]) -> None:
    """Lines of text as bars of uneven length, as far as they fit."""
    left, top, right, bottom = box
    for y in range(top, bottom - 8, 18):
        end = left + int((right - left) * rng.real(0.55, 1))
        draw.rounded_rectangle((left, y, max(left + 8, end), y + 8), 3, fill=colour)

"""Writes the pictures in this folder, and what Pillow, torch and transformers make of them.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 torch==2.15.0 transformers==5.23.0 numpy
    venv/bin/python golden/images/make.py

`expected.json` has for each file the pixels that transformers makes of it, upright and as
red, green and blue, transparency on white (`exif_transpose`, then `convert_to_rgb`); for
rows of `resize` what `interpolate(uint8, mode="bicubic", antialias=True)` gives, which is
what torchvision's resize of GLM-4V's processor calls; and for `sizes` its `smart_resize`.
The files in `malformed/` were not made here: each name says what is wrong with it.
"""

import base64
import io
import json
import pathlib
import random
import struct
import zlib

import numpy
import torch
from PIL import Image, ImageOps
from transformers.image_transforms import convert_to_rgb
from transformers.models.glm4v.image_processing_pil_glm4v import smart_resize

HERE = pathlib.Path(__file__).parent
WIDTH, HEIGHT = 13, 10


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def noise(*shape: int, kind=numpy.uint8) -> numpy.ndarray:
    top = 1 << (8 * numpy.dtype(kind).itemsize)
    return numpy.random.default_rng(sum(shape)).integers(0, top, shape, dtype=kind)


def quadrants(width: int, height: int) -> Image.Image:
    """Four colours, so that a picture on its side is seen to be, and JPEG keeps them."""
    image = Image.new("RGB", (width, height), (200, 40, 40))
    image.paste((40, 180, 60), (width // 2, 0, width, height // 2))
    image.paste((50, 70, 210), (0, height // 2, width // 2, height))
    image.paste((230, 220, 90), (width // 2, height // 2, width, height))
    return image


def png(kind: int, depth: int, rows: numpy.ndarray) -> bytes:
    """A PNG file of a kind that Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = rows.shape[:2]
    if depth < 8:
        width *= 8 // depth
    raw = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def files() -> dict[str, bytes]:
    made = {}

    def save(name: str, image: Image.Image, kind: str, **options) -> None:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made[name] = buffer.getvalue()

    rgb = Image.fromarray(noise(HEIGHT, WIDTH, 3))
    rgba = Image.fromarray(noise(HEIGHT, WIDTH, 4), "RGBA")
    grey = Image.fromarray(noise(HEIGHT, WIDTH))
    save("rgb.png", rgb, "PNG")
    save("rgba.png", rgba, "PNG")
    save("grey.png", grey, "PNG")
    save("grey_alpha.png", Image.fromarray(noise(HEIGHT, WIDTH, 2), "LA"), "PNG")
    save("one_bit.png", grey.convert("1"), "PNG")
    save("palette.png", rgb.quantize(12), "PNG", transparency=3)
    save("rgb_key.png", rgb, "PNG", transparency=rgb.getpixel((2, 2)))
    made["grey_2_bits.png"] = png(0, 2, numpy.array([[0b00011011] * 2] * 3))
    made["grey_16_bits.png"] = png(0, 16, noise(HEIGHT, WIDTH, kind=numpy.uint16) // 128)
    made["rgb_16_bits.png"] = png(2, 16, noise(HEIGHT, WIDTH, 3, kind=numpy.uint16))
    made["rgba_16_bits.png"] = png(6, 16, noise(HEIGHT, WIDTH, 4, kind=numpy.uint16))
    made["grey_alpha_16_bits.png"] = png(4, 16, noise(HEIGHT, WIDTH, 2, kind=numpy.uint16))
    save("bmp_24.bmp", rgb, "BMP")
    save("bmp_palette.bmp", rgb.quantize(12), "BMP")
    save("gif.gif", rgb.quantize(12), "GIF")
    save("gif_transparent.gif", rgb.quantize(12), "GIF", transparency=5)
    frames = [quadrants(WIDTH, HEIGHT).quantize(8), grey.convert("P")]
    save("gif_frames.gif", frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    save("webp.webp", rgb, "WEBP", lossless=True)
    save("webp_alpha.webp", rgba, "WEBP", lossless=True, exact=True)
    save("webp_lossy.webp", quadrants(32, 16), "WEBP", quality=95)
    save("webp_frames.webp", quadrants(32, 16), "WEBP", lossless=True, save_all=True, append_images=[quadrants(32, 16).rotate(180)])
    save("tiff.tif", rgb, "TIFF")
    save("tiff_lzw.tif", rgb, "TIFF", compression="tiff_lzw")
    save("tiff_grey.tif", grey, "TIFF", compression="tiff_adobe_deflate")
    save("tiff_alpha.tif", rgba, "TIFF")
    save("jpeg.jpg", quadrants(32, 16), "JPEG", quality=95, subsampling=0)
    save("jpeg_420.jpg", quadrants(32, 16), "JPEG", quality=95, subsampling=2)
    save("jpeg_progressive.jpg", quadrants(32, 16), "JPEG", quality=95, progressive=True)
    save("jpeg_grey.jpg", quadrants(32, 16).convert("L"), "JPEG", quality=95)
    save("jpeg_cmyk.jpg", quadrants(32, 16).convert("CMYK"), "JPEG", quality=95, subsampling=0)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"turned_{orientation}.jpg", quadrants(32, 16), "JPEG", quality=95, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned.png", rgb, "PNG", exif=exif)
    save("turned.webp", rgb, "WEBP", lossless=True, exif=exif)
    save("turned.tif", rgb, "TIFF", tiffinfo={0x0112: 8})
    # The name of a file has no say.
    made["wrongly_named.jpg"] = made["rgb.png"]
    return made


def resized() -> list[dict]:
    cases = []
    for (height, width), (to_height, to_width) in [
        ((10, 13), (28, 28)),
        ((30, 41), (28, 28)),
        ((90, 7), (28, 7)),
        ((5, 80), (5, 14)),
        ((28, 20), (28, 56)),
        ((1, 1), (3, 2)),
        ((64, 2), (2, 64)),
    ]:
        pixels = noise(height, width, 3)
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        out = torch.nn.functional.interpolate(tensor, (to_height, to_width), mode="bicubic", antialias=True)
        cases.append(
            {
                "size": [width, height],
                "pixels": b64(pixels.tobytes()),
                "to": [to_width, to_height],
                "resized": b64(out[0].permute(1, 2, 0).contiguous().numpy().tobytes()),
            }
        )
    return cases


def sizes() -> list[dict]:
    draw = random.Random(7)
    pairs = [(28, 28), (1, 1), (1, 200), (14, 2800), (42, 70), (98, 98), (56, 56), (4000, 3000), (27, 5000)]
    pairs += [(28 * 3 + 14, 28 * 4 + 14), (9999, 50), (1920, 1080), (27, 27 * 199), (20_000, 101)]
    pairs += [(draw.randint(1, 400), draw.randint(1, 400)) for _ in range(40)]
    pairs += [(draw.randint(1, 9000), draw.randint(1, 9000)) for _ in range(40)]
    cases = []
    for width, height in pairs:
        for least, most in [(112 * 112, 28 * 28 * 15000), (12544, 9633792), (56 * 56, 2 * 112 * 112)]:
            try:
                h, w = smart_resize(2, height, width, 2, 28, least, most)
                size = [w, h]
            except ValueError:
                size = None
            cases.append({"size": [width, height], "area": [least, most], "resized": size})
    return cases


def main() -> None:
    expected = {}
    for name, data in sorted(files().items()):
        (HERE / name).write_bytes(data)
        upright = ImageOps.exif_transpose(Image.open(HERE / name))
        pixels = convert_to_rgb(upright, return_numpy=True)
        expected[name] = {"size": list(upright.size), "rgb": b64(pixels.tobytes())}
    lines = {"files": expected, "resize": resized(), "sizes": sizes()}
    text = ",\n".join(
        f'"{key}": ' + ("{\n" if isinstance(value, dict) else "[\n")
        + ",\n".join(
            (f'"{k}": ' if isinstance(value, dict) else "") + json.dumps(v)
            for k, v in (value.items() if isinstance(value, dict) else enumerate(value))
        )
        + ("\n}" if isinstance(value, dict) else "\n]")
        for key, value in lines.items()
    )
    (HERE / "expected.json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()

"""Pictures as the browser takes them: JPEG, and index masks as PNG, in data addresses."""

import base64

import cv2
import numpy as np

QUALITY = 85
CANVAS_QUALITY = 92  # of what is painted on


def jpeg(image: np.ndarray, width: int | None = None, quality: int = QUALITY) -> bytes:
    """uint8 [H, W, 3] RGB as JPEG; width: in pixels, where that is another than its own."""
    if width is not None and width != image.shape[1]:
        size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def jpeg_uri(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def mask_uri(mask: np.ndarray) -> str:
    """An index mask uint8 [H, W] as a grey PNG whose brightness is the id."""
    data = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()


def small(image: np.ndarray, width: int) -> str:
    """uint8 [H, W, 3] as a JPEG of `width` pixels."""
    return jpeg_uri(jpeg(image, width))

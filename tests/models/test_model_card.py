import pytest

from models.model_card import load_lines, normalise_line
from models.pixels import ImagenetPixels, ImagePixels, LabPixels, LightnessPixels


@pytest.mark.parametrize("kind", ["safetensors", "convolutions", "torchvision", "onnx", "pt2"])
def test_every_format_loads_in_two_lines_of_python_that_name_the_file(kind: str) -> None:
    lines = load_lines(kind, "the.file", 87)
    compile("\n".join(lines), kind, "exec")
    assert "the.file" in "".join(lines)


def test_torchvisions_lines_name_the_classes() -> None:
    assert "num_classes=87" in load_lines("torchvision", "the.file", 87)[0]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="tflite"):
        load_lines("tflite", "the.file", 87)


def test_pixels_are_told_in_words() -> None:
    assert "0.485" in normalise_line(ImagenetPixels())
    assert "times 50" in normalise_line(ImagePixels(std=50))
    assert "CIE Lab" in normalise_line(LabPixels())
    assert "all three channels" in normalise_line(LightnessPixels())

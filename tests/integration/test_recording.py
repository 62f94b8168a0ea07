"""``geoosctl snapshot`` against a running geoos: views, and recordings that end early."""

import signal
import subprocess

from PIL import Image

from geoosd.wire.messages import NeuralData, NeuralStateUpdate, TokenVisualizationUpdate

from .compositor_process import Producer
from .stack import BIN, until


def pictures_drawn(stack):
    lines = stack.ctl("metrics").stdout.splitlines()
    (line,) = [each for each in lines if each.startswith("geoos_compositor_picture_seconds_count")]
    return float(line.split()[-1])


def test_a_recording_and_one_that_is_interrupted(light_stack, tmp_path):
    producer = Producer(light_stack.directory / "run", "films")
    film = tmp_path / "film.webp"
    recorder = subprocess.Popen(
        [BIN / "geoosctl", "snapshot", film, "--view", "layers", "--seconds", "600", "--fps", "20",
         "--width", "160", "--height", "120"],
        env=light_stack.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    before = pictures_drawn(light_stack)
    try:
        for number in range(8):
            data = NeuralData(layer_activations=[1.0, float(number)])
            producer.say(NeuralStateUpdate(session="s", data=data))
            producer.wait_acknowledged()
            until(lambda n=number: pictures_drawn(light_stack) >= before + 2 * n, 20, "a picture")
        recorder.send_signal(signal.SIGINT)
        said, complaints = recorder.communicate(timeout=30)
    finally:
        recorder.kill()
        producer.close()
    assert (recorder.returncode, complaints) == (0, "")
    assert "pictures, " in said
    with Image.open(film) as picture:
        assert picture.size == (160, 120)
        assert 3 <= picture.n_frames <= 20
    short = tmp_path / "short.apng"
    told = light_stack.json("snapshot", str(short), "--seconds", "0.5", "--width", "64")
    assert told["pictures"] >= 1
    assert 0.4 < told["seconds"] < 20
    assert short.read_bytes().startswith(b"\x89PNG")


def test_every_view_by_command(light_stack, tmp_path):
    producer = Producer(light_stack.directory / "run", "views")
    producer.say(TokenVisualizationUpdate("a", 0, token_id=1, model="m", session="s"))
    producer.wait_acknowledged()
    producer.close()
    for view in ("memory", "confidence", "models"):
        file = tmp_path / f"{view}.png"
        done = light_stack.ctl("snapshot", str(file), "--view", view, "--width", "64", "--labels")
        assert done.returncode == 0, done.stderr
    done = light_stack.ctl("snapshot", str(tmp_path / "x.png"), "--view", "inside")
    assert done.returncode != 0
    assert "there are activation, memory, confidence, models, attention, layers" in done.stderr

"""The examples of etc/examples against a real compositor."""

import subprocess
import sys
import warnings

import pytest

from geoosd.wire.messages import (
    Error,
    NeuralStateUpdate,
    SessionEnded,
    SessionStarted,
    TokenVisualizationUpdate,
)

from .compositor_process import CompositorProcess, feed


@pytest.fixture
def compositor(tmp_path):
    made = CompositorProcess(tmp_path)
    made.start()
    yield made
    made.stop()


def until_ended(compositor):
    """What the feed tells, up to the first session's end."""
    seen = []
    for message in feed(compositor):
        seen.append(message.payload)
        if isinstance(message.payload, SessionEnded):
            return seen
    raise EOFError


def only(kind, payloads):
    return [each for each in payloads if isinstance(each, kind)]


def test_the_plain_producer_shows_a_text_word_by_word(compositor, repository):
    done = subprocess.run(
        [sys.executable, "-I", repository / "etc/examples/producer.py"],
        input="to be or not to be",
        env={"GEOOS_RUNTIME_DIR": str(compositor.run_dir)},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    seen = until_ended(compositor)
    tokens = only(TokenVisualizationUpdate, seen)
    assert "".join(token.current_token for token in tokens) == "to be or not to be "
    assert tokens[0].cell == tokens[4].cell
    assert only(SessionStarted, seen)[0].model == "words"
    assert only(Error, seen) == []


class Layer:
    """As much of a torch module as the callback asks of one."""

    def __init__(self, weight, *children):
        self.weight, self._children, self.hooks = weight, children, {}

    def children(self):
        return iter(self._children)

    def named_modules(self):
        yield "", self
        for index, child in enumerate(self._children):
            yield str(index), child

    def register_forward_hook(self, hook):
        self.hooks[hook] = hook
        return Handle(self.hooks, hook)

    def __call__(self, value):
        for child in self._children:
            value = child(value)
        if not self._children:
            value = Value(self.weight * value.value)
        for hook in self.hooks.values():
            hook(self, (), value)
        return value


class Handle:
    def __init__(self, hooks, hook):
        self.hooks, self.hook = hooks, hook

    def remove(self):
        del self.hooks[self.hook]


class Value(float):
    @property
    def value(self):
        return float(self)

    def detach(self):
        return self

    def abs(self):
        return Value(abs(float(self)))

    def mean(self):
        return self


@pytest.fixture
def callback_module(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "etc/examples"))
    import lightning_callback

    yield lightning_callback
    del sys.modules["lightning_callback"]


def test_the_training_callback_shows_each_layer_of_a_descent(compositor, callback_module):
    """Gradient descent on y = 6x with two linear layers, through Lightning's hooks."""
    model = Layer(0, Layer(1.0), Layer(1.0))
    first, second = model.children()
    path = str(compositor.run_dir / "ingest.sock")
    callback = callback_module.GeoosCallback(path, per_second=1e6)
    callback.on_fit_start(None, model)
    expected = []
    for step in range(30):
        error = model(Value(1.0)).value - 6.0
        expected.append([first.weight, first.weight * second.weight])
        first.weight, second.weight = (
            first.weight - 0.02 * error * second.weight,
            second.weight - 0.02 * error * first.weight,
        )
        callback.on_train_batch_end(None, model, None, None, step)
    callback.on_fit_end(None, model)
    assert [layer.hooks for layer in (first, second)] == [{}, {}]
    seen = until_ended(compositor)
    states = only(NeuralStateUpdate, seen)
    assert [state.data.layer_activations for state in states] == expected
    assert states[-1].sequence_position == 29
    assert states[0].provenance == {"layer_activations": "measured"}
    assert only(SessionStarted, seen)[0].model == "Layer"
    assert only(Error, seen) == []


def test_a_real_network_in_training(compositor, callback_module):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    callback = callback_module.GeoosCallback(
        str(compositor.run_dir / "ingest.sock"), per_second=1e6
    )
    callback.on_fit_start(None, model)
    for step in range(20):
        inputs = torch.randn(32, 4)
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        callback.on_train_batch_end(None, model, loss, inputs, step)
    callback.on_fit_end(None, model)
    states = only(NeuralStateUpdate, until_ended(compositor))
    assert [len(state.data.layer_activations) for state in states] == [3] * 20
    assert all(0 < level < 10 for state in states for level in state.data.layer_activations)


def test_a_training_goes_on_without_geoos(tmp_path, callback_module):
    model = Layer(0, Layer(1.0))
    callback = callback_module.GeoosCallback(str(tmp_path / "nobody.sock"))
    with pytest.warns(UserWarning, match="cannot show this training at"):
        callback.on_fit_start(None, model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model(Value(2.0)) == 2.0
        callback.on_train_batch_end(None, model, None, None, 0)
        callback.on_fit_end(None, model)


def test_a_training_outlives_the_compositor_and_numbers_that_run_away(compositor, callback_module):
    model = Layer(0, Layer(1.0))
    callback = callback_module.GeoosCallback(
        str(compositor.run_dir / "ingest.sock"), per_second=1e6
    )
    callback.on_fit_start(None, model)
    model(Value("nan"))
    callback.on_train_batch_end(None, model, None, None, 0)
    compositor.stop()
    model(Value(1.0))
    with pytest.warns(UserWarning, match="cannot show this training at"):
        callback.on_train_batch_end(None, model, None, None, 1)
    callback.on_fit_end(None, model)

"""What the real engine does is learnt from its first answer, and shown."""

import pytest

pytestmark = pytest.mark.engine


def test_the_engine_shows_what_it_does(shared_stack):
    done = shared_stack.ctl("prompt", "The sea is", "--param", "max_tokens=8")
    assert done.returncode == 0, done.stderr
    (model,) = shared_stack.json("models")["models"]
    capabilities, learnt = model["capabilities"], model["learnt"]
    # A base model: it says so itself (/props), and the answer shows the rest.
    assert (capabilities["chat"], learnt["chat"]) == (False, "probe")
    assert (capabilities["tools"], learnt["tools"]) == (False, "probe")
    for what in ("completions", "logprobs", "token_ids", "prompt_progress", "usage"):
        assert (capabilities[what], learnt[what]) == (True, "answer"), what
    line = shared_stack.ctl("models").stdout.splitlines()[2]
    assert line.startswith("  + completions, logprobs, ids, progress, usage")

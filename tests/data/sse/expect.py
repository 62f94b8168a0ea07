"""What a reader without geoos makes of a recording: a plain reading with json, slow and simple.

    python tests/data/sse/expect.py            # writes NAME.expected.json beside each NAME.body

Only the texts, ids and probabilities are made here. How a request was asked for and how it ended
was written by hand after the recording, and is kept.
"""

import json
import math
from pathlib import Path

HERE = Path(__file__).parent


def objects(name, content_type):
    """The JSON of a recording, one after the other."""
    body = (HERE / f"{name}.body").read_text()
    if "json" in content_type and "ndjson" not in content_type:
        return [json.loads(body)]
    lines = body.splitlines()
    if content_type == "text/event-stream":
        lines = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line not in ("[DONE]", "null", "")]


# -- one object: (choice, role, text, entries of its tokens, ids) ---------------------------------


def chat(each):
    for choice in each.get("choices", []):
        said = choice.get("delta") or choice.get("message") or choice
        entries = (choice.get("logprobs") or {}).get("content")
        ids = choice.get("token_ids")
        index = choice["index"]
        thought = said.get("reasoning_content") or said.get("reasoning")
        yield index, "reasoning", thought, entries, ids
        yield index, "answer", said.get("content") or said.get("text"), entries, ids
        for call in said.get("tool_calls") or []:
            function = call["function"]
            text = function.get("name", "") + function.get("arguments", "")
            yield index, "tool", text, entries, ids


def responses(each):
    kind = each.get("type", "")
    if kind == "response.output_text.delta":
        yield 0, "answer", each["delta"], None, None
    elif kind == "response.reasoning_text.delta":
        yield 0, "reasoning", each["delta"], None, None
    elif kind == "response.function_call_arguments.delta":
        yield 0, "tool", each["delta"], None, None
    elif kind == "response.output_item.added":
        yield 0, "tool", each["item"].get("name"), None, None
    for item in each.get("output", []):
        for part in item["content"]:
            yield 0, "answer", part["text"], None, None


def messages(each):
    parts = [*each.get("content", []), each.get("delta", {}), each.get("content_block", {})]
    for part in parts:
        yield 0, "reasoning", part.get("thinking"), None, None
        yield 0, "answer", part.get("text"), None, None
        yield 0, "tool", part.get("name"), None, None
        yield 0, "tool", part.get("partial_json"), None, None


def completion(each):
    entries = each.get("completion_probabilities")
    yield each.get("index", 0), "answer", each.get("content"), entries, each.get("tokens")


def ollama(each):
    message = each.get("message", {})
    entries = each.get("logprobs")
    yield 0, "reasoning", message.get("thinking"), entries, None
    yield 0, "answer", message.get("content") or each.get("response"), entries, None
    for call in message.get("tool_calls", []):
        arguments = json.dumps(call["function"]["arguments"], separators=(",", ":"))
        yield 0, "tool", call["function"]["name"] + arguments, entries, None


def lmstudio(each):
    kind = each.get("type")
    if kind in ("message.delta", "reasoning.delta"):
        yield 0, "answer" if kind == "message.delta" else "reasoning", each["content"], None, None
    elif kind == "tool_call.start":
        yield 0, "tool", each["tool"], None, None
    elif kind == "tool_call.arguments":
        yield 0, "tool", json.dumps(each["arguments"]), None, None
    for item in each["output"] if "stats" in each else []:
        if item["type"] == "tool_call":
            yield 0, "tool", item["tool"] + json.dumps(item["arguments"]), None, None
        else:
            role = "answer" if item["type"] == "message" else "reasoning"
            yield 0, role, item["content"], None, None


READERS = {
    "/v1/chat/completions": chat,
    "/v1/completions": chat,
    "/v1/responses": responses,
    "/v1/messages": messages,
    "/completion": completion,
    "/api/chat": ollama,
    "/api/generate": ollama,
    "/api/v1/chat": lmstudio,
}


def probability(entry):
    if entry.get("logprob") is not None:
        return math.exp(min(entry["logprob"], 0.0))
    return entry.get("prob")


def spelt(entry):
    """A token's bytes."""
    return bytes(entry["bytes"]) if entry.get("bytes") is not None else entry["token"].encode()


def tokens(text, entries, ids):
    """[text, id, probability] of each token; of the last one where they do not make up the text."""
    if not entries:
        return [[text, ids[-1] if ids else None, None]]
    numbers = [entry.get("id") for entry in entries]
    if ids is not None and len(ids) == len(entries):
        numbers = ids
    rows, held = [], b""
    for entry, number in zip(entries, numbers, strict=True):
        held += spelt(entry)
        try:
            rows.append([held.decode(), number, probability(entry)])
        except UnicodeDecodeError:
            continue
        held = b""
    if len(entries) == 1 or held or "".join(row[0] for row in rows) != text:
        return [[text, numbers[-1], probability(entries[-1])]]
    return rows


def expected_tokens(name, path, content_type):
    """[choice, role, text, id, probability] of each token of a recording."""
    found = []
    for each in objects(name, content_type):
        for choice, role, text, entries, ids in READERS[path](each):
            for row in tokens(text, entries, ids) if text else ():
                rounded = None if row[2] is None else round(row[2], 9)
                found.append([choice, role, row[0], row[1], rounded])
    return found


def main():
    for file in sorted(HERE.glob("*.expected.json")):
        name = file.name.removesuffix(".expected.json")
        kept = json.loads(file.read_text())
        kept["tokens"] = expected_tokens(name, kept["path"], kept["content_type"])
        rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in kept.pop("tokens"))
        head = json.dumps(kept, ensure_ascii=False, indent=1).removesuffix("\n}")
        file.write_text(f'{head},\n "tokens": [\n  {rows}\n ]\n}}\n')


if __name__ == "__main__":
    main()

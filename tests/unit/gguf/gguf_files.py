"""Makes small GGUF files, from the specification and not from the reader."""

import struct

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10
_CODES = {U32: "<I", F32: "<f", BOOL: "<?", U64: "<Q"}


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content: object) -> bytes:
    if kind == STRING:
        return text(content)
    if kind == ARRAY:
        element, items = content
        head = struct.pack("<IQ", element, len(items))
        return head + b"".join(value(element, item) for item in items)
    return struct.pack(_CODES[kind], content)


def entry(key: str, kind: int, content: object) -> bytes:
    return text(key) + struct.pack("<I", kind) + value(kind, content)


def tensor(name: str, dimensions: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<{len(dimensions)}Q", *dimensions)
    return (
        text(name) + struct.pack("<I", len(dimensions)) + sizes + struct.pack("<IQ", kind, offset)
    )


def gguf(
    entries: list[bytes], tensors: list[bytes] = (), *, version: int = 3, data: int = 0
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    header = head + b"".join(entries) + b"".join(tensors)
    return header + bytes(-len(header) % 32) + bytes(data)


def small_model(*, chat_template: str = "", data: int = 64) -> bytes:
    """A model of one tensor of 4 × 4 float32."""
    entries = [
        entry("general.architecture", STRING, "toy"),
        entry("general.name", STRING, "Toy 1"),
        entry("general.file_type", U32, 15),
        entry("toy.context_length", U32, 2048),
        entry("toy.embedding_length", U32, 4),
        entry("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "c"])),
    ]
    if chat_template:
        entries.append(entry("tokenizer.chat_template", STRING, chat_template))
    return gguf(entries, [tensor("token_embd.weight", (4, 4))], data=data)

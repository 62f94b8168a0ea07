"""The Hilbert curve in WGSL against the one in NumPy, on whichever adapter Vulkan offers.

lavapipe (mesa-vulkan-drivers) will do.
"""

import struct

import numpy as np
import pytest

from geoosd.compositor.adapters import render_wgpu
from geoosd.compositor.core import hilbert

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

COUNT = 4096
MAIN = """
@group(0) @binding(0) var<uniform> order: u32;
@group(0) @binding(1) var<storage, read_write> indices: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> cells: array<vec2u>;
@compute @workgroup_size(64) fn forth(@builtin(global_invocation_id) at: vec3u) {
  cells[at.x] = hilbert_cell(indices[at.x], order);
}
@compute @workgroup_size(64) fn back(@builtin(global_invocation_id) at: vec3u) {
  indices[at.x] = hilbert_index(cells[at.x], order);
}
"""


@pytest.fixture(scope="module")
def device():
    return render_wgpu.open_device()


@pytest.fixture(scope="module")
def module(device):
    return device.create_shader_module(code=render_wgpu.source("hilbert") + MAIN)


def run(device, module, entry, order, inputs, outputs):
    """One dispatch; *inputs* and *outputs* are bindings, the input of shape (COUNT, 2)."""
    pipeline = device.create_compute_pipeline(
        layout="auto", compute={"module": module, "entry_point": entry}
    )
    uniform = device.create_buffer_with_data(
        data=struct.pack("4I", order, 0, 0, 0), usage="UNIFORM"
    )
    source = device.create_buffer_with_data(data=inputs[1].astype(np.uint32), usage="STORAGE")
    target = device.create_buffer(size=COUNT * 8, usage="STORAGE | COPY_SRC")
    buffers = {0: uniform, inputs[0]: source, outputs: target}
    group = device.create_bind_group(
        layout=pipeline.get_bind_group_layout(0),
        entries=[{"binding": n, "resource": {"buffer": b}} for n, b in buffers.items()],
    )
    encoder = device.create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(pipeline)
    compute.set_bind_group(0, group)
    compute.dispatch_workgroups(COUNT // 64)
    compute.end()
    device.queue.submit([encoder.finish()])
    return np.frombuffer(device.queue.read_buffer(target), np.uint32).reshape(COUNT, 2)


@pytest.mark.parametrize("order", [1, 2, 3, 7, 8, 10, 15, 16, 17, 24, 30, 31])
def test_both_ways(device, module, order):
    random = np.random.default_rng(order)
    indices = random.integers(0, 1 << 2 * order, COUNT, np.uint64)
    indices[:2] = 0, (1 << 2 * order) - 1
    x, y = hilbert.cells_at(indices, order)
    pairs = np.stack([indices & np.uint64(0xFFFFFFFF), indices >> np.uint64(32)], axis=1)
    cells = np.stack([x, y], axis=1)
    assert (run(device, module, "forth", order, (1, pairs), 2) == cells).all()
    assert (run(device, module, "back", order, (2, cells), 1) == pairs).all()

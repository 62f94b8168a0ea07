// What a frame plan adds to its fields: stamps, ranks, dots. compose.wgsl says how they are shown.

struct Work {
  count: u32,
  entries: u32,   // of the brush; for ranks the side of a square
  columns: u32,   // of the field
  rows: u32,
  items: array<vec4i>,  // column, row, place within the pixel, energy
}

@group(0) @binding(0) var<storage, read> work: Work;
@group(0) @binding(1) var<storage, read_write> field: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read> brush: array<u32>;  // (across, down) packed; then shares

fn inside(column: i32, row: i32) -> bool {
  return column >= 0 && row >= 0 && column < i32(work.columns) && row < i32(work.rows);
}

// One invocation an entry of the brush; the second dimension counts the points.
@compute @workgroup_size(64)
fn stamp(@builtin(global_invocation_id) at: vec3u) {
  if (at.x >= work.entries) { return; }
  let item = work.items[at.y];
  let offset = brush[at.x];
  let column = item.x + (i32(offset << 16u) >> 16u);
  let row = item.y + (i32(offset) >> 16u);
  if (!inside(column, row)) { return; }
  let share = brush[work.entries + u32(item.z) * work.entries + at.x];
  atomicAdd(&field[u32(row) * work.columns + u32(column)], u32(item.w) * share >> 12u);
}

// Around each star its rank × 16 + tint, in cells of four pixels; the highest rank holds.
@compute @workgroup_size(64)
fn rank(@builtin(global_invocation_id) at: vec3u) {
  if (at.x >= work.entries * work.entries) { return; }
  let item = work.items[at.y];
  let reach = i32(work.entries) / 2;
  let column = item.x + i32(at.x % work.entries) - reach;
  let row = item.y + i32(at.x / work.entries) - reach;
  if (!inside(column, row)) { return; }
  atomicMax(&field[u32(row) * work.columns + u32(column)], u32(item.w));
}

// Two single pixels an item: index and energy, index and energy.
@compute @workgroup_size(64)
fn dots(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let number = at.x + at.y * groups.x * 64u;
  if (number >= work.count) { return; }
  let item = work.items[number / 2u];
  let even = number % 2u == 0u;
  atomicAdd(&field[u32(select(item.z, item.x, even))], u32(select(item.w, item.y, even)));
}

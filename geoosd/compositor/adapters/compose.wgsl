// A frame plan on a GPU: the twin of render_numpy.py, integer by integer (core/plan.py, core/glow.py).
//
// Passes in the order of a frame: clear, stamp (four times: dust, stars, near and far glow), dots
// (trails), rank, compose. Sums of integers do not depend on their order, so atomics give the same
// fields as NumPy's on every device. Tiles are 64 × 64 pixels; fields are padded to whole tiles,
// near and far have a margin of one and two cells more.

struct Grid {
  tile_columns: u32,
  columns: u32,      // pixels in a row of a field
  star_scale: u32,   // of 65536, at most one
  glow_scale: u32,
  tinted: u32,
  table_size: u32,
}

@group(0) @binding(0) var<uniform> grid: Grid;
@group(0) @binding(1) var<storage, read> tiles: array<u32>;
@group(0) @binding(2) var<storage, read_write> stars: array<u32>;
@group(0) @binding(3) var<storage, read_write> still: array<u32>;

// ---- clear: the tiles that are drawn anew begin as ground ---------------------------------------

@group(0) @binding(4) var<storage, read> ground: array<u32>;

@compute @workgroup_size(256)
fn clear(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tile = tiles[group.x];
  let corner = tile / grid.tile_columns * 64u * grid.columns + tile % grid.tile_columns * 64u;
  for (var pixel = thread; pixel < 4096u; pixel += 256u) {
    let at = corner + pixel / 64u * grid.columns + pixel % 64u;
    stars[at] = 0u;
    still[at] = ground[at];
  }
}

// ---- compose: every pixel of the live tiles is looked up ----------------------------------------

@group(0) @binding(5) var<storage, read> near: array<u32>;
@group(0) @binding(6) var<storage, read> far: array<u32>;
@group(0) @binding(7) var<storage, read> ranks: array<u32>;
@group(0) @binding(8) var<storage, read> table: array<u32>;
@group(0) @binding(9) var<storage, read_write> picture: array<u32>;

const LIMIT = 58982u;        // glow.LIMIT
const FAR_MOST = 268435456u; // glow.FAR_MOST

// Levels of the glow of one tile, by quarter cell, with a margin of one.
var<workgroup> soft: array<u32, 324>;

fn scaled(energy: u32, scale: u32) -> u32 {
  return (energy >> 16u) * scale + ((energy & 65535u) * scale >> 16u);
}

// Which cell, one or three eighths away on which side: as glow.enlarged has it.
fn blended(place: u32, before: u32, cell: u32, after: u32) -> u32 {
  let share = select(1u, 3u, place == 0u || place == 3u);
  return (cell * (8u - share) + select(after, before, place < 2u) * share) >> 3u;
}

fn far_at(row: u32, column: u32) -> u32 {
  return min(far[row * (grid.columns / 16u + 4u) + column], FAR_MOST);
}

fn far_in_row(row: u32, column: u32, place: u32) -> u32 {
  return blended(place, far_at(row, column - 1u), far_at(row, column), far_at(row, column + 1u));
}

fn soft_in_row(row: u32, column: u32, place: u32) -> u32 {
  let at = row * 18u + column;
  return blended(place, soft[at - 1u], soft[at], soft[at + 1u]);
}

@compute @workgroup_size(256)
fn compose(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tile = tiles[group.x];
  let tile_row = tile / grid.tile_columns;
  let tile_column = tile % grid.tile_columns;
  for (var cell = thread; cell < 324u; cell += 256u) {
    let row = cell / 18u;
    let column = cell % 18u;
    // The far field, four times as large: 3 of its margin are left over on each side.
    let far_row = tile_row * 4u + (row + 3u) / 4u + 1u;
    let far_column = tile_column * 4u + (column + 3u) / 4u + 1u;
    let across = (column + 3u) % 4u;
    let wide = blended(
      (row + 3u) % 4u,
      far_in_row(far_row - 1u, far_column, across),
      far_in_row(far_row, far_column, across),
      far_in_row(far_row + 1u, far_column, across),
    );
    let at = (tile_row * 16u + row) * (grid.columns / 4u + 2u) + tile_column * 16u + column;
    let energy = scaled(near[at] + wide, grid.glow_scale);
    // energy · LIMIT / (energy + LIMIT) in 32 bits: glow.softened
    soft[cell] = (LIMIT - 1u - (LIMIT * LIMIT - 1u) / (energy + LIMIT)) >> 6u;
  }
  workgroupBarrier();
  for (var pixel = thread; pixel < 4096u; pixel += 256u) {
    let y = pixel / 64u;
    let x = pixel % 64u;
    let row = y / 4u + 1u;
    let column = x / 4u + 1u;
    let light = blended(
      y % 4u,
      soft_in_row(row - 1u, column, x % 4u),
      soft_in_row(row, column, x % 4u),
      soft_in_row(row + 1u, column, x % 4u),
    );
    let at = (tile_row * 64u + y) * grid.columns + tile_column * 64u + x;
    let energy = scaled(stars[at], grid.star_scale) + still[at];
    var index = min((energy >> 6u) + light, 4095u);
    if (grid.tinted != 0u) {
      let quarter = (tile_row * 16u + y / 4u) * (grid.columns / 4u) + tile_column * 16u + x / 4u;
      index |= (ranks[quarter] & 15u) << 12u;
    }
    picture[at] = table[min(index, grid.table_size - 1u)];
  }
}

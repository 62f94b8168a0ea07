// The Hilbert curve on a GPU: the twin of core/hilbert.py, which says where the curve is from.
//
// An index of up to 62 bits is a pair of u32, low word first: WGSL has no 64-bit integers, and
// shifts are all that is needed. Orders 1 to 31. Higher bits than the order has are ignored.

struct Machine {
  swap: u32,
  mirror: u32,
}

// One level down: `a` and `b` are the quadrant's column and row in the curve's own orientation.
fn hilbert_next(machine: Machine, a: u32, b: u32) -> Machine {
  return Machine(machine.swap ^ (1u - b), machine.mirror ^ ((1u - b) & a));
}

fn hilbert_index(cell: vec2u, order: u32) -> vec2u {
  var machine = Machine(0u, 0u);
  var index = vec2u(0u);
  for (var level = order; level > 0u; level--) {
    let bits = (cell >> vec2u(level - 1u)) & vec2u(1u) ^ vec2u(machine.mirror);
    let a = select(bits.x, bits.y, machine.swap == 1u);
    let b = select(bits.y, bits.x, machine.swap == 1u);
    index = vec2u((index.x << 2u) | ((3u * a) ^ b), (index.y << 2u) | (index.x >> 30u));
    machine = hilbert_next(machine, a, b);
  }
  return index;
}

fn hilbert_cell(index: vec2u, order: u32) -> vec2u {
  var machine = Machine(0u, 0u);
  var cell = vec2u(0u);
  for (var level = order; level > 0u; level--) {
    let shift = 2u * (level - 1u);
    let word = select(index.x, index.y, shift >= 32u);
    let quadrant = (word >> (shift & 31u)) & 3u;
    let a = quadrant >> 1u;
    let b = (quadrant ^ a) & 1u;
    let swapped = select(vec2u(a, b), vec2u(b, a), machine.swap == 1u);
    cell = (cell << vec2u(1u)) | (swapped ^ vec2u(machine.mirror));
    machine = hilbert_next(machine, a, b);
  }
  return cell;
}

/**
 * GLSL of the map. Everything that shines adds intensity into one floating-point plane
 * (rgb: tint × intensity, a: intensity); the last pass turns intensity into the theme's ramp.
 * So a dark and a light theme need no different drawing, and decay needs no pass of its own.
 *
 * Shared uniforms: view = (x, y, scale, 0) in world units and device pixels per unit; size =
 * canvas in device pixels; now in seconds.
 */

const COMMON = `#version 300 es
precision highp float;
uniform vec4 view;
uniform vec2 size;
uniform float now;
uniform float pixel;
uniform vec3 tints[8];
vec2 toScreen(vec2 world) { return (world - view.xy) * view.z; }
vec4 toClip(vec2 screen) { return vec4(screen / (size * vec2(0.5, -0.5)), 0.0, 1.0); }
float cellPixels() { return view.z / 1024.0; }
vec4 tinted(float intensity, float model) {
  return vec4(tints[int(mod(model, 8.0))] * intensity, intensity);
}
`;

/** Lit tokens: a core with a wide halo; without a probability, an open ring. */
export const TOKEN_VERTEX = `${COMMON}
uniform float tau;
uniform float flash;
layout(location = 0) in vec2 corner;
layout(location = 1) in vec2 place;
layout(location = 2) in float activation;
layout(location = 3) in float litAt;
layout(location = 4) in float model;
out vec2 uv;
out vec4 light;
out float ring;
out float core;
out float wave;
void main() {
  float age = max(0.0, now - litAt);
  float left = exp(-age / tau);
  if (left < 0.012) { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); return; }
  ring = activation < 0.0 ? 1.0 : 0.0;
  float strength = ring > 0.5 ? 0.5 : mix(0.42, 1.0, activation);
  float radius = clamp(cellPixels() * 0.44, 2.3 * pixel, 34.0 * pixel);
  float reach = radius * 3.0 + mix(16.0, 46.0, strength * left) * pixel;
  float strike = flash * exp(-age * 5.0);
  wave = flash * min(1.0, age * 1.4);
  core = radius / reach;
  uv = corner;
  light = tinted(strength * left * (1.0 + 1.1 * strike), model);
  gl_Position = toClip(toScreen(place) + corner * reach);
}`;

export const TOKEN_FRAGMENT = `#version 300 es
precision highp float;
in vec2 uv;
in vec4 light;
in float ring;
in float core;
in float wave;
out vec4 color;
void main() {
  float d = length(uv);
  if (d > 1.0) discard;
  float edge = 1.0 - d;
  float halo = 0.52 * exp(-d * 5.0) * edge + 0.24 * exp(-d * 2.0) * edge * edge;
  float disc = 2.4 * smoothstep(core * 1.25, core * 0.45, d);
  float open = 1.5 * exp(-pow((d - core * 1.7) / (core * 0.42), 2.0));
  float ripple = wave < 1.0 ? 0.22 * (1.0 - wave) * exp(-pow((d - wave * 0.9) / 0.05, 2.0)) : 0.0;
  float shape = mix(disc + halo, open + halo * 0.35, ring) + ripple * edge;
  color = light * shape;
}`;

/** Memory: what was lit before, as faint stars; cells when close enough. */
export const MEMORY_VERTEX = `${COMMON}
layout(location = 0) in vec2 corner;
layout(location = 1) in vec2 place;
layout(location = 2) in float weight;
layout(location = 3) in float model;
out vec2 uv;
out vec4 light;
out float square;
void main() {
  float cell = cellPixels();
  square = smoothstep(5.0 * pixel, 11.0 * pixel, cell);
  float star = mix(1.7, 3.0, weight) * pixel;
  float radius = mix(star * 1.7, cell * 0.46, square);
  uv = corner;
  float strength = mix(0.16, 0.62, weight);
  light = tinted(strength * mix(1.0, 0.4, square), model);
  gl_Position = toClip(toScreen(place) + corner * radius);
}`;

export const MEMORY_FRAGMENT = `#version 300 es
precision highp float;
in vec2 uv;
in vec4 light;
in float square;
out vec4 color;
void main() {
  float star = exp(-dot(uv, uv) * 3.6);
  vec2 q = abs(uv);
  float box = smoothstep(1.0, 0.86, max(q.x, q.y));
  color = light * mix(star, box, square);
}`;

/** Trails: an arc from a token to the next, with a pulse that runs along it. */
export const TRAIL_VERTEX = `${COMMON}
uniform float tau;
uniform float flash;
layout(location = 0) in vec2 along;
layout(location = 1) in vec4 ends;
layout(location = 2) in float litAt;
layout(location = 3) in float model;
out vec2 uv;
out vec4 light;
out float head;
void main() {
  float age = max(0.0, now - litAt);
  float left = exp(-age / tau);
  if (left < 0.02) { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); return; }
  vec2 from = toScreen(ends.xy);
  vec2 to = toScreen(ends.zw);
  vec2 chord = to - from;
  vec2 bend = vec2(chord.y, -chord.x) * 0.22;
  float s = along.x;
  vec2 mid = 0.5 * (from + to) + bend;
  vec2 point = mix(mix(from, mid, s), mix(mid, to, s), s);
  vec2 tangent = mix(mid - from, to - mid, s);
  vec2 normal = vec2(-tangent.y, tangent.x) / max(length(tangent), 1e-4);
  uv = along;
  head = flash > 0.5 ? age / 0.45 : 9.0;
  light = tinted(0.5 * left, model);
  gl_Position = toClip(point + normal * along.y * 3.2 * pixel);
}`;

export const TRAIL_FRAGMENT = `#version 300 es
precision highp float;
in vec2 uv;
in vec4 light;
in float head;
out vec4 color;
void main() {
  float across = exp(-uv.y * uv.y * 5.5);
  float body = mix(0.26, 0.85, uv.x) * smoothstep(head, head - 0.12, uv.x);
  float pulse = head < 1.25 ? 1.3 * exp(-pow((uv.x - head) / 0.07, 2.0)) : 0.0;
  color = light * across * (body + pulse);
}`;

/** The curve itself, brighter towards its end, and the districts' borders; both faint. */
export const LINE_VERTEX = `${COMMON}
uniform float strength;
layout(location = 0) in vec3 place;
out float light;
void main() {
  light = strength * mix(0.75, 1.6, place.z);
  gl_Position = toClip(toScreen(place.xy));
}`;

export const LINE_FRAGMENT = `#version 300 es
precision highp float;
in float light;
out vec4 color;
void main() { color = vec4(light); }`;

/** Intensity to the theme's colours, over a background that is deeper at its edges. */
export const COMPOSE_VERTEX = `#version 300 es
layout(location = 0) in vec2 corner;
out vec2 uv;
void main() { uv = corner * 0.5 + 0.5; gl_Position = vec4(corner, 0.0, 1.0); }`;

export const COMPOSE_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D light;
uniform sampler2D ramp;
uniform vec3 background;
uniform float dark;
uniform float exposure;
in vec2 uv;
out vec4 color;
float noise(vec2 p) { return fract(sin(dot(p, vec2(12.9898, 78.233))) * 43758.5453); }
void main() {
  vec4 sum = texture(light, uv);
  float tone = 1.0 - exp(-sum.a * exposure);
  vec3 tint = sum.a > 1e-4 ? sum.rgb / sum.a : vec3(1.0);
  vec3 glow = texture(ramp, vec2((tone * 255.0 + 0.5) / 256.0, 0.5)).rgb * mix(vec3(1.0), tint, 0.7);
  float far = length((uv - vec2(0.46, 0.52)) * vec2(1.0, 0.8));
  float lift = smoothstep(0.85, 0.0, far);
  vec3 ground = mix(background * 0.985, background + vec3(0.014, 0.024, 0.046) * lift, dark);
  vec3 mixed = mix(ground, glow, smoothstep(0.0, 0.16, tone));
  mixed += (noise(gl_FragCoord.xy) - 0.5) / 220.0;
  color = vec4(mixed, 1.0);
}`;

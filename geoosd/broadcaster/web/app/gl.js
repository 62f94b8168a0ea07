/**
 * Small WebGL2 pieces: a program with its uniforms, an instanced layer, the light plane.
 *
 * The map (map.js) decides what is drawn; the shaders are in shaders.js.
 */

/** A linked program; `uniforms.name` is the location of the uniform called name. */
export function makeProgram(gl, vertexSource, fragmentSource) {
  const program = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, vertexSource],
    [gl.FRAGMENT_SHADER, fragmentSource],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
    throw new Error(`cannot link a shader: ${gl.getProgramInfoLog(program)} ${logs.join(" ")}`);
  }
  const uniforms = {};
  const count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) ?? 0;
  for (let i = 0; i < count; i++) {
    const name = gl.getActiveUniform(program, i).name.replace("[0]", "");
    uniforms[name] = gl.getUniformLocation(program, name);
  }
  return { program, uniforms };
}

/**
 * One mesh drawn many times, from a ring of instances of which only new ones are uploaded.
 *
 * @param {WebGL2RenderingContext} gl
 * @param {Float32Array} mesh       2 floats a vertex
 * @param {number[]} attributes     floats of each instance attribute, from location 1 on
 * @param {Float32Array} instances  the ring on this side; also what a lost context is rebuilt from
 */
export class InstancedLayer {
  constructor(gl, mesh, attributes, instances) {
    this.gl = gl;
    this.instances = instances;
    this.stride = attributes.reduce((sum, floats) => sum + floats, 0);
    this.vertices = mesh.length / 2;
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, mesh, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    this.buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, instances, gl.DYNAMIC_DRAW);
    let offset = 0;
    attributes.forEach((floats, i) => {
      gl.enableVertexAttribArray(i + 1);
      gl.vertexAttribPointer(i + 1, floats, gl.FLOAT, false, this.stride * 4, offset * 4);
      gl.vertexAttribDivisor(i + 1, 1);
      offset += floats;
    });
    gl.bindVertexArray(null);
  }

  /** Upload instances first .. last - 1. */
  upload(first, last) {
    const { gl, stride } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    const length = (last - first) * stride;
    gl.bufferSubData(gl.ARRAY_BUFFER, first * stride * 4, this.instances, first * stride, length);
  }

  draw(mode, count) {
    if (count === 0) return;
    this.gl.bindVertexArray(this.array);
    this.gl.drawArraysInstanced(mode, 0, this.vertices, count);
  }
}

/**
 * The plane that intensity is added up in: half floats where they can be blended, else bytes.
 */
export class LightPlane {
  constructor(gl) {
    this.gl = gl;
    const float = gl.getExtension("EXT_color_buffer_float");
    const half = float ?? gl.getExtension("EXT_color_buffer_half_float");
    this.format = half ? gl.RGBA16F : gl.RGBA8;
    this.texture = gl.createTexture();
    this.framebuffer = gl.createFramebuffer();
    this.width = 0;
    this.height = 0;
  }

  /** Make it the target of what is drawn next, cleared, of this size in device pixels. */
  begin(width, height) {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
    if (width !== this.width || height !== this.height) this.#resize(width, height);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  #resize(width, height) {
    const { gl } = this;
    gl.deleteTexture(this.texture);
    this.texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, this.format, width, height);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    const target = gl.COLOR_ATTACHMENT0;
    gl.framebufferTexture2D(gl.FRAMEBUFFER, target, gl.TEXTURE_2D, this.texture, 0);
    [this.width, this.height] = [width, height];
  }
}

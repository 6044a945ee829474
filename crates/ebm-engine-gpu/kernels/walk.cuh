// ---- a gradient step on each row (ebm_core::RowStep)

// Settings of a step of a tape: size, limit, noise before the gradient, noise after the move, clamp, low, high.
#define SETTINGS 7u

// out = x + sigma * normals; x as it is where sigma = 0. A tape's settings stand in place of sigma.
extern "C" __global__ void add_noise(
    u32 rows, u32 width, u32 k0, u32 k1, const u64 *keys, const u64 *step, const float *settings, float sigma, const u64 *chains,
    const float *x, float *out) {
    Quad q = quad_of(rows, width);
    if (!q.inside) return;
    if (settings) sigma = settings[SETTINGS * *step + 2u];
    float n[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (sigma != 0.0f) {
        Words k = words_of(k0, k1, keys, step);
        normal4(k.k0, k.k1, chains[q.row], q.quad, n);
    }
    for (u32 j = 0; j < 4u && 4u * q.quad + j < width; ++j) {
        u64 i = q.row * width + 4u * q.quad + j;
        out[i] = sigma != 0.0f ? ADD(x[i], MUL(n[j], sigma)) : x[i];
    }
}

// out = clamp(hat - limited(size * g) + sigma * normals, low, high). limit < 0: none; sigma = 0: no noise; clamp = 0: none.
// A tape's settings stand in place of all six. out may be hat.
extern "C" __global__ void row_advance(
    u32 rows, u32 width, u32 k0, u32 k1, const u64 *keys, const u64 *step, const float *settings, float size, float limit, float sigma,
    float clamp, float low, float high, const u64 *chains, const float *hat, const float *g, float *out) {
    Quad q = quad_of(rows, width);
    if (!q.inside) return;
    if (settings) {
        const float *s = settings + SETTINGS * *step;
        size = s[0];
        limit = s[1];
        sigma = s[3];
        clamp = s[4];
        low = s[5];
        high = s[6];
    }
    float n[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (sigma != 0.0f) {
        Words k = words_of(k0, k1, keys, step);
        normal4(k.k0, k.k1, chains[q.row], q.quad, n);
    }
    for (u32 j = 0; j < 4u && 4u * q.quad + j < width; ++j) {
        u64 i = q.row * width + 4u * q.quad + j;
        float d = MUL(g[i], size);
        // Comparisons that keep NaN, as the host's clamp does.
        if (limit >= 0.0f) d = d < -limit ? -limit : (d > limit ? limit : d);
        float y = ADD(hat[i], -d);
        if (sigma != 0.0f) y = ADD(y, MUL(n[j], sigma));
        if (clamp != 0.0f) y = y < low ? low : (y > high ? high : y);
        out[i] = y;
    }
}

// out (rows) = mean square of each row; one block a row.
extern "C" __global__ void row_mean_square(u32 width, const float *x, float *out) {
    __shared__ float shared[256];
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        float v = x[(u64)blockIdx.x * width + i];
        sum += v * v;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0u) out[blockIdx.x] = sum / (float)width;
}

// A step of a tape: its energies and mean squares of gradients, each (rows) of (steps, rows); one block.
extern "C" __global__ void log_step(
    u32 rows, const u64 *step, const float *energy, const float *square, float *energies, float *squares) {
    u64 at = *step * rows;
    for (u32 i = threadIdx.x; i < rows; i += blockDim.x) {
        energies[at + i] = energy[i];
        squares[at + i] = square[i];
    }
}

// On to the next step; one thread.
extern "C" __global__ void next_step(u64 *step) { *step += 1u; }

// Kernels of the operators that training uses, all in f32.
//
// They include nothing, so nvcc and NVRTC compile this file as it is, and with `tests/host.h` in front a C++ compiler does: the test
// `kernels` runs them thread by thread on the processor. Nothing here depends on the launch shape except the order in which the sums
// of a block are added, which is fixed by blockDim.x alone; blocks are powers of two, at most 256 threads.

typedef unsigned int u32;
typedef unsigned long long u64;

// ---- random numbers: the bits of ebm_core::Key (Philox4x32-10, Salmon et al. 2011)

__device__ __forceinline__ void philox(u32 c[4], u32 k0, u32 k1) {
    for (int r = 0; r < 10; ++r) {
        u32 h0 = __umulhi(0xD2511F53u, c[0]), l0 = 0xD2511F53u * c[0];
        u32 h1 = __umulhi(0xCD9E8D57u, c[2]), l1 = 0xCD9E8D57u * c[2];
        c[0] = h1 ^ c[1] ^ k0;
        c[1] = l1;
        c[2] = h0 ^ c[3] ^ k1;
        c[3] = l0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

// Additions and products that no compiler fuses, as on the host: equal bits on every device.
#define ADD __fadd_rn
#define MUL __fmul_rn

// sqrt(-2 ln u) for u = (w/2^8 + 1)/2^24 in (0, 1].
__device__ __forceinline__ float radius(u32 w) {
    float u = MUL((float)((w >> 8) + 1u), 1.0f / 16777216.0f);
    u32 bits = __float_as_uint(u);
    u32 shifted = bits + (0x3f800000u - 0x3f3504f3u);
    int e = (int)(shifted >> 23) - 127;
    float m = ADD(__uint_as_float((shifted & 0x007fffffu) + 0x3f3504f3u), -1.0f);
    float z = MUL(m, m);
    float p = 7.0376836e-2f;
    p = ADD(MUL(p, m), -1.151461e-1f);
    p = ADD(MUL(p, m), 1.1676999e-1f);
    p = ADD(MUL(p, m), -1.2420141e-1f);
    p = ADD(MUL(p, m), 1.4249323e-1f);
    p = ADD(MUL(p, m), -1.6668058e-1f);
    p = ADD(MUL(p, m), 2.0000715e-1f);
    p = ADD(MUL(p, m), -2.4999994e-1f);
    p = ADD(MUL(p, m), 3.333333e-1f);
    float ln = ADD(ADD(m, ADD(MUL(MUL(p, m), z), -MUL(0.5f, z))), MUL((float)e, 0.69314718f));
    float s = MUL(-2.0f, ln);
    return __fsqrt_rn(s > 0.0f ? s : 0.0f);
}

// Sine and cosine of 2 pi w/2^32.
__device__ __forceinline__ void turn(u32 w, float *sine, float *cosine) {
    u32 q = (w + 0x20000000u) >> 30;
    int rest = (int)(w - (q << 30));
    float a = MUL((float)(rest >> 8), 6.2831855f / 16777216.0f);
    float z = MUL(a, a);
    float s = ADD(a, MUL(MUL(a, z), ADD(MUL(ADD(MUL(-1.9515296e-4f, z), 8.332161e-3f), z), -1.6666655e-1f)));
    float t = ADD(MUL(ADD(MUL(2.4433157e-5f, z), -1.3887316e-3f), z), 4.1666646e-2f);
    float c = ADD(ADD(1.0f, -MUL(0.5f, z)), MUL(MUL(z, z), t));
    float si = (q & 1u) ? c : s, co = (q & 1u) ? s : c;
    *sine = __uint_as_float(__float_as_uint(si) ^ ((q >> 1) << 31));
    *cosine = __uint_as_float(__float_as_uint(co) ^ (((q >> 1) ^ (q & 1u)) << 31));
}

// Four standard normals: block `quad` of `chain`.
__device__ __forceinline__ void normal4(u32 k0, u32 k1, u64 chain, u32 quad, float n[4]) {
    u32 c[4] = {quad, 0u, (u32)chain, (u32)(chain >> 32)};
    philox(c, k0, k1);
    for (int pair = 0; pair < 2; ++pair) {
        float r = radius(c[2 * pair]), s, co;
        turn(c[2 * pair + 1], &s, &co);
        n[2 * pair] = MUL(r, co);
        n[2 * pair + 1] = MUL(r, s);
    }
}

// The key's words: those given, or of the step that a tape is at.
struct Words {
    u32 k0, k1;
};

__device__ __forceinline__ Words words_of(u32 k0, u32 k1, const u64 *keys, const u64 *step) {
    Words k = {k0, k1};
    if (keys) {
        u64 both = keys[*step];
        k.k0 = (u32)both;
        k.k1 = (u32)(both >> 32);
    }
    return k;
}

// What a thread of a launch over quads of rows works on.
struct Quad {
    u64 row;
    u32 quad;
    bool inside;
};

__device__ __forceinline__ Quad quad_of(u32 rows, u32 width) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    u32 quads = (width + 3u) / 4u;
    Quad q;
    q.row = i / quads;
    q.quad = (u32)(i - q.row * quads);
    q.inside = q.row < rows;
    return q;
}

// out (rows, width) = standard normals of the chains.
extern "C" __global__ void normal_rows(
    u32 rows, u32 width, u32 k0, u32 k1, const u64 *keys, const u64 *step, const u64 *chains, float *out) {
    Quad q = quad_of(rows, width);
    if (!q.inside) return;
    Words k = words_of(k0, k1, keys, step);
    float n[4];
    normal4(k.k0, k.k1, chains[q.row], q.quad, n);
    for (u32 j = 0; j < 4u && 4u * q.quad + j < width; ++j) out[q.row * width + 4u * q.quad + j] = n[j];
}

// out (rows, width) = uniform numbers in [0, 1) of the chains, 24 bits.
extern "C" __global__ void uniform_rows(
    u32 rows, u32 width, u32 k0, u32 k1, const u64 *keys, const u64 *step, const u64 *chains, float *out) {
    Quad q = quad_of(rows, width);
    if (!q.inside) return;
    u64 chain = chains[q.row];
    u32 c[4] = {q.quad, 0u, (u32)chain, (u32)(chain >> 32)};
    Words k = words_of(k0, k1, keys, step);
    philox(c, k.k0, k.k1);
    for (u32 j = 0; j < 4u && 4u * q.quad + j < width; ++j)
        out[q.row * width + 4u * q.quad + j] = MUL((float)(c[j] >> 8), 1.0f / 16777216.0f);
}

// ---- a gradient step on each row (ebm_core::RowStep)

// out = x + sigma * normals.
extern "C" __global__ void add_noise(
    u32 rows, u32 width, u32 k0, u32 k1, const u64 *keys, const u64 *step, float sigma, const u64 *chains, const float *x, float *out) {
    Quad q = quad_of(rows, width);
    if (!q.inside) return;
    Words k = words_of(k0, k1, keys, step);
    float n[4];
    normal4(k.k0, k.k1, chains[q.row], q.quad, n);
    for (u32 j = 0; j < 4u && 4u * q.quad + j < width; ++j) {
        u64 i = q.row * width + 4u * q.quad + j;
        out[i] = ADD(x[i], MUL(n[j], sigma));
    }
}

// out = clamp(hat - limited(size * g) + sigma * normals, low, high). limit < 0: none; sigma = 0: no noise; clamp = 0: none.
// out may be hat.
extern "C" __global__ void row_advance(
    u32 rows, u32 width, u32 k0, u32 k1, const u64 *keys, const u64 *step, float size, float limit, float sigma, int clamp,
    float low, float high, const u64 *chains, const float *hat, const float *g, float *out) {
    Quad q = quad_of(rows, width);
    if (!q.inside) return;
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
        if (clamp) y = y < low ? low : (y > high ? high : y);
        out[i] = y;
    }
}

// ---- sums of a block

__device__ __forceinline__ float block_sum(float v, float *shared) {
    shared[threadIdx.x] = v;
    __syncthreads();
    for (u32 half = blockDim.x / 2u; half > 0u; half /= 2u) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    float sum = shared[0];
    __syncthreads();
    return sum;
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

// The end of a step of a tape: its energies and mean squares of gradients, each (rows) of (steps, rows), and on to the next step.
// One block, as the step is read by all of it before it moves on.
extern "C" __global__ void log_step(
    u32 rows, u64 *step, const float *energy, const float *square, float *energies, float *squares) {
    u64 at = *step * rows;
    for (u32 i = threadIdx.x; i < rows; i += blockDim.x) {
        energies[at + i] = energy[i];
        squares[at + i] = square[i];
    }
    __syncthreads();
    if (threadIdx.x == 0u) *step += 1u;
}

// ---- softmax of rows, one block a row

__device__ __forceinline__ float block_max(float v, float *shared) {
    shared[threadIdx.x] = v;
    __syncthreads();
    for (u32 half = blockDim.x / 2u; half > 0u; half /= 2u) {
        if (threadIdx.x < half) shared[threadIdx.x] = fmaxf(shared[threadIdx.x], shared[threadIdx.x + half]);
        __syncthreads();
    }
    float most = shared[0];
    __syncthreads();
    return most;
}

extern "C" __global__ void softmax(u32 width, const float *x, float *y) {
    __shared__ float shared[256];
    u64 base = (u64)blockIdx.x * width;
    float most = x[base];
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) most = fmaxf(most, x[base + i]);
    most = block_max(most, shared);
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        float e = expf(x[base + i] - most);
        y[base + i] = e;
        sum += e;
    }
    float scale = 1.0f / block_sum(sum, shared);
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) y[base + i] *= scale;
}

// gx = y (g - sum of g y).
extern "C" __global__ void softmax_back(u32 width, const float *y, const float *g, float *gx) {
    __shared__ float shared[256];
    u64 base = (u64)blockIdx.x * width;
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) sum += g[base + i] * y[base + i];
    sum = block_sum(sum, shared);
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) gx[base + i] = y[base + i] * (g[base + i] - sum);
}

// ---- neighbours

// out (n, m) = Euclidean distances of the rows of x (n, width) from those of bank (m, width), from differences: what is close keeps its
// digits. Blocks of 16 x 16 threads, a distance each; `across` of them side by side.
extern "C" __global__ void row_distances(u32 n, u32 m, u32 width, u32 across, const float *x, const float *bank, float *out) {
    __shared__ float a[16 * 17], b[16 * 17];
    u32 col = threadIdx.x % 16u, row = threadIdx.x / 16u;
    u32 i0 = blockIdx.x / across * 16u, j0 = blockIdx.x % across * 16u;
    float sum = 0.0f;
    for (u32 from = 0; from < width; from += 16u) {
        u32 k = from + col;
        a[row * 17u + col] = i0 + row < n && k < width ? x[(u64)(i0 + row) * width + k] : 0.0f;
        b[row * 17u + col] = j0 + row < m && k < width ? bank[(u64)(j0 + row) * width + k] : 0.0f;
        __syncthreads();
        // The sum of each sixteen apart, so that rounding does not grow with the whole width.
        float part = 0.0f;
        for (u32 q = 0; q < 16u; ++q) {
            float d = a[row * 17u + q] - b[col * 17u + q];
            part += d * d;
        }
        sum += part;
        __syncthreads();
    }
    if (i0 + row < n && j0 + col < m) out[(u64)(i0 + row) * m + j0 + col] = sqrtf(sum);
}

// Of each row of distances (n, m) the k-th smallest above `exclude`, the first of equals first, its place, and how many there are above
// `exclude`; NaN and 0 if fewer than k. One block a row.
extern "C" __global__ void kth_smallest(
    u32 m, u32 k, float exclude, const float *distances, float *distance, u32 *place, u32 *counted) {
    __shared__ float best[256];
    __shared__ u32 at[256];
    const float *row = distances + (u64)blockIdx.x * m;
    u32 count = 0;
    for (u32 j = threadIdx.x; j < m; j += blockDim.x) count += row[j] > exclude ? 1u : 0u;
    at[threadIdx.x] = count;
    __syncthreads();
    for (u32 half = blockDim.x / 2u; half > 0u; half /= 2u) {
        if (threadIdx.x < half) at[threadIdx.x] += at[threadIdx.x + half];
        __syncthreads();
    }
    count = at[0];
    __syncthreads();
    // The one found last; m: none yet.
    float d = exclude;
    u32 p = m;
    for (u32 pass = 0; pass < k && pass < count; ++pass) {
        float low = 0.0f;
        u32 where = m;
        for (u32 j = threadIdx.x; j < m; j += blockDim.x) {
            bool after = p == m ? row[j] > exclude : row[j] > d || (row[j] == d && j > p);
            if (after && (where == m || row[j] < low)) {
                low = row[j];
                where = j;
            }
        }
        best[threadIdx.x] = low;
        at[threadIdx.x] = where;
        __syncthreads();
        for (u32 half = blockDim.x / 2u; half > 0u; half /= 2u) {
            if (threadIdx.x < half) {
                u32 other = at[threadIdx.x + half], mine = at[threadIdx.x];
                float theirs = best[threadIdx.x + half];
                bool better = other < m && (mine == m || theirs < best[threadIdx.x] || (theirs == best[threadIdx.x] && other < mine));
                if (better) {
                    best[threadIdx.x] = theirs;
                    at[threadIdx.x] = other;
                }
            }
            __syncthreads();
        }
        d = best[0];
        p = at[0];
        __syncthreads();
    }
    if (threadIdx.x == 0u) {
        bool found = count >= k;
        distance[blockIdx.x] = found ? d : __uint_as_float(0x7fc00000u);
        place[blockIdx.x] = found ? p : 0u;
        counted[blockIdx.x] = count;
    }
}

// ---- pointwise functions (ebm_core::plan::Activation), numbered as in operators.rs

__device__ __forceinline__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

__device__ __forceinline__ float activate(int f, float slope, float z) {
    switch (f) {
        case 1: return z * sigmoid(z);
        case 2: return z > 0.0f ? z : (z <= 0.0f ? 0.0f : z);
        case 3: return z > 0.0f ? z : slope * z;
        case 4: return tanhf(z);
        case 5: return (z > 0.0f ? z : 0.0f) + log1pf(expf(-fabsf(z)));
        case 6: return sigmoid(z);
        case 7: return z * z;
        default: return z;
    }
}

__device__ __forceinline__ float activate_slope(int f, float slope, float z) {
    switch (f) {
        case 1: {
            float s = sigmoid(z);
            return s * (1.0f + z * (1.0f - s));
        }
        case 2: return z > 0.0f ? 1.0f : 0.0f;
        case 3: return z > 0.0f ? 1.0f : slope;
        case 4: {
            float t = tanhf(z);
            return 1.0f - t * t;
        }
        case 5: return sigmoid(z);
        case 6: {
            float s = sigmoid(z);
            return s * (1.0f - s);
        }
        case 7: return 2.0f * z;
        default: return 1.0f;
    }
}

// ---- norm, affine maps and a pointwise function in one pass
//
// x (B, C, S) in groups of C/G channels; one block a group. z = gain2 * (gain * n(x) + shift) + shift2, y = f(z) + skip with n the group
// norm where `norm`, else the identity. gain, shift (C), gain2, shift2 (B, C) and skip (B, C, S) may be null.

struct Affine {
    float gain, shift;
};

__device__ __forceinline__ Affine affine_of(
    u64 bc, u32 c, const float *gain, const float *shift, const float *gain2, const float *shift2) {
    Affine a;
    a.gain = gain ? gain[c] : 1.0f;
    a.shift = shift ? shift[c] : 0.0f;
    if (gain2) {
        a.gain *= gain2[bc];
        a.shift *= gain2[bc];
    }
    if (shift2) a.shift += shift2[bc];
    return a;
}

extern "C" __global__ void norm_act(
    u32 channels, u32 groups, u32 space, int norm, int f, float slope, const float *x, const float *gain, const float *shift,
    const float *gain2, const float *shift2, const float *skip, float *y, float *stats, float epsilon) {
    __shared__ float shared[256];
    u32 per = channels / groups, count = per * space, group = blockIdx.x % groups;
    u64 base = (u64)blockIdx.x * count, plane = (u64)(blockIdx.x / groups) * channels + (u64)group * per;
    float mean = 0.0f, scale = 1.0f;
    if (norm) {
        float sum = 0.0f;
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) sum += x[base + i];
        mean = block_sum(sum, shared) / (float)count;
        sum = 0.0f;
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
            float d = x[base + i] - mean;
            sum += d * d;
        }
        scale = 1.0f / sqrtf(block_sum(sum, shared) / (float)count + epsilon);
        if (threadIdx.x == 0u) {
            stats[2u * blockIdx.x] = mean;
            stats[2u * blockIdx.x + 1u] = scale;
        }
    }
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
        u32 c = i / space;
        Affine a = affine_of(plane + c, group * per + c, gain, shift, gain2, shift2);
        float v = activate(f, slope, a.gain * ((x[base + i] - mean) * scale) + a.shift);
        y[base + i] = skip ? v + skip[base + i] : v;
    }
}

// gx of norm_act from gy; `stats` as norm_act wrote them.
extern "C" __global__ void norm_act_back(
    u32 channels, u32 groups, u32 space, int norm, int f, float slope, const float *x, const float *gain, const float *shift,
    const float *gain2, const float *shift2, const float *stats, const float *gy, float *gx) {
    __shared__ float shared[256];
    u32 per = channels / groups, count = per * space, group = blockIdx.x % groups;
    u64 base = (u64)blockIdx.x * count, plane = (u64)(blockIdx.x / groups) * channels + (u64)group * per;
    float mean = 0.0f, scale = 1.0f, first = 0.0f, second = 0.0f;
    if (norm) {
        mean = stats[2u * blockIdx.x];
        scale = stats[2u * blockIdx.x + 1u];
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
            u32 c = i / space;
            Affine a = affine_of(plane + c, group * per + c, gain, shift, gain2, shift2);
            float n = (x[base + i] - mean) * scale;
            float g = a.gain * gy[base + i] * activate_slope(f, slope, a.gain * n + a.shift);
            first += g;
            second += g * n;
        }
        first = block_sum(first, shared) / (float)count;
        second = block_sum(second, shared) / (float)count;
    }
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
        u32 c = i / space;
        Affine a = affine_of(plane + c, group * per + c, gain, shift, gain2, shift2);
        float n = (x[base + i] - mean) * scale;
        float g = a.gain * gy[base + i] * activate_slope(f, slope, a.gain * n + a.shift);
        gx[base + i] = norm ? scale * (g - first - n * second) : g;
    }
}

// out (2, B, C): gradients of gain2 and shift2 of norm_act from gy; one block a channel of a sample. Without gain2 they are those of a gain2
// of one and a shift2 of zero.
extern "C" __global__ void norm_act_affine(
    u32 channels, u32 groups, u32 space, int norm, int f, float slope, const float *x, const float *gain, const float *shift,
    const float *gain2, const float *shift2, const float *stats, const float *gy, float *out) {
    __shared__ float shared[256];
    u64 plane = blockIdx.x, base = plane * space;
    u32 c = blockIdx.x % channels;
    float mean = 0.0f, scale = 1.0f;
    if (norm) {
        u32 group = blockIdx.x / channels * groups + c / (channels / groups);
        mean = stats[2u * group];
        scale = stats[2u * group + 1u];
    }
    Affine a = affine_of(plane, c, gain, shift, gain2, shift2);
    float first = 0.0f, second = 0.0f;
    for (u32 i = threadIdx.x; i < space; i += blockDim.x) {
        float n = (x[base + i] - mean) * scale;
        float g = gy[base + i] * activate_slope(f, slope, a.gain * n + a.shift);
        first += g;
        second += g * n;
    }
    first = block_sum(first, shared);
    second = block_sum(second, shared);
    if (threadIdx.x == 0u) {
        out[plane] = (gain ? gain[c] : 1.0f) * second + (shift ? shift[c] : 0.0f) * first;
        out[(u64)gridDim.x + plane] = first;
    }
}

// ---- derivatives along a direction
//
// dy = f'(z) gain dn where x moves along dx, dn = scale (dx - mean dx - n mean(n dx)): the derivative of norm_act. stats keeps mean, scale,
// mean dx and mean(n dx) of each group.

__device__ __forceinline__ float activate_bend(int f, float z) {
    switch (f) {
        case 1: {
            float s = sigmoid(z);
            return s * (1.0f - s) * (2.0f + z * (1.0f - 2.0f * s));
        }
        case 4: {
            float t = tanhf(z);
            return -2.0f * t * (1.0f - t * t);
        }
        case 5: {
            float s = sigmoid(z);
            return s * (1.0f - s);
        }
        case 6: {
            float s = sigmoid(z);
            return s * (1.0f - s) * (1.0f - 2.0f * s);
        }
        case 7: return 2.0f;
        default: return 0.0f;
    }
}

struct Moving {
    float mean, scale, along, turn;
};

// The normalised value and its derivative.
__device__ __forceinline__ float moved(Moving m, int norm, float n, float dx) {
    return norm ? m.scale * (dx - m.along - n * m.turn) : dx;
}

__device__ __forceinline__ Moving moving_of(int norm, const float *stats, u32 group) {
    Moving m = {0.0f, 1.0f, 0.0f, 0.0f};
    if (norm) {
        m.mean = stats[4u * group];
        m.scale = stats[4u * group + 1u];
        m.along = stats[4u * group + 2u];
        m.turn = stats[4u * group + 3u];
    }
    return m;
}

extern "C" __global__ void norm_act_tangent(
    u32 channels, u32 groups, u32 space, int norm, int f, float slope, const float *x, const float *gain, const float *shift,
    const float *gain2, const float *shift2, const float *dx, float *dy, float *stats, float epsilon) {
    __shared__ float shared[256];
    u32 per = channels / groups, count = per * space, group = blockIdx.x % groups;
    u64 base = (u64)blockIdx.x * count, plane = (u64)(blockIdx.x / groups) * channels + (u64)group * per;
    Moving m = {0.0f, 1.0f, 0.0f, 0.0f};
    if (norm) {
        float sum = 0.0f, along = 0.0f;
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
            sum += x[base + i];
            along += dx[base + i];
        }
        m.mean = block_sum(sum, shared) / (float)count;
        m.along = block_sum(along, shared) / (float)count;
        sum = 0.0f;
        along = 0.0f;
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
            float d = x[base + i] - m.mean;
            sum += d * d;
            along += d * dx[base + i];
        }
        m.scale = 1.0f / sqrtf(block_sum(sum, shared) / (float)count + epsilon);
        m.turn = m.scale * block_sum(along, shared) / (float)count;
        if (threadIdx.x == 0u) {
            stats[4u * blockIdx.x] = m.mean;
            stats[4u * blockIdx.x + 1u] = m.scale;
            stats[4u * blockIdx.x + 2u] = m.along;
            stats[4u * blockIdx.x + 3u] = m.turn;
        }
    }
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
        u32 c = i / space;
        Affine a = affine_of(plane + c, group * per + c, gain, shift, gain2, shift2);
        float n = (x[base + i] - m.mean) * m.scale;
        dy[base + i] = activate_slope(f, slope, a.gain * n + a.shift) * a.gain * moved(m, norm, n, dx[base + i]);
    }
}

// What the gradient g of dy gives n and dn of an entry.
struct Pull {
    float n, dn, of_n, of_dn;
};

__device__ __forceinline__ Pull pull_of(Moving m, int norm, int f, float slope, Affine a, float x, float dx, float g) {
    Pull p;
    p.n = (x - m.mean) * m.scale;
    p.dn = moved(m, norm, p.n, dx);
    float z = a.gain * p.n + a.shift;
    p.of_n = a.gain * (g * activate_bend(f, z) * a.gain * p.dn);
    p.of_dn = a.gain * (g * activate_slope(f, slope, z));
    return p;
}

// gx and gdx from the gradient g of dy. With P u = scale (u - mean u - n mean(n u)), which is its own transpose, dn = P dx, and
// gdx = P q, gx = P p - scale (mean(q dn) n + mean(n dx) P q + mean(n q) dn) for the gradients q of dn and p of n.
extern "C" __global__ void norm_act_tangent_back(
    u32 channels, u32 groups, u32 space, int norm, int f, float slope, const float *x, const float *gain, const float *shift,
    const float *gain2, const float *shift2, const float *stats, const float *dx, const float *g, float *gx, float *gdx) {
    __shared__ float shared[256];
    u32 per = channels / groups, count = per * space, group = blockIdx.x % groups;
    u64 base = (u64)blockIdx.x * count, plane = (u64)(blockIdx.x / groups) * channels + (u64)group * per;
    Moving m = moving_of(norm, stats, blockIdx.x);
    float p = 0.0f, np = 0.0f, q = 0.0f, nq = 0.0f, qd = 0.0f;
    if (norm) {
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
            u32 c = i / space;
            Affine a = affine_of(plane + c, group * per + c, gain, shift, gain2, shift2);
            Pull e = pull_of(m, norm, f, slope, a, x[base + i], dx[base + i], g[base + i]);
            p += e.of_n;
            np += e.n * e.of_n;
            q += e.of_dn;
            nq += e.n * e.of_dn;
            qd += e.of_dn * e.dn;
        }
        p = block_sum(p, shared) / (float)count;
        np = block_sum(np, shared) / (float)count;
        q = block_sum(q, shared) / (float)count;
        nq = block_sum(nq, shared) / (float)count;
        qd = block_sum(qd, shared) / (float)count;
    }
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
        u32 c = i / space;
        Affine a = affine_of(plane + c, group * per + c, gain, shift, gain2, shift2);
        Pull e = pull_of(m, norm, f, slope, a, x[base + i], dx[base + i], g[base + i]);
        float pq = m.scale * (e.of_dn - q - e.n * nq), pp = m.scale * (e.of_n - p - e.n * np);
        gdx[base + i] = norm ? pq : e.of_dn;
        gx[base + i] = norm ? pp - m.scale * (qd * e.n + m.turn * pq + nq * e.dn) : e.of_n;
    }
}

// out (2, B, C): gradients of gain2 and shift2 from the gradient g of dy, as norm_act_affine.
extern "C" __global__ void norm_act_tangent_affine(
    u32 channels, u32 groups, u32 space, int norm, int f, float slope, const float *x, const float *gain, const float *shift,
    const float *gain2, const float *shift2, const float *stats, const float *dx, const float *g, float *out) {
    __shared__ float shared[256];
    u64 plane = blockIdx.x, base = plane * space;
    u32 c = blockIdx.x % channels;
    Moving m = moving_of(norm, stats, blockIdx.x / channels * groups + c / (channels / groups));
    Affine a = affine_of(plane, c, gain, shift, gain2, shift2);
    float first = 0.0f, second = 0.0f;
    for (u32 i = threadIdx.x; i < space; i += blockDim.x) {
        float n = (x[base + i] - m.mean) * m.scale, dn = moved(m, norm, n, dx[base + i]), z = a.gain * n + a.shift;
        float gz = g[base + i] * activate_bend(f, z) * a.gain * dn;
        first += gz;
        second += gz * n + g[base + i] * activate_slope(f, slope, z) * dn;
    }
    first = block_sum(first, shared);
    second = block_sum(second, shared);
    if (threadIdx.x == 0u) {
        out[plane] = (gain ? gain[c] : 1.0f) * second + (shift ? shift[c] : 0.0f) * first;
        out[(u64)gridDim.x + plane] = first;
    }
}

// ---- pooling: rule 0 is the 3-average of stride 2 with zero padding counted, 1 the blur of stride 2 with reflected border, 2 the
// average of `size` side by side (ebm_core::plan::Pool). Each is a product of one rule for rows and one for columns.

// Share of input `i` of `n` in output `o`.
__device__ __forceinline__ float share(int rule, int size, int o, int i, int n) {
    if (rule == 0) return i >= 2 * o - 1 && i <= 2 * o + 1 ? 1.0f / 3.0f : 0.0f;
    if (rule == 2) return i / size == o ? 1.0f / (float)size : 0.0f;
    float sum = 0.0f;
    for (int tap = 0; tap < 3; ++tap) {
        int at = 2 * o + tap - 1;
        if (at < 0) at = n > 1 ? 1 : 0;
        if (at >= n) at = n > 1 ? n - 2 : 0;
        if (at == i) sum += tap == 1 ? 0.5f : 0.25f;
    }
    return sum;
}

__device__ __forceinline__ void window(int rule, int size, int o, int n, int *from, int *to) {
    *from = rule == 2 ? o * size : 2 * o - 1;
    *to = rule == 2 ? o * size + size : 2 * o + 2;
    if (*from < 0) *from = 0;
    if (*to > n) *to = n;
}

// y (planes, m, k) from x (planes, h, w).
extern "C" __global__ void pool(u32 planes, int rule, int size, int h, int w, int m, int k, const float *x, float *y) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)planes * m * k) return;
    int col = (int)(i % k), row = (int)(i / k % m);
    const float *from = x + i / ((u64)m * k) * h * w;
    int r0, r1, c0, c1;
    window(rule, size, row, h, &r0, &r1);
    window(rule, size, col, w, &c0, &c1);
    float sum = 0.0f;
    for (int r = r0; r < r1; ++r) {
        float line = 0.0f;
        for (int c = c0; c < c1; ++c) line += share(rule, size, col, c, w) * from[r * w + c];
        sum += share(rule, size, row, r, h) * line;
    }
    y[i] = sum;
}

// gx (planes, h, w) from gy (planes, m, k): the transpose.
extern "C" __global__ void pool_back(u32 planes, int rule, int size, int h, int w, int m, int k, const float *gy, float *gx) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)planes * h * w) return;
    int col = (int)(i % w), row = (int)(i / w % h);
    const float *from = gy + i / ((u64)h * w) * m * k;
    int stride = rule == 2 ? size : 2, reach = rule == 2 ? 0 : 1;
    int r0 = (row - 2 * reach) / stride, r1 = (row + 2 * reach) / stride + 1;
    int c0 = (col - 2 * reach) / stride, c1 = (col + 2 * reach) / stride + 1;
    if (r0 < 0) r0 = 0;
    if (c0 < 0) c0 = 0;
    if (r1 > m) r1 = m;
    if (c1 > k) c1 = k;
    float sum = 0.0f;
    for (int r = r0; r < r1; ++r) {
        float line = 0.0f;
        for (int c = c0; c < c1; ++c) line += share(rule, size, c, col, w) * from[r * k + c];
        sum += share(rule, size, r, row, h) * line;
    }
    gx[i] = sum;
}

// ---- Adam with an average of the parameters (Kingma, Ba 2015; ebm-optimisers), one thread an entry
//
// m = b1 m + c1 g with g times `clip`; v = b2 v + c2 g^2; p = keep p - step m / (sqrt(v)/root + epsilon); c1 = 1 - b1 and c2 = 1 - b2
// come from the host, as they lose digits in f32. a = decay a + (1 - decay) p. b1 = 0: m is g and not kept (null); a may be null.
extern "C" __global__ void adam(
    u64 n, float clip, float b1, float c1, float b2, float c2, float root, float step, float epsilon, float keep, float decay, const float *p,
    const float *g, const float *m, const float *v, const float *a, float *p2, float *m2, float *v2, float *a2) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float d = g[i] * clip;
    float first = m ? b1 * m[i] + c1 * d : d;
    float second = b2 * v[i] + c2 * d * d;
    float q = p[i] * keep - step * first / (sqrtf(second) / root + epsilon);
    p2[i] = q;
    v2[i] = second;
    if (m) m2[i] = first;
    if (a) a2[i] = decay * a[i] + (1.0f - decay) * q;
}

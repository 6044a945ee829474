// ---- pointwise functions (ebm_core::plan::Activation), numbered as in operators.rs

__device__ __forceinline__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

// What they leave of 1, without a difference: 1 - sigmoid(z) and 1 - tanh(z)^2.
__device__ __forceinline__ float rest(float z) { return 1.0f / (1.0f + expf(z)); }
__device__ __forceinline__ float bell(float z) {
    float e = expf(-2.0f * fabsf(z));
    return 4.0f * e / ((1.0f + e) * (1.0f + e));
}

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
        case 1: return sigmoid(z) * (1.0f + z * rest(z));
        case 2: return z > 0.0f ? 1.0f : 0.0f;
        case 3: return z > 0.0f ? 1.0f : slope;
        case 4: return bell(z);
        case 5: return sigmoid(z);
        case 6: return sigmoid(z) * rest(z);
        case 7: return 2.0f * z;
        default: return 1.0f;
    }
}

// ---- norm, affine maps and a pointwise function in one pass
//
// x (B, C, S) in groups of C/G channels; one block a group. z = gain2 * (gain * n(x) + shift) + shift2, y = f(z) + skip with n the group
// norm where `norm`, else the identity. gain, shift (C), gain2, shift2 (B, C) and skip (B, C, S) may be null.
//
// Groups are taken from their first entry before anything is summed, and their means are kept as distances from it: at a level far above
// their contrast the mean itself has no digits for what they differ by.

// Entry i of the group that begins at x, less its mean, which lies `mean` above the first entry.
__device__ __forceinline__ float centred(const float *x, u32 i, float mean) { return (x[i] - x[0]) - mean; }

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
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) sum += x[base + i] - x[base];
        mean = block_sum(sum, shared) / (float)count;
        sum = 0.0f;
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
            float d = centred(x + base, i, mean);
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
        float n = norm ? centred(x + base, i, mean) * scale : x[base + i];
        float v = activate(f, slope, a.gain * n + a.shift);
        y[base + i] = skip ? v + skip[base + i] : v;
    }
}

// Entry i of a gradient that came in one part or in two.
__device__ __forceinline__ float in_parts(const float *g, const float *more, u64 i) { return more ? ADD(g[i], more[i]) : g[i]; }

// gx of norm_act from gy, or from gy + gy2, which is written to `total` if that is not null; `stats` as norm_act wrote them.
extern "C" __global__ void norm_act_back(
    u32 channels, u32 groups, u32 space, int norm, int f, float slope, const float *x, const float *gain, const float *shift,
    const float *gain2, const float *shift2, const float *stats, const float *gy, const float *gy2,
    float *gx, float *total) {
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
            float n = centred(x + base, i, mean) * scale;
            float g = a.gain * in_parts(gy, gy2, base + i) * activate_slope(f, slope, a.gain * n + a.shift);
            first += g;
            second += g * n;
        }
        first = block_sum(first, shared) / (float)count;
        second = block_sum(second, shared) / (float)count;
    }
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
        u32 c = i / space;
        Affine a = affine_of(plane + c, group * per + c, gain, shift, gain2, shift2);
        float n = norm ? centred(x + base, i, mean) * scale : x[base + i];
        float g = a.gain * in_parts(gy, gy2, base + i) * activate_slope(f, slope, a.gain * n + a.shift);
        if (total) total[base + i] = in_parts(gy, gy2, base + i);
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
    u32 per = channels / groups;
    u64 start = base - (u64)(c % per) * space; // of the group
    if (norm) {
        u32 group = blockIdx.x / channels * groups + c / per;
        mean = stats[2u * group];
        scale = stats[2u * group + 1u];
    }
    Affine a = affine_of(plane, c, gain, shift, gain2, shift2);
    float first = 0.0f, second = 0.0f;
    for (u32 i = threadIdx.x; i < space; i += blockDim.x) {
        float n = norm ? centred(x + start, (u32)(base - start) + i, mean) * scale : x[base + i];
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

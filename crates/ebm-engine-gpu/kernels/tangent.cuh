// ---- derivatives along a direction
//
// dy = f'(z) gain dn where x moves along dx, dn = scale (dx - mean dx - n mean(n dx)): the derivative of norm_act. stats keeps mean, scale,
// mean dx and mean(n dx) of each group, the means as distances from the first entries.

__device__ __forceinline__ float activate_bend(int f, float z) {
    switch (f) {
        case 1: {
            float s = sigmoid(z), q = rest(z);
            return s * q * (2.0f + z * (q - s));
        }
        case 4: return -2.0f * tanhf(z) * bell(z);
        case 5: return sigmoid(z) * rest(z);
        case 6: {
            float s = sigmoid(z), q = rest(z);
            return s * q * (q - s);
        }
        case 7: return 2.0f;
        default: return 0.0f;
    }
}

struct Moving {
    float mean, scale, along, turn;
};

// The normalised value of entry i of the group that begins at x, and its derivative, of a value n and the tangents from dx on.
__device__ __forceinline__ float still(Moving m, int norm, const float *x, u32 i) {
    return norm ? centred(x, i, m.mean) * m.scale : x[i];
}
__device__ __forceinline__ float moved(Moving m, int norm, float n, const float *dx, u32 i) {
    return norm ? m.scale * (centred(dx, i, m.along) - n * m.turn) : dx[i];
}

__device__ __forceinline__ Moving moving_of(int norm, const float *stats, u32 group) {
    Moving m = {0.0f, 1.0f, 0.0f, 0.0f};
    if (norm) {
        const float *kept = stats + (u64)group * 4u;
        m.mean = kept[0];
        m.scale = kept[1];
        m.along = kept[2];
        m.turn = kept[3];
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
            sum += x[base + i] - x[base];
            along += dx[base + i] - dx[base];
        }
        m.mean = block_sum(sum, shared) / (float)count;
        m.along = block_sum(along, shared) / (float)count;
        sum = 0.0f;
        along = 0.0f;
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
            float d = centred(x + base, i, m.mean);
            sum += d * d;
            along += d * centred(dx + base, i, m.along);
        }
        m.scale = 1.0f / sqrtf(block_sum(sum, shared) / (float)count + epsilon);
        m.turn = m.scale * block_sum(along, shared) / (float)count;
        if (threadIdx.x == 0u) {
            float *kept = stats + (u64)blockIdx.x * 4u;
            kept[0] = m.mean;
            kept[1] = m.scale;
            kept[2] = m.along;
            kept[3] = m.turn;
        }
    }
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
        u32 c = i / space;
        Affine a = affine_of(plane + c, group * per + c, gain, shift, gain2, shift2);
        float n = still(m, norm, x + base, i);
        dy[base + i] = activate_slope(f, slope, a.gain * n + a.shift) * a.gain * moved(m, norm, n, dx + base, i);
    }
}

// What the gradient g of dy gives n and dn of an entry.
struct Pull {
    float n, dn, of_n, of_dn;
};

__device__ __forceinline__ Pull pull_of(
    Moving m, int norm, int f, float slope, Affine a, const float *x, const float *dx, u32 i, float g) {
    Pull p;
    p.n = still(m, norm, x, i);
    p.dn = moved(m, norm, p.n, dx, i);
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
            Pull e = pull_of(m, norm, f, slope, a, x + base, dx + base, i, g[base + i]);
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
        Pull e = pull_of(m, norm, f, slope, a, x + base, dx + base, i, g[base + i]);
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
    u32 c = blockIdx.x % channels, per = channels / groups, from = c % per * space;
    u64 start = base - from; // of the group
    Moving m = moving_of(norm, stats, blockIdx.x / channels * groups + c / per);
    Affine a = affine_of(plane, c, gain, shift, gain2, shift2);
    float first = 0.0f, second = 0.0f;
    for (u32 i = threadIdx.x; i < space; i += blockDim.x) {
        float n = still(m, norm, x + start, from + i), dn = moved(m, norm, n, dx + start, from + i), z = a.gain * n + a.shift;
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

// ---- images whose channels come last, (B, P, C) with P places, kept in f32 or bfloat16; everything is computed in f32
//
// A thread takes a pack of neighbouring channels of a place: 16 bytes where the channels are whole packs, else one number. The four kinds are
// kernels of their own, whose names end in f1, f4, b1, b8.

struct alignas(16) Pack {
    u32 word[4];
};

// bfloat16 is the upper half of f32; rounded to the nearest, to even where two are near.
__device__ __forceinline__ float wide(u32 half) { return __uint_as_float(half << 16); }
__device__ __forceinline__ u32 narrow(float v) {
    u32 bits = __float_as_uint(v);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

struct F1 {
    enum { N = 1 };
    static __device__ __forceinline__ void load(const void *p, u64 i, float *v) { v[0] = ((const float *)p)[i]; }
    static __device__ __forceinline__ void store(void *p, u64 i, const float *v) { ((float *)p)[i] = v[0]; }
};
struct F4 {
    enum { N = 4 };
    static __device__ __forceinline__ void load(const void *p, u64 i, float *v) {
        Pack k = ((const Pack *)p)[i];
        for (int j = 0; j < 4; ++j) v[j] = __uint_as_float(k.word[j]);
    }
    static __device__ __forceinline__ void store(void *p, u64 i, const float *v) {
        Pack k;
        for (int j = 0; j < 4; ++j) k.word[j] = __float_as_uint(v[j]);
        ((Pack *)p)[i] = k;
    }
};
struct B1 {
    enum { N = 1 };
    static __device__ __forceinline__ void load(const void *p, u64 i, float *v) { v[0] = wide(((const unsigned short *)p)[i]); }
    static __device__ __forceinline__ void store(void *p, u64 i, const float *v) {
        ((unsigned short *)p)[i] = (unsigned short)narrow(v[0]);
    }
};
struct B8 {
    enum { N = 8 };
    static __device__ __forceinline__ void load(const void *p, u64 i, float *v) {
        Pack k = ((const Pack *)p)[i];
        for (int j = 0; j < 4; ++j) {
            v[2 * j] = wide(k.word[j] & 0xffffu);
            v[2 * j + 1] = __uint_as_float(k.word[j] & 0xffff0000u);
        }
    }
    static __device__ __forceinline__ void store(void *p, u64 i, const float *v) {
        Pack k;
        for (int j = 0; j < 4; ++j) k.word[j] = narrow(v[2 * j]) | narrow(v[2 * j + 1]) << 16;
        ((Pack *)p)[i] = k;
    }
};

// Adds what `p` holds, where there is one.
template <class K> __device__ __forceinline__ void add_to(float *v, const void *p, u64 i) {
    if (!p) return;
    float more[K::N];
    K::load(p, i, more);
    for (int j = 0; j < K::N; ++j) v[j] += more[j];
}

// What a block of the kernels below sees: `chunk` channels of one sample, lane by lane, by rows of places.
template <class K> struct Lanes {
    u32 sample, first, lanes, lane, row, rows;
    __device__ __forceinline__ Lanes(u32 channels, u32 chunk) {
        u32 chunks = channels / chunk;
        sample = blockIdx.x / chunks;
        lanes = chunk / K::N;
        rows = blockDim.x / lanes;
        lane = threadIdx.x % lanes;
        row = threadIdx.x / lanes;
        first = blockIdx.x % chunks * chunk;
    }
    // The pack of this thread at a place.
    __device__ __forceinline__ u64 at(u32 channels, u32 space, u32 place) const {
        return (((u64)sample * space + place) * channels + first) / K::N + lane;
    }
    // This thread's first channel.
    __device__ __forceinline__ u32 channel() const { return first + lane * K::N; }
};

// Sums of `v` over all rows, then over each `per` neighbouring channels of the chunk: into `sums`, one a group. Both places have room for all
// numbers of the block.
template <class K>
__device__ __forceinline__ void group_sums(const Lanes<K> &l, u32 chunk, u32 per, const float *v, float *parts, float *sums) {
    if (l.row < l.rows) {
        for (int j = 0; j < K::N; ++j) parts[l.row * chunk + l.lane * K::N + j] = v[j];
    }
    __syncthreads();
    for (u32 c = threadIdx.x; c < chunk; c += blockDim.x) {
        float sum = 0.0f;
        for (u32 r = 0u; r < l.rows; ++r) sum += parts[r * chunk + c];
        parts[c] = sum;
    }
    __syncthreads();
    for (u32 g = threadIdx.x; g < chunk / per; g += blockDim.x) {
        float sum = 0.0f;
        for (u32 c = 0u; c < per; ++c) sum += parts[g * per + c];
        sums[g] = sum;
    }
    __syncthreads();
}

// Everything that follows the operand, as in norm.cuh: z = gain2 * (gain * n(x + before) + shift) + shift2.
template <class K> struct Maps {
    float before[K::N], gain[K::N], shift[K::N];
    __device__ __forceinline__ Maps(
        u32 sample, u32 channels, u32 c, const float *b, const float *g, const float *s, const float *g2, const float *s2) {
        for (u32 j = 0u; j < (u32)K::N; ++j) {
            Affine a = affine_of((u64)sample * channels + c + j, c + j, g, s, g2, s2);
            before[j] = b ? b[c + j] : 0.0f;
            gain[j] = a.gain;
            shift[j] = a.shift;
        }
    }
};

// The first entry of the group of channel c of a sample, from which its entries are taken.
template <class K1>
__device__ __forceinline__ float origin(const void *x, const float *before, u32 sample, u32 space, u32 channels, u32 per, u32 c) {
    u32 start = c / per * per;
    float v[1];
    K1::load(x, (u64)sample * space * channels + start, v);
    return v[0] + (before ? before[start] : 0.0f);
}

template <class K, class K1>
__device__ __forceinline__ void last_norm_act(
    u32 channels, u32 groups, u32 space, u32 chunk, int norm, int f, float slope, const void *x, const float *b, const float *gain,
    const float *shift, const float *gain2, const float *shift2, const void *skip, void *y, float *stats, float epsilon, float *parts,
    float *means, float *scales) {
    Lanes<K> l(channels, chunk);
    Maps<K> m(l.sample, channels, l.channel(), b, gain, shift, gain2, shift2);
    u32 per = channels / groups;
    float count = (float)per * (float)space, v[K::N], centre[K::N];
    for (int j = 0; j < K::N; ++j) centre[j] = norm ? origin<K1>(x, b, l.sample, space, channels, per, l.channel() + j) : 0.0f;
    if (norm) {
        float sum[K::N];
        for (int j = 0; j < K::N; ++j) sum[j] = 0.0f;
        for (u32 p = l.row; p < space && l.row < l.rows; p += l.rows) {
            K::load(x, l.at(channels, space, p), v);
            for (int j = 0; j < K::N; ++j) sum[j] += v[j] + m.before[j] - centre[j];
        }
        group_sums<K>(l, chunk, per, sum, parts, means);
        for (u32 g = threadIdx.x; g < chunk / per; g += blockDim.x) means[g] /= count;
        __syncthreads();
        for (int j = 0; j < K::N; ++j) sum[j] = 0.0f;
        for (u32 p = l.row; p < space && l.row < l.rows; p += l.rows) {
            K::load(x, l.at(channels, space, p), v);
            for (int j = 0; j < K::N; ++j) {
                float d = v[j] + m.before[j] - centre[j] - means[(l.lane * K::N + j) / per];
                sum[j] += d * d;
            }
        }
        group_sums<K>(l, chunk, per, sum, parts, scales);
        for (u32 g = threadIdx.x; g < chunk / per; g += blockDim.x) {
            scales[g] = 1.0f / sqrtf(scales[g] / count + epsilon);
            u64 at = 2u * ((u64)l.sample * groups + l.first / per + g);
            stats[at] = means[g];
            stats[at + 1u] = scales[g];
        }
        __syncthreads();
    }
    for (u32 p = l.row; p < space && l.row < l.rows; p += l.rows) {
        u64 i = l.at(channels, space, p);
        K::load(x, i, v);
        for (int j = 0; j < K::N; ++j) {
            u32 g = (l.lane * K::N + j) / per;
            float n = v[j] + m.before[j] - centre[j];
            if (norm) n = (n - means[g]) * scales[g];
            v[j] = activate(f, slope, m.gain[j] * n + m.shift[j]);
        }
        add_to<K>(v, skip, i);
        K::store(y, i, v);
    }
}

// gx of last_norm_act from g = gy + gy2 (which may be null), and g itself where `total`.
template <class K, class K1>
__device__ __forceinline__ void last_norm_act_back(
    u32 channels, u32 groups, u32 space, u32 chunk, int norm, int f, float slope, const void *x, const float *b, const float *gain,
    const float *shift, const float *gain2, const float *shift2, const float *stats, const void *gy, const void *gy2, void *gx, void *total,
    float *parts, float *firsts, float *seconds) {
    Lanes<K> l(channels, chunk);
    Maps<K> m(l.sample, channels, l.channel(), b, gain, shift, gain2, shift2);
    u32 per = channels / groups;
    float count = (float)per * (float)space, v[K::N], g[K::N], centre[K::N], mean[K::N], scale[K::N];
    for (int j = 0; j < K::N; ++j) {
        u32 c = l.channel() + j;
        u64 at = 2u * ((u64)l.sample * groups + c / per);
        centre[j] = norm ? origin<K1>(x, b, l.sample, space, channels, per, c) : 0.0f;
        mean[j] = norm ? stats[at] : 0.0f;
        scale[j] = norm ? stats[at + 1u] : 1.0f;
    }
    if (norm) {
        float first[K::N], second[K::N];
        for (int j = 0; j < K::N; ++j) first[j] = second[j] = 0.0f;
        for (u32 p = l.row; p < space && l.row < l.rows; p += l.rows) {
            u64 i = l.at(channels, space, p);
            K::load(x, i, v);
            K::load(gy, i, g);
            add_to<K>(g, gy2, i);
            for (int j = 0; j < K::N; ++j) {
                float n = (v[j] + m.before[j] - centre[j] - mean[j]) * scale[j];
                float d = m.gain[j] * g[j] * activate_slope(f, slope, m.gain[j] * n + m.shift[j]);
                first[j] += d;
                second[j] += d * n;
            }
        }
        group_sums<K>(l, chunk, per, first, parts, firsts);
        group_sums<K>(l, chunk, per, second, parts, seconds);
    }
    for (u32 p = l.row; p < space && l.row < l.rows; p += l.rows) {
        u64 i = l.at(channels, space, p);
        K::load(x, i, v);
        K::load(gy, i, g);
        add_to<K>(g, gy2, i);
        if (total) K::store(total, i, g);
        for (int j = 0; j < K::N; ++j) {
            u32 at = (l.lane * K::N + j) / per;
            float n = (v[j] + m.before[j] - centre[j] - mean[j]) * scale[j];
            float d = m.gain[j] * g[j] * activate_slope(f, slope, m.gain[j] * n + m.shift[j]);
            v[j] = norm ? scale[j] * (d - firsts[at] / count - n * (seconds[at] / count)) : d;
        }
        K::store(gx, i, v);
    }
}

// y = f(z), z = the pooled x + before; a thread a pack of y. z is kept where there is a function.
template <class K>
__device__ __forceinline__ void last_pool(
    u32 samples, u32 channels, int rule, int size, int h, int w, int m, int k, int f, float slope, const void *x, const float *b, void *y,
    void *z) {
    u32 lanes = channels / K::N;
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)samples * m * k * lanes) return;
    u32 lane = (u32)(i % lanes);
    int col = (int)(i / lanes % k), row = (int)(i / lanes / k % m);
    u64 image = i / lanes / k / m * h * w;
    int r0, r1, c0, c1;
    window(rule, size, row, h, &r0, &r1);
    window(rule, size, col, w, &c0, &c1);
    float sum[K::N], v[K::N];
    for (int j = 0; j < K::N; ++j) sum[j] = 0.0f;
    for (int r = r0; r < r1; ++r) {
        float line = share(rule, size, row, r, h);
        for (int c = c0; c < c1; ++c) {
            float part = line * share(rule, size, col, c, w);
            K::load(x, (image + r * w + c) * lanes + lane, v);
            for (int j = 0; j < K::N; ++j) sum[j] += part * (v[j] + (b ? b[lane * K::N + j] : 0.0f));
        }
    }
    if (z) {
        K::store(z, i, sum);
        // What is kept is what the way back sees.
        K::load(z, i, sum);
    }
    for (int j = 0; j < K::N; ++j) v[j] = activate(f, slope, sum[j]);
    K::store(y, i, v);
}

// gx of last_pool from gy + gy2; a thread a pack of gx.
template <class K>
__device__ __forceinline__ void last_pool_back(
    u32 samples, u32 channels, int rule, int size, int h, int w, int m, int k, int f, float slope, const void *z, const void *gy,
    const void *gy2, void *gx) {
    u32 lanes = channels / K::N;
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)samples * h * w * lanes) return;
    u32 lane = (u32)(i % lanes);
    int col = (int)(i / lanes % w), row = (int)(i / lanes / w % h);
    u64 image = i / lanes / w / h * m * k;
    int r0, r1, c0, c1;
    readers(rule, size, row, m, &r0, &r1);
    readers(rule, size, col, k, &c0, &c1);
    float sum[K::N], g[K::N], at[K::N];
    for (int j = 0; j < K::N; ++j) sum[j] = 0.0f;
    for (int r = r0; r < r1; ++r) {
        float line = share(rule, size, r, row, h);
        for (int c = c0; c < c1; ++c) {
            float part = line * share(rule, size, c, col, w);
            if (part == 0.0f) continue;
            u64 o = (image + r * k + c) * lanes + lane;
            K::load(gy, o, g);
            add_to<K>(g, gy2, o);
            if (z) K::load(z, o, at);
            for (int j = 0; j < K::N; ++j) sum[j] += part * g[j] * (z ? activate_slope(f, slope, at[j]) : 1.0f);
        }
    }
    K::store(gx, i, sum);
}

// out (B, C) in f32 = factor * sum over the places of f(x).
template <class K>
__device__ __forceinline__ void last_space(
    u32 channels, u32 space, u32 chunk, float factor, int f, float slope, const void *x, float *out, float *parts, float *sums) {
    Lanes<K> l(channels, chunk);
    float sum[K::N], v[K::N];
    for (int j = 0; j < K::N; ++j) sum[j] = 0.0f;
    for (u32 p = l.row; p < space && l.row < l.rows; p += l.rows) {
        K::load(x, l.at(channels, space, p), v);
        for (int j = 0; j < K::N; ++j) sum[j] += activate(f, slope, v[j]);
    }
    group_sums<K>(l, chunk, 1u, sum, parts, sums);
    for (u32 c = threadIdx.x; c < chunk; c += blockDim.x) out[(u64)l.sample * channels + l.first + c] = factor * sums[c];
}

// gx of last_space from g (B, C); a thread a pack.
template <class K>
__device__ __forceinline__ void last_space_back(
    u32 samples, u32 channels, u32 space, float factor, int f, float slope, const void *x, const float *g, void *gx) {
    u32 lanes = channels / K::N;
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)samples * space * lanes) return;
    u32 lane = (u32)(i % lanes);
    u64 sample = i / lanes / space;
    float v[K::N];
    K::load(x, i, v);
    for (int j = 0; j < K::N; ++j) {
        v[j] = factor * g[sample * channels + lane * K::N + j] * activate_slope(f, slope, v[j]);
    }
    K::store(gx, i, v);
}

// The kinds of a kernel. The sums of a block have room for as many packs as it has threads.
#define LAST_KIND(suffix, K, K1) \
    extern "C" __global__ void last_norm_act_##suffix( \
        u32 channels, u32 groups, u32 space, u32 chunk, int norm, int f, float slope, const void *x, const float *b, const float *gain, \
        const float *shift, const float *gain2, const float *shift2, const void *skip, void *y, float *stats, float epsilon) { \
        __shared__ float parts[256 * K::N], means[256 * K::N], scales[256 * K::N]; \
        last_norm_act<K, K1>( \
            channels, groups, space, chunk, norm, f, slope, x, b, gain, shift, gain2, shift2, skip, y, stats, epsilon, parts, means, scales); \
    } \
    extern "C" __global__ void last_norm_act_back_##suffix( \
        u32 channels, u32 groups, u32 space, u32 chunk, int norm, int f, float slope, const void *x, const float *b, const float *gain, \
        const float *shift, const float *gain2, const float *shift2, const float *stats, const void *gy, const void *gy2, void *gx, \
        void *total) { \
        __shared__ float parts[256 * K::N], firsts[256 * K::N], seconds[256 * K::N]; \
        last_norm_act_back<K, K1>( \
            channels, groups, space, chunk, norm, f, slope, x, b, gain, shift, gain2, shift2, stats, gy, gy2, gx, total, parts, firsts, \
            seconds); \
    } \
    extern "C" __global__ void last_pool_##suffix( \
        u32 samples, u32 channels, int rule, int size, int h, int w, int m, int k, int f, float slope, const void *x, const float *b, \
        void *y, void *z) { \
        last_pool<K>(samples, channels, rule, size, h, w, m, k, f, slope, x, b, y, z); \
    } \
    extern "C" __global__ void last_pool_back_##suffix( \
        u32 samples, u32 channels, int rule, int size, int h, int w, int m, int k, int f, float slope, const void *z, const void *gy, \
        const void *gy2, void *gx) { \
        last_pool_back<K>(samples, channels, rule, size, h, w, m, k, f, slope, z, gy, gy2, gx); \
    } \
    extern "C" __global__ void last_space_##suffix( \
        u32 channels, u32 space, u32 chunk, float factor, int f, float slope, const void *x, float *out) { \
        __shared__ float parts[256 * K::N], sums[256 * K::N]; \
        last_space<K>(channels, space, chunk, factor, f, slope, x, out, parts, sums); \
    } \
    extern "C" __global__ void last_space_back_##suffix( \
        u32 samples, u32 channels, u32 space, float factor, int f, float slope, const void *x, const float *g, void *gx) { \
        last_space_back<K>(samples, channels, space, factor, f, slope, x, g, gx); \
    }
LAST_KIND(f1, F1, F1)
LAST_KIND(f4, F4, F1)
LAST_KIND(b1, B1, B1)
LAST_KIND(b8, B8, B1)

// y (B, P, C) from x (B, C, P) in f32, and back; a thread a number of the result.
template <class K>
__device__ __forceinline__ void last_enter(u32 samples, u32 channels, u32 space, const float *x, void *y) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)samples * channels * space) return;
    u64 c = i % channels, p = i / channels % space, b = i / channels / space;
    float v[1] = {x[(b * channels + c) * space + p]};
    K::store(y, i, v);
}
template <class K>
__device__ __forceinline__ void last_leave(u32 samples, u32 channels, u32 space, const void *x, float *y) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)samples * channels * space) return;
    u64 p = i % space, c = i / space % channels, b = i / space / channels;
    float v[1];
    K::load(x, (b * space + p) * channels + c, v);
    y[i] = v[0];
}
#define LAST_BETWEEN(suffix, K) \
    extern "C" __global__ void last_enter_##suffix(u32 samples, u32 channels, u32 space, const float *x, void *y) { \
        last_enter<K>(samples, channels, space, x, y); \
    } \
    extern "C" __global__ void last_leave_##suffix(u32 samples, u32 channels, u32 space, const void *x, float *y) { \
        last_leave<K>(samples, channels, space, x, y); \
    }
LAST_BETWEEN(f1, F1)
LAST_BETWEEN(b1, B1)

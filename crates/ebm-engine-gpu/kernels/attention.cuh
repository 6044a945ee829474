// ---- self attention over the places of an image whose channels come last, as one kernel forth and two back
//
// `all` (B, P, 2q + C) has queries, keys and values side by side, still without their bias (2q + C). Scores are never written: a block goes
// over the keys (or queries) by tiles of 16. q is at most 32 and C at most 256, which is what the tiles have room for. Blocks of 256 threads:
// a row of 16 for each of 16 places.
//
// A row of scores is taken from its largest, and its gradients from that at the place of the largest (see softmax_back).

struct Side {
    u32 places, q, channels, width;
    u64 base; // of the sample's rows
    const float *all, *bias;
    // Number `at` of a place's row, 0 beyond the places.
    __device__ __forceinline__ float get(u32 place, u32 at) const {
        return place < places ? all[(base + place) * width + at] + bias[at] : 0.0f;
    }
};

__device__ __forceinline__ Side side_of(u32 places, u32 q, u32 channels, const float *all, const float *bias) {
    u32 tiles = (places + 15u) / 16u;
    Side s = {places, q, channels, 2u * q + channels, (u64)(blockIdx.x / tiles) * places, all, bias};
    return s;
}

// Numbers `from` to `from + count` of 16 places from `first` on, a row of `stride` each.
__device__ __forceinline__ void tile_of(const Side &s, u32 first, u32 from, u32 count, u32 stride, float *to) {
    for (u32 i = threadIdx.x; i < 16u * count; i += 256u) {
        to[i / count * stride + i % count] = s.get(first + i / count, from + i % count);
    }
}

__device__ __forceinline__ float dot(const float *a, const float *b, u32 n) {
    float sum = 0.0f;
    for (u32 i = 0u; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

// y = x + gamma * softmax(Q K') V; kept (B, P, 3): largest score, inverse of the sum, place of the largest.
template <class K>
__device__ __forceinline__ void attention(
    u32 places, u32 q, u32 channels, const float *all, const float *bias, const float *gamma, const void *x, void *y, float *kept) {
    __shared__ float queries[16 * 33], keys[16 * 33], values[16 * 256], scores[16 * 17], shares[16 * 17];
    Side s = side_of(places, q, channels, all, bias);
    u32 first = blockIdx.x % ((places + 15u) / 16u) * 16u, row = threadIdx.x / 16u, lane = threadIdx.x % 16u;
    tile_of(s, first, 0u, q, 33u, queries);
    float most = -3.0e38f, sum = 0.0f, mixed[16];
    u32 top = 0u;
    for (u32 c = 0u; c < 16u; ++c) mixed[c] = 0.0f;
    for (u32 from = 0u; from < places; from += 16u) {
        __syncthreads();
        tile_of(s, from, q, q, 33u, keys);
        tile_of(s, from, 2u * q, channels, channels, values);
        __syncthreads();
        u32 here = places - from < 16u ? places - from : 16u;
        scores[row * 17u + lane] = dot(queries + row * 33u, keys + lane * 33u, q);
        __syncthreads();
        float before = most;
        for (u32 t = 0u; t < here; ++t) {
            if (scores[row * 17u + t] > most) {
                most = scores[row * 17u + t];
                top = from + t;
            }
        }
        shares[row * 17u + lane] = lane < here ? expf(scores[row * 17u + lane] - most) : 0.0f;
        __syncthreads();
        float scale = expf(before - most);
        sum *= scale;
        for (u32 t = 0u; t < here; ++t) sum += shares[row * 17u + t];
        for (u32 c = 0u; c * 16u + lane < channels; ++c) {
            float v = mixed[c] * scale;
            for (u32 t = 0u; t < here; ++t) v += shares[row * 17u + t] * values[t * channels + c * 16u + lane];
            mixed[c] = v;
        }
    }
    u32 place = first + row;
    if (place >= places) return;
    float inverse = 1.0f / sum;
    for (u32 c = 0u; c * 16u + lane < channels; ++c) {
        u64 at = (s.base + place) * channels + c * 16u + lane;
        float v[1];
        K::load(x, at, v);
        v[0] += gamma[0] * (mixed[c] * inverse);
        K::store(y, at, v);
    }
    if (lane == 0u) {
        float *k = kept + (s.base + place) * 3u;
        k[0] = most;
        k[1] = inverse;
        k[2] = (float)top;
    }
}

// Gradients (B, P, C) times gamma of 16 places from `first` on.
template <class K>
__device__ __forceinline__ void gradient_tile(const Side &s, u32 first, const float *gamma, const void *g, const void *g2, float *to) {
    for (u32 i = threadIdx.x; i < 16u * s.channels; i += 256u) {
        u32 place = first + i / s.channels;
        float v[1] = {0.0f};
        if (place < s.places) {
            u64 at = (s.base + place) * s.channels + i % s.channels;
            K::load(g, at, v);
            add_to<K>(v, g2, at);
        }
        to[i / s.channels * (s.channels + 1u) + i % s.channels] = gamma[0] * v[0];
    }
}

// Of the queries: their part of the gradient of `all`, and for each row (B, P, 2) its gradient at the largest score and the mean of what the
// others differ by; the sum of both parts of the gradient where `total`.
template <class K>
__device__ __forceinline__ void attention_queries(
    u32 places, u32 q, u32 channels, const float *all, const float *bias, const float *gamma, const float *kept, const void *g,
    const void *g2, float *rows, float *out, void *total) {
    __shared__ float queries[16 * 33], keys[16 * 33], values[16 * 257], grads[16 * 257], weighed[16 * 17], shares[16 * 17];
    Side s = side_of(places, q, channels, all, bias);
    u32 first = blockIdx.x % ((places + 15u) / 16u) * 16u, row = threadIdx.x / 16u, lane = threadIdx.x % 16u;
    u32 place = first + row;
    tile_of(s, first, 0u, q, 33u, queries);
    gradient_tile<K>(s, first, gamma, g, g2, grads);
    const float *k = kept + (s.base + (place < places ? place : 0u)) * 3u;
    float most = k[0], inverse = k[1], mean = 0.0f, at_top = 0.0f;
    u32 top = (u32)k[2];
    __syncthreads();
    if (total) {
        for (u32 c = lane; c < channels && place < places; c += 16u) {
            u64 at = (s.base + place) * channels + c;
            float v[1];
            K::load(g, at, v);
            add_to<K>(v, g2, at);
            K::store(total, at, v);
        }
    }
    // Every thread of a row has it.
    for (u32 c = 0u; c < channels; ++c) at_top += grads[row * (channels + 1u) + c] * s.get(top, 2u * q + c);
    float of_query[2] = {0.0f, 0.0f}, of_mean[2] = {0.0f, 0.0f};
    for (u32 from = 0u; from < places; from += 16u) {
        __syncthreads();
        tile_of(s, from, q, q, 33u, keys);
        tile_of(s, from, 2u * q, channels, channels + 1u, values);
        __syncthreads();
        float share = 0.0f, g_share = 0.0f;
        if (from + lane < places) {
            share = expf(dot(queries + row * 33u, keys + lane * 33u, q) - most) * inverse;
            g_share = dot(grads + row * (channels + 1u), values + lane * (channels + 1u), channels) - at_top;
        }
        // No difference at the top itself.
        weighed[row * 17u + lane] = from + lane == top ? 0.0f : share * g_share;
        shares[row * 17u + lane] = share;
        __syncthreads();
        for (u32 t = 0u; t < 16u; ++t) {
            float w = weighed[row * 17u + t], p = shares[row * 17u + t];
            mean += w;
            for (u32 d = 0u; d < 2u && d * 16u + lane < q; ++d) {
                of_query[d] += w * keys[t * 33u + d * 16u + lane];
                of_mean[d] += p * keys[t * 33u + d * 16u + lane];
            }
        }
    }
    if (place >= places) return;
    for (u32 d = 0u; d < 2u && d * 16u + lane < q; ++d) {
        out[(s.base + place) * s.width + d * 16u + lane] = of_query[d] - mean * of_mean[d];
    }
    if (lane == 0u) {
        rows[(s.base + place) * 2u] = at_top;
        rows[(s.base + place) * 2u + 1u] = mean;
    }
}

// Of keys and values: their parts of the gradient of `all`; `rows` as attention_queries wrote them.
template <class K>
__device__ __forceinline__ void attention_keys(
    u32 places, u32 q, u32 channels, const float *all, const float *bias, const float *gamma, const float *kept, const float *rows,
    const void *g, const void *g2, float *out) {
    __shared__ float queries[16 * 33], keys[16 * 33], values[16 * 257], grads[16 * 257], weighed[16 * 17], shares[16 * 17];
    Side s = side_of(places, q, channels, all, bias);
    u32 first = blockIdx.x % ((places + 15u) / 16u) * 16u, row = threadIdx.x / 16u, lane = threadIdx.x % 16u;
    u32 place = first + row;
    tile_of(s, first, q, q, 33u, keys);
    tile_of(s, first, 2u * q, channels, channels + 1u, values);
    float of_key[2] = {0.0f, 0.0f}, of_value[16];
    for (u32 c = 0u; c < 16u; ++c) of_value[c] = 0.0f;
    for (u32 from = 0u; from < places; from += 16u) {
        __syncthreads();
        tile_of(s, from, 0u, q, 33u, queries);
        gradient_tile<K>(s, from, gamma, g, g2, grads);
        __syncthreads();
        float share = 0.0f, g_share = 0.0f;
        u32 query = from + lane;
        if (query < places) {
            const float *k = kept + (s.base + query) * 3u, *r = rows + (s.base + query) * 2u;
            share = expf(dot(queries + lane * 33u, keys + row * 33u, q) - k[0]) * k[1];
            g_share = dot(grads + lane * (channels + 1u), values + row * (channels + 1u), channels) - r[0];
            g_share = (place == (u32)k[2] ? 0.0f : g_share) - r[1];
        }
        weighed[row * 17u + lane] = share * g_share;
        shares[row * 17u + lane] = share;
        __syncthreads();
        for (u32 t = 0u; t < 16u; ++t) {
            float w = weighed[row * 17u + t], p = shares[row * 17u + t];
            for (u32 d = 0u; d < 2u && d * 16u + lane < q; ++d) of_key[d] += w * queries[t * 33u + d * 16u + lane];
            for (u32 c = 0u; c * 16u + lane < channels; ++c) of_value[c] += p * grads[t * (channels + 1u) + c * 16u + lane];
        }
    }
    if (place >= places) return;
    float *to = out + (s.base + place) * s.width + q;
    for (u32 d = 0u; d < 2u && d * 16u + lane < q; ++d) to[d * 16u + lane] = of_key[d];
    for (u32 c = 0u; c * 16u + lane < channels; ++c) to[q + c * 16u + lane] = of_value[c];
}

#define ATTENTION(suffix, K) \
    extern "C" __global__ void attention_##suffix( \
        u32 places, u32 q, u32 channels, const float *all, const float *bias, const float *gamma, const void *x, void *y, float *kept) { \
        attention<K>(places, q, channels, all, bias, gamma, x, y, kept); \
    } \
    extern "C" __global__ void attention_queries_##suffix( \
        u32 places, u32 q, u32 channels, const float *all, const float *bias, const float *gamma, const float *kept, const void *g, \
        const void *g2, float *rows, float *out, void *total) { \
        attention_queries<K>(places, q, channels, all, bias, gamma, kept, g, g2, rows, out, total); \
    } \
    extern "C" __global__ void attention_keys_##suffix( \
        u32 places, u32 q, u32 channels, const float *all, const float *bias, const float *gamma, const float *kept, const float *rows, \
        const void *g, const void *g2, float *out) { \
        attention_keys<K>(places, q, channels, all, bias, gamma, kept, rows, g, g2, out); \
    }
ATTENTION(f1, F1)
ATTENTION(b1, B1)

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

// The pooled places, of n, whose windows may reach the place `at`.
__device__ __forceinline__ void readers(int rule, int size, int at, int n, int *from, int *to) {
    int stride = rule == 2 ? size : 2, reach = rule == 2 ? 0 : 1;
    *from = (at - 2 * reach) / stride;
    *to = (at + 2 * reach) / stride + 1;
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

// gx (planes, h, w) from gy (planes, m, k), or from gy + gy2: the transpose.
extern "C" __global__ void pool_back(
    u32 planes, int rule, int size, int h, int w, int m, int k, const float *gy, const float *gy2, float *gx) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)planes * h * w) return;
    int col = (int)(i % w), row = (int)(i / w % h);
    u64 from = i / ((u64)h * w) * m * k;
    int r0, r1, c0, c1;
    readers(rule, size, row, m, &r0, &r1);
    readers(rule, size, col, k, &c0, &c1);
    float sum = 0.0f;
    for (int r = r0; r < r1; ++r) {
        float line = 0.0f;
        for (int c = c0; c < c1; ++c) line += share(rule, size, c, col, w) * in_parts(gy, gy2, from + r * k + c);
        sum += share(rule, size, r, row, h) * line;
    }
    gx[i] = sum;
}

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

// gx = y (g - sum of g y), with g taken from its value at the first of the largest y: where y has nearly all its mass there, what is left
// of the difference would be rounding.
extern "C" __global__ void softmax_back(u32 width, const float *y, const float *g, float *gx) {
    __shared__ float shared[256];
    u64 base = (u64)blockIdx.x * width;
    float most = y[base];
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) most = fmaxf(most, y[base + i]);
    most = block_max(most, shared);
    // As a number below 2^24 the place is exact; none is equal where y is not a number.
    float place = -(float)width;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        if (y[base + i] == most) place = fmaxf(place, -(float)i);
    }
    place = -block_max(place, shared);
    float top = g[base + (place < (float)width ? (u32)place : 0u)], sum = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) sum += (g[base + i] - top) * y[base + i];
    sum = block_sum(sum, shared);
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) gx[base + i] = y[base + i] * (g[base + i] - top - sum);
}

// ---- many tensors at once
//
// A table on the device has a row for each: its number of entries, its first block, and the addresses of what belongs to it. A block takes
// 1024 neighbouring entries of one tensor.

struct Row {
    u64 count, from; // entries, and the first of this block's
    const u64 *address;
};

__device__ __forceinline__ Row row_of(u32 rows, u32 width, const u64 *table) {
    u32 low = 0u, high = rows;
    // The last row that begins at or before this block.
    while (high - low > 1u) {
        u32 middle = (low + high) / 2u;
        if (table[(u64)middle * width + 1u] <= blockIdx.x) {
            low = middle;
        } else {
            high = middle;
        }
    }
    const u64 *row = table + (u64)low * width;
    Row r = {row[0], (blockIdx.x - row[1]) * 1024u, row + 2};
    return r;
}

extern "C" __global__ void many_elementwise(u32 rows, Program p, const u64 *table) {
    Row r = row_of(rows, 2u + p.inputs + p.outputs, table);
    const float *in[6];
    float *out[6];
    for (u32 k = 0u; k < p.inputs; ++k) in[k] = (const float *)r.address[k];
    for (u32 k = 0u; k < p.outputs; ++k) out[k] = (float *)r.address[p.inputs + k];
    for (u64 at = r.from + threadIdx.x; at < r.from + 1024u && at < r.count; at += blockDim.x) run_program(p, in, out, at);
}

// Of each block the sum of squares of its entries, less those of the second tensor where there is one.
extern "C" __global__ void many_squares(u32 rows, const u64 *table, float *parts) {
    __shared__ float shared[256];
    Row r = row_of(rows, 4u, table);
    const float *a = (const float *)r.address[0], *b = (const float *)r.address[1];
    float sum = 0.0f;
    for (u64 at = r.from + threadIdx.x; at < r.from + 1024u && at < r.count; at += blockDim.x) {
        float v = b ? a[at] - b[at] : a[at];
        sum += v * v;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0u) parts[blockIdx.x] = sum;
}

// out (rows) = sums of the parts of each row, a block each; there are `blocks` parts.
extern "C" __global__ void many_totals(u32 rows, u32 blocks, const u64 *table, const float *parts, float *out) {
    __shared__ float shared[256];
    u64 from = table[(u64)blockIdx.x * 4u + 1u], to = blockIdx.x + 1u < rows ? table[(u64)(blockIdx.x + 1u) * 4u + 1u] : blocks;
    float sum = 0.0f;
    for (u64 i = from + threadIdx.x; i < to; i += blockDim.x) sum += parts[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0u) out[blockIdx.x] = sum;
}

extern "C" __global__ void many_copy(u32 rows, const u64 *table) {
    Row r = row_of(rows, 4u, table);
    const float *a = (const float *)r.address[0];
    float *b = (float *)r.address[1];
    for (u64 at = r.from + threadIdx.x; at < r.from + 1024u && at < r.count; at += blockDim.x) b[at] = a[at];
}

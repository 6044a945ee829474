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

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

// ---- arithmetic on entries (ebm_core::operators::Elementwise), interpreted, one thread an entry
//
// Registers are the inputs, the numbers, and the results of the steps, one after another. A step is its operation in bits 0 to 7 and the
// registers of its operands in bits 8 to 15 and 16 to 23. Every step rounds once, as on the host. The entries of a tensor are read and
// written once, so the interpreting hides behind the memory.
struct Program {
    u32 inputs, numbers, steps, outputs;
    float number[16];
    u32 step[48];
    u32 output[6];
};

// The program on entry `at` of its tensors.
__device__ __forceinline__ void run_program(const Program &p, const float *const *in, float *const *out, u64 at) {
    float r[6 + 16 + 48];
    u32 next = 0u;
    for (u32 k = 0u; k < p.inputs; ++k) r[next++] = in[k][at];
    for (u32 k = 0u; k < p.numbers; ++k) r[next++] = p.number[k];
    for (u32 k = 0u; k < p.steps; ++k) {
        u32 s = p.step[k];
        float a = r[(s >> 8) & 255u], b = r[(s >> 16) & 255u], v;
        switch (s & 255u) {
        case 0u: v = ADD(a, b); break;
        case 1u: v = ADD(a, -b); break;
        case 2u: v = MUL(a, b); break;
        case 3u: v = a / b; break;
        default: v = __fsqrt_rn(a); break;
        }
        r[next++] = v;
    }
    for (u32 k = 0u; k < p.outputs; ++k) out[k][at] = r[p.output[k]];
}

extern "C" __global__ void elementwise(
    u64 n, Program p, const float *i0, const float *i1, const float *i2, const float *i3, const float *i4, const float *i5, float *o0,
    float *o1, float *o2, float *o3, float *o4, float *o5) {
    u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= n) return;
    const float *in[6] = {i0, i1, i2, i3, i4, i5};
    float *out[6] = {o0, o1, o2, o3, o4, o5};
    run_program(p, in, out, at);
}

// operators.cu on the processor, for tests: one host thread for each thread of a block, one block after another.
#include <barrier>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

struct Dim {
    unsigned int x;
};
static thread_local Dim threadIdx;
static Dim blockIdx, blockDim, gridDim;
static std::barrier<> *meeting;

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __syncthreads() meeting->arrive_and_wait()

static inline unsigned int __umulhi(unsigned int a, unsigned int b) { return (unsigned int)(((unsigned long long)a * b) >> 32); }
static inline float __uint_as_float(unsigned int v) {
    float f;
    std::memcpy(&f, &v, 4);
    return f;
}
static inline unsigned int __float_as_uint(float f) {
    unsigned int v;
    std::memcpy(&v, &f, 4);
    return v;
}
// Compiled with -ffp-contract=off.
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fsqrt_rn(float a) { return std::sqrt(a); }

#include "operators.cu"

template <class... A, std::size_t... I>
static void call(void (*kernel)(A...), void **args, std::index_sequence<I...>) {
    kernel(*(A *)args[I]...);
}

template <class... A>
static void run(void (*kernel)(A...), unsigned int blocks, unsigned int threads, void **args) {
    blockDim.x = threads;
    gridDim.x = blocks;
    std::barrier<> here(threads);
    meeting = &here;
    std::vector<std::thread> all;
    for (unsigned int t = 0; t < threads; ++t)
        all.emplace_back([=] {
            threadIdx.x = t;
            for (unsigned int b = 0; b < blocks; ++b) {
                if (t == 0) blockIdx.x = b;
                meeting->arrive_and_wait();
                call(kernel, args, std::index_sequence_for<A...>{});
                meeting->arrive_and_wait();
            }
        });
    for (auto &t : all) t.join();
}

// 0, or 1 if there is no such kernel.
extern "C" int host_launch(const char *name, unsigned int blocks, unsigned int threads, void **args) {
#define KERNEL(k) \
    if (!std::strcmp(name, #k)) return run(k, blocks, threads, args), 0;
    KERNEL(normal_rows)
    KERNEL(uniform_rows)
    KERNEL(add_noise)
    KERNEL(row_advance)
    KERNEL(row_mean_square)
    KERNEL(log_step)
    KERNEL(next_step)
    KERNEL(softmax)
    KERNEL(softmax_back)
    KERNEL(row_distances)
    KERNEL(kth_smallest)
    KERNEL(norm_act)
    KERNEL(norm_act_back)
    KERNEL(norm_act_affine)
    KERNEL(norm_act_tangent)
    KERNEL(norm_act_tangent_back)
    KERNEL(norm_act_tangent_affine)
    KERNEL(pool)
    KERNEL(pool_back)
    KERNEL(elementwise)
    return 1;
}

// operators.cu on the processor, for tests: the threads of a block take turns on one thread of the host, each running up to where it
// waits for the others, one block after another.
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include <ucontext.h>

struct Dim {
    unsigned int x;
};
static Dim threadIdx, blockIdx, blockDim, gridDim;

// Stacks of the threads, each where it stands, whether it came to its end, and what hands out the turns.
static const std::size_t STACK = 64 << 10;
static std::vector<char> stacks;
static std::vector<ucontext_t> waiting;
static std::vector<char> ended;
static ucontext_t turns;

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __syncthreads() swapcontext(&waiting[threadIdx.x], &turns)

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

// What a thread of the block that is run does; set before any of them begins.
static void (*body)(void *what, void **args);
static void *body_of;
static void **body_args;

static void begin() {
    body(body_of, body_args);
    ended[threadIdx.x] = 1;
}

static void block(unsigned int threads) {
    for (unsigned int t = 0; t < threads; ++t) {
        ended[t] = 0;
        getcontext(&waiting[t]);
        waiting[t].uc_stack.ss_sp = &stacks[t * STACK];
        waiting[t].uc_stack.ss_size = STACK;
        waiting[t].uc_link = &turns;
        makecontext(&waiting[t], begin, 0);
    }
    for (bool going = true; going;) {
        going = false;
        for (unsigned int t = 0; t < threads; ++t) {
            if (ended[t]) continue;
            threadIdx.x = t;
            swapcontext(&turns, &waiting[t]);
            going = going || !ended[t];
        }
    }
}

template <class... A>
static void run(void (*kernel)(A...), unsigned int blocks, unsigned int threads, void **args) {
    blockDim.x = threads;
    gridDim.x = blocks;
    if (waiting.size() < threads) {
        waiting.resize(threads);
        ended.resize(threads);
        stacks.resize(threads * STACK);
    }
    body = [](void *what, void **args) { call((void (*)(A...))what, args, std::index_sequence_for<A...>{}); };
    body_of = (void *)kernel;
    body_args = args;
    for (unsigned int b = 0; b < blocks; ++b) {
        blockIdx.x = b;
        block(threads);
    }
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
    KERNEL(many_elementwise)
    KERNEL(many_squares)
    KERNEL(many_totals)
    KERNEL(many_copy)
#define KINDS(k) KERNEL(k##_f1) KERNEL(k##_f4) KERNEL(k##_b1) KERNEL(k##_b8)
    KINDS(last_norm_act)
    KINDS(last_norm_act_back)
    KINDS(last_pool)
    KINDS(last_pool_back)
    KINDS(last_space)
    KINDS(last_space_back)
    KERNEL(attention_f1)
    KERNEL(attention_b1)
    KERNEL(attention_queries_f1)
    KERNEL(attention_queries_b1)
    KERNEL(attention_keys_f1)
    KERNEL(attention_keys_b1)
    KERNEL(last_enter_f1)
    KERNEL(last_enter_b1)
    KERNEL(last_leave_f1)
    KERNEL(last_leave_b1)
    return 1;
}

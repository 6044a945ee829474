// cuBLAS, cuRAND and cuDNN over driver.cpp: each call that would start work is one launch on the memory of its operands.
#include <cstdlib>
#include <cstring>

typedef unsigned long long Address;
extern "C" void paper_work(void *stream, const char *name, const Address *at, int n, int own);

// A handle of any library: its stream, and its own memory if it was given some.
struct Handle {
    void *stream;
    Address own;
};

static void work(void *handle, const char *name, const void *a, const void *b, const void *c, const void *room) {
    Address at[] = {(Address)a, (Address)b, (Address)c, (Address)room, ((Handle *)handle)->own};
    paper_work(((Handle *)handle)->stream, name, at, 5, 2);
}

struct Descriptor {
    int sizes[4];
    int math;
};

// As cudnn.h has it.
struct Answer {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};

// So much that some shapes want more than those before them.
static size_t room(const void *x) {
    const int *s = ((const Descriptor *)x)->sizes;
    return (size_t)s[1] * s[2] * s[3] * 64 + 1;
}

static int answer(const void *x, const void *conv, int *n, Answer *all) {
    memset(all, 0, sizeof *all);
    all->algorithm = 1, all->memory = room(x), all->determinism = 1, all->math = ((const Descriptor *)conv)->math;
    return *n = 1, 0;
}

extern "C" {
int cublasCreate_v2(void **h) { return *h = calloc(1, sizeof(Handle)), 0; }
int cublasDestroy_v2(void *) { return 0; }
int cublasSetStream_v2(void *h, void *s) { return ((Handle *)h)->stream = s, 0; }
int cublasSetWorkspace_v2(void *h, void *at, size_t) { return ((Handle *)h)->own = (Address)at, 0; }
int cublasSetMathMode(void *, int) { return 0; }
int cublasSetPointerMode_v2(void *, int) { return 0; }
int cublasGetPointerMode_v2(void *, int *mode) { return *mode = 0, 0; }
int cublasGemmStridedBatchedEx(
    void *h, int, int, int, int, int, const void *, const void *a, int, int, long long, const void *b, int, int, long long, const void *,
    void *c, int, int, long long, int, int, int) {
    return work(h, "product", a, b, c, nullptr), 0;
}
int cublasDgemmStridedBatched(
    void *h, int, int, int, int, int, const double *, const double *a, int, long long, const double *b, int, long long, const double *,
    double *c, int, long long, int) {
    return work(h, "product", a, b, c, nullptr), 0;
}
int cublasLtCreate(void **h) { return *h = calloc(1, sizeof(Handle)), 0; }

int curandCreateGenerator(void **g, int) { return *g = calloc(1, sizeof(Handle)), 0; }
int curandDestroyGenerator(void *) { return 0; }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
int curandSetStream(void *, void *) { return 0; }

int cudnnCreate(void **h) { return *h = calloc(1, sizeof(Handle)), 0; }
int cudnnSetStream(void *h, void *s) { return ((Handle *)h)->stream = s, 0; }
size_t cudnnGetVersion() { return 92100; }
const char *cudnnGetErrorString(int) { return "an error of the paper library"; }
int cudnnCreateTensorDescriptor(void **d) { return *d = calloc(1, sizeof(Descriptor)), 0; }
int cudnnCreateFilterDescriptor(void **d) { return *d = calloc(1, sizeof(Descriptor)), 0; }
int cudnnCreateConvolutionDescriptor(void **d) { return *d = calloc(1, sizeof(Descriptor)), 0; }
static int sizes(void *d, int n, int c, int h, int w) {
    int *s = ((Descriptor *)d)->sizes;
    return s[0] = n, s[1] = c, s[2] = h, s[3] = w, 0;
}
int cudnnSetTensor4dDescriptor(void *d, int, int, int n, int c, int h, int w) { return sizes(d, n, c, h, w); }
int cudnnSetFilter4dDescriptor(void *d, int, int, int o, int c, int h, int w) { return sizes(d, o, c, h, w); }
int cudnnSetConvolution2dDescriptor(void *, int, int, int, int, int, int, int, int) { return 0; }
int cudnnSetConvolutionMathType(void *d, int math) { return ((Descriptor *)d)->math = math, 0; }
int cudnnGetConvolutionForwardAlgorithm_v7(void *, void *x, void *, void *conv, void *, int, int *n, Answer *all) { return answer(x, conv, n, all); }
int cudnnGetConvolutionBackwardDataAlgorithm_v7(void *, void *, void *y, void *conv, void *, int, int *n, Answer *all) { return answer(y, conv, n, all); }
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void *, void *x, void *, void *conv, void *, int, int *n, Answer *all) { return answer(x, conv, n, all); }
int cudnnGetConvolutionForwardWorkspaceSize(void *, void *x, void *, void *, void *, int, size_t *n) { return *n = room(x), 0; }
int cudnnGetConvolutionBackwardDataWorkspaceSize(void *, void *, void *y, void *, void *, int, size_t *n) { return *n = room(y), 0; }
int cudnnGetConvolutionBackwardFilterWorkspaceSize(void *, void *x, void *, void *, void *, int, size_t *n) { return *n = room(x), 0; }
int cudnnConvolutionForward(
    void *h, const void *, void *, const void *x, void *, const void *w, void *, int, void *room, size_t, const void *, void *, void *y) {
    return work(h, "convolution", x, w, y, room), 0;
}
int cudnnConvolutionBackwardData(
    void *h, const void *, void *, const void *w, void *, const void *dy, void *, int, void *room, size_t, const void *, void *, void *dx) {
    return work(h, "convolution", w, dy, dx, room), 0;
}
int cudnnConvolutionBackwardFilter(
    void *h, const void *, void *, const void *x, void *, const void *dy, void *, int, void *room, size_t, const void *, void *, void *dw) {
    return work(h, "convolution", x, dy, dw, room), 0;
}
}

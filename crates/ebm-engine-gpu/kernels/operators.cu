// Kernels of the operators that training uses; all compute in f32.
//
// nvcc makes PTX of this file, and with host.cpp around it a C++ compiler makes what the tests run thread by thread on the processor.
// Nothing here depends on the launch shape except the order in which the sums of a block are added, which is fixed by blockDim.x alone;
// blocks are powers of two, at most 256 threads.

typedef unsigned int u32;
typedef unsigned long long u64;

#include "random.cuh"
#include "sums.cuh"
#include "walk.cuh"
#include "softmax.cuh"
#include "neighbours.cuh"
#include "norm.cuh"
#include "tangent.cuh"
#include "pool.cuh"
#include "last.cuh"
#include "attention.cuh"
#include "elementwise.cuh"
#include "many.cuh"

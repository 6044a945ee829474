// ---- Adam with an average of the parameters (Kingma, Ba 2015; ebm-optimisers), one thread an entry
//
// m = b1 m + c1 g with g times `clip`; v = b2 v + c2 g^2; p = keep p - step m / (sqrt(v)/root + epsilon); c1 = 1 - b1 and c2 = 1 - b2
// come from the host, as they lose digits in f32. a = decay a + (1 - decay) p. b1 = 0: m is g and not kept (null); a may be null.
extern "C" __global__ void adam(
    u64 n, float clip, float b1, float c1, float b2, float c2, float root, float step, float epsilon, float keep, float decay, const float *p,
    const float *g, const float *m, const float *v, const float *a, float *p2, float *m2, float *v2, float *a2) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float d = g[i] * clip;
    float first = m ? b1 * m[i] + c1 * d : d;
    float second = b2 * v[i] + c2 * d * d;
    float q = p[i] * keep - step * first / (sqrtf(second) / root + epsilon);
    p2[i] = q;
    v2[i] = second;
    if (m) m2[i] = first;
    if (a) a2[i] = decay * a[i] + (1.0f - decay) * q;
}

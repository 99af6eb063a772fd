// Functions that become part of whoever calls them.
#pragma once

// On the host: compiled for the instruction set of the function that calls it, which is what clones rest on (core/isa.h).
#define M2M_INLINE inline __attribute__((always_inline))

#if defined(__CUDACC__)
#define M2M_HOST_DEVICE __host__ __device__ __forceinline__
#define M2M_DEVICE __device__ __forceinline__
#else
#define M2M_HOST_DEVICE M2M_INLINE
#define M2M_DEVICE inline
#endif

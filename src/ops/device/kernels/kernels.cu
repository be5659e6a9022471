// All kernels in one module.
#include "norm.cuh"
#include "pointwise.cuh"
#include "texts.cuh"
#include "optimiser.cuh"
#include "attention.cuh"
#include "flash.cuh"

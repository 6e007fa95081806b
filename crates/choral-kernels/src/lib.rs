//! CPU kernels for choral: one order of accumulation on every instruction set.

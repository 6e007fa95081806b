//! Claims about sampling, checked against references made elsewhere.

mod rng;

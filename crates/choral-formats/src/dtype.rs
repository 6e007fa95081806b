//! Element types of stored tensors.

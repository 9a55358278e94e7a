//! One node of the ring.

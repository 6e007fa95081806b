//! Options that say how tokens are chosen and when an answer ends.

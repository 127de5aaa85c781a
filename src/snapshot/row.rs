//! One line of a tree: a row, or a removed path.

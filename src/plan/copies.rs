//! Names for contents that cannot have the name they want.

//! Formats of what lies below `.stopover/` in the bucket: head and tree. Pure; decoders take hostile bytes.

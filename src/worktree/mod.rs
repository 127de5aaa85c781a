//! The local side: scan, ignore rules, index, safe writes, who maps what. Knows disks, no network.

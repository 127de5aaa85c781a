//! The remote side: S3 client, conditions, probe, retries, keys. Network, no policy.

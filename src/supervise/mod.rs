//! PID 1: the life of a container, as DESIGN section 5 tells it. Knows sys, config and report; no tokio, no S3.

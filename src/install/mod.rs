//! Which package managers to run, in which order, and how the app is started. Detection is pure over a view of the directory.

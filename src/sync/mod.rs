//! Pull, commit, live tree, publish, import: the orchestration of the rooms below.

//! Pure decisions over tables of rows: merge3, what a restore writes, what a commit sends.

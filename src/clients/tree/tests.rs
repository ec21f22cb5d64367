//! Tests of directories as streams.

//! An operating system for tests.

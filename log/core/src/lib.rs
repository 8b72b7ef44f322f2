//! What the monitor and the readers of a log share. No std, no dependencies, no system calls.
#![no_std]

pub mod state;

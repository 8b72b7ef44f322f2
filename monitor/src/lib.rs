//! monitor
#![no_std]

//! Numbered steps of the protocol. The real monitor does nothing there; the one for tests dies.

/// Called at each numbered step.
pub trait Probe {
    fn step(n: u32);

    /// True replaces the exact read by a plain read and write, so that a test can show that it
    /// would notice the loss.
    fn naive() -> bool {
        false
    }

    /// Called once when a monitor starts, in the container's directory.
    fn start() {}
}

/// Number of steps.
pub const STEPS: u32 = 34;

/// Nothing at any step.
#[derive(Debug)]
pub struct None;

impl Probe for None {
    #[inline(always)]
    fn step(_: u32) {}
}

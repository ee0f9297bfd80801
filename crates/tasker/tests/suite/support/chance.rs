//! Random cases that are the same in every run.

/// Small numbers that look random.
#[derive(Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// Below n.
    pub fn of(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

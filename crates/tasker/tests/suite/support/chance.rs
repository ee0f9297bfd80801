//! Random cases that are the same in every run.

/// Small numbers that look random.
#[derive(Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// Cases whose numbers are neighbours have nothing in common (splitmix64).
    pub fn mixed(number: u64) -> Chance {
        let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Chance(mixed ^ (mixed >> 31))
    }

    /// Below n.
    pub fn of(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Where random cases begin: another place in each run, printed so that `TASKER_TEST_SEED` can repeat it.
pub fn seed() -> u64 {
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64 % 1_000_000_000;
    let seed = number("TASKER_TEST_SEED").unwrap_or_else(now);
    println!("TASKER_TEST_SEED={seed} repeats this");
    seed
}

/// How many random cases: so many, or those that `TASKER_TEST_CASES` wants.
pub fn cases(usual: usize) -> usize {
    number("TASKER_TEST_CASES").map_or(usual, |cases| cases as usize)
}

//! Chance for simulations: reproducible from a seed, and no longer random than that. Tests only.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Whether something with this probability, in percent, happens.
    pub(crate) fn percent(&mut self, probability: u64) -> bool {
        self.below(100) < probability
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// How many steps a simulation takes: `EMPERY_SIM_STEPS`, or `default`.
pub(crate) fn steps(default: u64) -> u64 {
    // `option_env` would be fixed at build time; the knob is for the run.
    #[expect(clippy::disallowed_methods, reason = "a test's knob, not the machine's")]
    let knob = std::env::var("EMPERY_SIM_STEPS");
    match knob {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("EMPERY_SIM_STEPS={text}: give a number of steps")),
        Err(_) => default,
    }
}

/// Runs histories of `seed`, `seed + 1` ... until all steps are taken; `history` answers how many it took.
pub(crate) fn histories(title: &str, default_steps: u64, history: impl Fn(u64) -> u64) {
    let (wanted, mut taken, mut seed) = (steps(default_steps), 0, 1);
    while taken < wanted {
        taken += history(seed);
        seed += 1;
    }
    tell(&format!("{title}: {taken} steps in {} histories, seeds from 1", seed - 1));
}

/// Says what a test has covered (`cargo test -- --nocapture`).
#[expect(clippy::disallowed_macros, reason = "a test's report, not the machine's")]
pub(crate) fn tell(coverage: &str) {
    eprintln!("{coverage}");
}
